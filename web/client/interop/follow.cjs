/*
 * What an old page does: follows an order with the stock clients, by one transport, and comes back when it is cut off. The same
 * text runs in a browser's page and in Node; it knows nothing of this package.
 *
 *   client     'stompjs': stompjs 2.3.3, `Stomp.over(new SockJS('/ws'))`, which reconnects as its page does it
 *              '@stomp/stompjs': version 7, over SockJS or a plain WebSocket, which reconnects by itself
 *   transport  SockJS's name of it, or 'plain' for a WebSocket without SockJS
 *
 * What it saw is in `seen`, also while it runs.
 */
function follow(libraries, options, seen) {
  const { SockJS, Stomp, StompJs } = libraries
  const { client, transport, base, order, token } = options
  const headers = { Authorization: 'Bearer ' + token, login: '', passcode: '' }
  Object.assign(seen, { transports: [], statuses: [], bodies: 0, versions: [], connects: 0, problems: [], last: null })
  let over = false

  const take = (message) => {
    const body = JSON.parse(message.body)
    seen.bodies += 1
    seen.last = body
    seen.versions.push(body.version)
    if (seen.statuses[seen.statuses.length - 1] !== body.status) seen.statuses.push(body.status)
  }
  let socket
  const open = () => {
    if (transport === 'plain') socket = new libraries.WebSocket(base.replace('http', 'ws') + '/ws/websocket', ['v12.stomp', 'v11.stomp', 'v10.stomp'])
    else socket = new SockJS(base + '/ws', null, { transports: [transport] })
    // SockJS says why it couldn't; both libraries keep that to themselves.
    socket.addEventListener?.('close', (event) => seen.problems.push(String(event.code) + ' ' + String(event.reason)))
    return socket
  }
  const connected = () => {
    seen.connects += 1
    // Asked of the object, not of what was wanted.
    seen.transports.push(transport === 'plain' ? (socket instanceof libraries.WebSocket ? 'plain' : 'something else') : socket.transport)
  }

  if (client === 'stompjs') {
    let stomp
    const connect = () => {
      if (over) return
      stomp = Stomp.over(open())
      stomp.debug = () => {}
      stomp.heartbeat.outgoing = 2000
      stomp.heartbeat.incoming = 2000
      let left = false
      const leave = (problem) => {
        if (left) return
        left = true
        if (problem && problem.headers) seen.problems.push(problem.headers.message)
        setTimeout(connect, 300)
      }
      stomp.connect(headers, () => {
        connected()
        stomp.subscribe('/topic/orders/' + order, take)
      }, leave)
    }
    connect()
    return () => {
      over = true
      try {
        stomp.disconnect(() => {})
      } catch {
        // It wasn't connected.
      }
    }
  }
  const stomp = new StompJs.Client({
    webSocketFactory: open,
    connectHeaders: headers,
    reconnectDelay: 300,
    heartbeatIncoming: 2000,
    heartbeatOutgoing: 2000,
    onConnect: () => {
      connected()
      stomp.subscribe('/topic/orders/' + order, take)
    },
    onStompError: (frame) => seen.problems.push(frame.headers.message),
  })
  stomp.activate()
  return () => stomp.deactivate()
}

if (typeof module !== 'undefined') module.exports = { follow }
