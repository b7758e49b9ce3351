/** The npm package `ws` as this package's socket: what programs on Node 20 give a client. */

import WebSocket from 'ws'
import type { SocketFactory, SocketLike } from '../src/socket.js'

export const nodeSocket: SocketFactory = (url) => {
  const ws = new WebSocket(url, { perMessageDeflate: false })
  const socket: SocketLike = {
    send: (text) => ws.send(text),
    close: (code, reason) => ws.close(code, reason),
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
  }
  let retryAfterMs: number | undefined
  ws.on('open', () => socket.onopen?.())
  ws.on('message', (data) => socket.onmessage?.({ data: String(data) }))
  ws.on('close', (code, reason) => socket.onclose?.({ code, reason: String(reason), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }))
  ws.on('error', (error) => socket.onerror?.(error))
  ws.on('unexpected-response', (request, answer) => {
    const after = answer.headers['retry-after']
    if (after && /^\d+$/.test(after)) retryAfterMs = Number(after) * 1_000
    answer.resume()
    request.destroy()
    // It says no close of its own where nothing was open.
    socket.onclose?.({ code: 1006, reason: String(answer.statusCode), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) })
  })
  return socket
}
