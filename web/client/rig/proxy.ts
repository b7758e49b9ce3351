/** What stands in front of the server in tests: it serves pages of the server's own origin, passes the rest on, and cuts. */

import { createServer, request } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { sleep } from './wait.js'

export type Page = { type: string; body: string | Buffer }

export class Proxy {
  /** By path. */
  readonly pages = new Map<string, Page>()
  /** Paths asked of the server, as they come. */
  readonly asked: string[] = []
  /** Refuses upgrades, as some proxies do. */
  blockUpgrades = false
  /** Answers what this says so with 502. */
  refuse: ((path: string) => boolean) | undefined
  /** Nobody is let in, as with a cable pulled. */
  down = false
  #server: Server
  #open = new Set<Duplex>()
  #busy = new Set<Duplex>()

  private constructor(readonly target: number) {
    this.#server = createServer((ask, answer) => this.#pass(ask, answer))
    this.#server.on('upgrade', (ask, socket) => this.#upgrade(ask, socket))
    this.#server.on('connection', (socket) => {
      if (this.down) socket.destroy()
      this.#keep(this.#open, socket)
    })
  }

  static async start(target: number): Promise<Proxy> {
    const proxy = new Proxy(target)
    await new Promise<void>((done) => proxy.#server.listen(0, '127.0.0.1', done))
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** Upgraded connections and requests under way. */
  get busy(): number {
    return this.#busy.size
  }

  /** Cuts every connection, in both directions, without a word. Returns how many were carrying something. */
  cut(): number {
    const busy = this.#busy.size
    for (const socket of [...this.#open, ...this.#busy]) {
      if ('resetAndDestroy' in socket) (socket as Socket).resetAndDestroy()
      else socket.destroy()
    }
    return busy
  }

  /** Cuts, and lets nobody in for a while: a browser tries a request again by itself where its connection was reset. */
  async cutFor(ms: number): Promise<number> {
    this.down = true
    const busy = this.cut()
    await sleep(ms)
    this.down = false
    return busy
  }

  async stop(): Promise<void> {
    this.cut()
    await new Promise((done) => this.#server.close(done))
  }

  #keep(set: Set<Duplex>, socket: Duplex): void {
    // Kept alive, it serves several requests.
    if (set.has(socket)) return
    set.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => set.delete(socket))
  }

  #pass(ask: IncomingMessage, answer: ServerResponse): void {
    const path = ask.url ?? '/'
    const page = this.pages.get(path.split('?')[0] ?? '')
    if (page) {
      answer.writeHead(200, { 'Content-Type': page.type, 'Cache-Control': 'no-store' }).end(page.body)
      return
    }
    this.asked.push(`${ask.method} ${path}`)
    if (this.refuse?.(path)) {
      answer.writeHead(502).end()
      return
    }
    const on = request({ host: '127.0.0.1', port: this.target, method: ask.method, path, headers: ask.headers }, (from) => {
      answer.writeHead(from.statusCode ?? 502, from.rawHeaders.length > 0 ? pairs(from.rawHeaders) : {})
      answer.flushHeaders()
      from.pipe(answer)
      from.on('error', () => answer.destroy())
    })
    on.on('socket', (socket) => this.#keep(this.#busy, socket))
    on.on('error', () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()))
    answer.on('close', () => on.destroy())
    ask.pipe(on)
  }

  #upgrade(ask: IncomingMessage, socket: Duplex): void {
    this.asked.push(`UPGRADE ${ask.url}`)
    if (this.blockUpgrades) {
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    const on = connect(this.target, '127.0.0.1', () => {
      const lines = [`${ask.method} ${ask.url} HTTP/1.1`]
      for (let i = 0; i < ask.rawHeaders.length; i += 2) lines.push(`${ask.rawHeaders[i]}: ${ask.rawHeaders[i + 1]}`)
      on.write(lines.join('\r\n') + '\r\n\r\n')
      on.pipe(socket).pipe(on)
    })
    this.#keep(this.#busy, on)
    socket.on('error', () => on.destroy())
    socket.on('close', () => on.destroy())
    on.on('close', () => socket.destroy())
  }
}

/** Hop-by-hop headers are the proxy's own. */
function pairs(raw: string[]): [string, string][] {
  const found: [string, string][] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    if (!/^(connection|keep-alive|transfer-encoding)$/i.test(name)) found.push([name, raw[i + 1] ?? ''])
  }
  return found
}
