// A push server of the npm package ws: clients connect to /{channel} and hear what is said on it; whoever connects to
// /publish says `{channel}\n{text}`. With `prepared`, a message's frame is made once and written to all sockets as it is,
// which is the least that ws can do; without it, by `send`, as its documentation has it.
'use strict';
const { Sender, WebSocketServer } = require('ws');

const [port, how] = process.argv.slice(2);
const prepared = how === 'prepared';
const channels = new Map();

function say(channel, text) {
  const clients = channels.get(channel);
  if (!clients) return;
  if (!prepared) {
    for (const client of clients) client.send(text, { binary: false });
    return;
  }
  const frame = Buffer.concat(Sender.frame(text, { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false }));
  for (const client of clients) client._socket.write(frame);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), perMessageDeflate: false });
server.on('connection', (client, request) => {
  const channel = request.url.slice(1);
  client.on('error', () => {});
  if (channel === 'publish') {
    client.on('message', (data) => {
      const end = data.indexOf(10);
      say(data.toString('latin1', 0, end), data.subarray(end + 1));
    });
    return;
  }
  let clients = channels.get(channel);
  if (!clients) channels.set(channel, (clients = new Set()));
  clients.add(client);
  client.on('close', () => clients.delete(client));
});
