/**
 * WeChat mini-programs: `wx.connectSocket` as a socket. They have no `fetch` that streams, so the WebSocket is the only
 * transport there; call `client.wake()` from `wx.onAppShow` and `wx.onNetworkStatusChange`.
 */

import type { SocketFactory, SocketLike } from './socket.js'

/** What is used of `SocketTask`. */
export interface WxSocketTask {
  send(options: { data: string; fail?: (error: { errMsg: string }) => void }): void
  close(options: { code?: number; reason?: string; fail?: () => void }): void
  onOpen(listener: () => void): void
  onMessage(listener: (message: { data: string | ArrayBuffer }) => void): void
  onClose(listener: (end: { code: number; reason: string }) => void): void
  onError(listener: (error: { errMsg: string }) => void): void
}

/** What is used of `wx`. */
export interface Wx {
  connectSocket(options: { url: string; timeout?: number; fail?: (error: { errMsg: string }) => void }): WxSocketTask
}

/** Abnormal closure, as browsers say where there was no close frame. */
const ABNORMAL = 1006

export function wechatSocket(wx: Wx): SocketFactory {
  return (url) => {
    let closed = false
    const socket: SocketLike = {
      send: (data) => task.send({ data, fail: ({ errMsg }) => ended(ABNORMAL, errMsg) }),
      // Of codes it takes 1000 and 3000 to 4999 only. One that isn't open yet can't be closed: it fails on its own.
      close: (code = 1000, reason = '') => task.close({ code, reason, fail: () => ended(ABNORMAL, '') }),
      onopen: null,
      onmessage: null,
      onclose: null,
      onerror: null,
    }
    // It tells failures by up to three ways (`fail`, `onError`, `onClose`), in no order: the first counts.
    const ended = (code: number, reason: string): void => {
      if (closed) return
      closed = true
      socket.onclose?.({ code, reason })
    }
    const task = wx.connectSocket({ url, timeout: 10_000, fail: ({ errMsg }) => ended(ABNORMAL, errMsg) })
    task.onOpen(() => {
      if (!closed) socket.onopen?.()
    })
    task.onMessage(({ data }) => {
      if (!closed) socket.onmessage?.({ data })
    })
    task.onClose(({ code, reason }) => ended(code, reason))
    task.onError((error) => {
      socket.onerror?.(error)
      ended(ABNORMAL, error.errMsg)
    })
    return socket
  }
}
