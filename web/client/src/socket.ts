/** A WebSocket as this package needs it: the browser's, that of `ws`, or an adapter's. */

/** The events are what browsers give, of which this package reads no more than `data` of messages, `code` and `reason` of
 * closes, and `retryAfterMs` of closes: what a refused handshake's `Retry-After` said, where that can be seen. */
export interface SocketLike {
  send(text: string): void
  close(code?: number, reason?: string): void
  onopen: ((event?: any) => void) | null
  onmessage: ((event: any) => void) | null
  onclose: ((event: any) => void) | null
  onerror: ((event: any) => void) | null
}

export type SocketFactory = (url: string) => SocketLike

/** The platform's own; `undefined` where there is none (Node 20: give one that makes `ws` sockets). */
export function platformSocket(): SocketFactory | undefined {
  if (typeof WebSocket === 'undefined') return undefined
  return (url) => new WebSocket(url)
}
