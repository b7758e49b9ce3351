/**
 * An order's history shown again, at 1× to 60×, on a WebSocket of its own: who looks back needn't share the fate of what is
 * followed live. A connection that breaks is made again, and the replay goes on where it was.
 */

import type { Json, Problem } from './frames.js'
import { merge } from './merge.js'
import type { Order, Status } from './order.js'
import { platformSocket } from './socket.js'
import type { SocketFactory, SocketLike } from './socket.js'

export interface ReplayEvent {
  at_ms: number
  kind: string
  version: number
  status: Status
  stage?: string
  note?: string
}

/** Where a replay is. */
export interface ReplayState {
  /** `connecting` also while it is connected again. */
  name: 'connecting' | 'paused' | 'playing' | 'ended' | 'failed'
  firstMs: number
  lastMs: number
  atMs: number
  speed: number
  version: number
  events: readonly ReplayEvent[]
  /** The order as it was shown then. */
  order: Order | undefined
  problem?: Problem
}

export interface ReplayOptions {
  url?: string
  token?: string | (() => Promise<string | undefined>)
  socket?: SocketFactory
  datum?: 'wgs84' | 'gcj02' | 'bd09'
  speed?: number
  fromMs?: number
  paused?: boolean
  onChange: (state: ReplayState) => void
}

const NUMBER = 1
/** Tries before it is given up, each after twice as long. */
const TRIES = 6
const WAIT_MS = 500

type ReplayFrame =
  | { type: 'hello' }
  | { type: 'replay_started'; first_ms: number; last_ms: number; events: ReplayEvent[] }
  | { type: 'replay_state'; at_ms: number; version: number; state: Json }
  | { type: 'replay_delta'; at_ms: number; from: number; to: number; patch: Json }
  | { type: 'replay_position'; at_ms: number; version: number; speed: number; paused: boolean }
  | { type: 'replay_ended'; at_ms: number; version: number }
  | { type: 'replay_failed'; problem: Problem }
  | { type: 'error'; problem: Problem }

export class Replay {
  #socket: SocketLike | undefined
  #dial: SocketFactory
  #tries = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #over = false
  #wanted: { paused: boolean; speed: number; seekMs: number | undefined }
  #state: ReplayState

  constructor(
    readonly order: string,
    readonly options: ReplayOptions,
  ) {
    const dial = options.socket ?? platformSocket()
    if (!dial) throw new TypeError('a replay needs a `socket`')
    this.#dial = dial
    this.#wanted = { paused: options.paused ?? false, speed: options.speed ?? 1, seekMs: options.fromMs }
    this.#state = { name: 'connecting', firstMs: 0, lastMs: 0, atMs: 0, speed: this.#wanted.speed, version: 0, events: [], order: undefined }
    void this.#connect()
  }

  get state(): ReplayState {
    return this.#state
  }

  play(): void {
    // From the end there is nothing to play: begin anew.
    if (this.#state.name === 'ended') this.#control({ paused: false, seek_ms: this.#state.firstMs })
    else this.#control({ paused: false })
  }

  pause(): void {
    this.#control({ paused: true })
  }

  seek(atMs: number): void {
    this.#control({ seek_ms: Math.round(atMs) })
  }

  speed(times: number): void {
    this.#control({ speed: times })
  }

  close(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#end()
  }

  #control(change: { paused?: boolean; seek_ms?: number; speed?: number }): void {
    if (change.paused !== undefined) this.#wanted.paused = change.paused
    if (change.speed !== undefined) this.#wanted.speed = change.speed
    if (change.seek_ms !== undefined) this.#wanted.seekMs = change.seek_ms
    // Not there yet: what is wanted is said when it begins.
    if (this.#state.name === 'connecting' || this.#state.name === 'failed') return
    this.#send({ type: 'replay_control', replay: NUMBER, ...change })
  }

  async #connect(): Promise<void> {
    let token: string | undefined
    try {
      token = typeof this.options.token === 'function' ? await this.options.token() : this.options.token
    } catch (error) {
      this.#fail({ type: 'no_token', title: 'No token', status: 401, detail: String(error) })
      return
    }
    if (this.#over) return
    const url = new URL(this.options.url ?? globalThis.location.origin)
    url.pathname = url.pathname.replace(/\/$/, '') + '/v1/ws'
    url.protocol = url.protocol.replace('http', 'ws')
    if (this.options.datum) url.searchParams.set('datum', this.options.datum)
    const socket = this.#dial(url.href)
    this.#socket = socket
    socket.onopen = () => {
      if (token !== undefined) this.#send({ type: 'authenticate', token })
    }
    socket.onmessage = ({ data }: { data: unknown }) => this.#heard(JSON.parse(String(data)) as ReplayFrame)
    socket.onclose = ({ code, reason }: { code: number; reason?: string }) => this.#closed(code, reason ?? '')
    socket.onerror = () => {}
  }

  #heard(frame: ReplayFrame): void {
    switch (frame.type) {
      case 'hello': {
        const { seekMs, speed, paused } = this.#wanted
        this.#send({ type: 'replay', replay: NUMBER, order: this.order, speed, paused, ...(seekMs === undefined ? {} : { from_ms: Math.round(seekMs) }) })
        break
      }
      case 'replay_started':
        this.#tries = 0
        this.#set({ firstMs: frame.first_ms, lastMs: frame.last_ms, events: frame.events, name: this.#wanted.paused ? 'paused' : 'playing' })
        break
      case 'replay_state':
        this.#wanted.seekMs = frame.at_ms
        this.#set({ atMs: frame.at_ms, version: frame.version, order: frame.state as unknown as Order, ...(this.#state.name === 'ended' ? this.#running() : {}) })
        break
      case 'replay_delta':
        this.#wanted.seekMs = frame.at_ms
        this.#set({ atMs: frame.at_ms, version: frame.to, order: merge(this.#state.order as unknown as Json, frame.patch) as unknown as Order })
        break
      case 'replay_position':
        this.#wanted.seekMs = frame.at_ms
        this.#set({ atMs: frame.at_ms, version: frame.version, speed: frame.speed, name: frame.paused ? 'paused' : 'playing' })
        break
      case 'replay_ended':
        this.#set({ atMs: frame.at_ms, version: frame.version, name: 'ended' })
        break
      case 'replay_failed':
      case 'error':
        this.#fail(frame.problem)
        break
    }
  }

  #running(): { name: 'paused' | 'playing' } {
    return { name: this.#wanted.paused ? 'paused' : 'playing' }
  }

  #closed(code: number, reason: string): void {
    this.#socket = undefined
    if (this.#over || this.#state.name === 'failed') return
    this.#tries += 1
    // What a newer token may heal comes with the next try's token; the rest of 42xx doesn't pass.
    if (this.#tries > TRIES || (code >= 4204 && code < 4300)) {
      this.#fail({ type: 'closed', title: 'The connection ended', status: 0, detail: `${code} ${reason}`.trim() })
      return
    }
    this.#set({ name: 'connecting' })
    this.#timer = setTimeout(() => void this.#connect(), WAIT_MS * 2 ** (this.#tries - 1))
  }

  #fail(problem: Problem): void {
    this.#set({ name: 'failed', problem })
    this.#end()
  }

  #end(): void {
    const socket = this.#socket
    this.#socket = undefined
    if (!socket) return
    socket.onopen = socket.onmessage = socket.onclose = null
    try {
      socket.close(1000)
    } catch {
      // It never came to be.
    }
  }

  #send(frame: object): void {
    try {
      this.#socket?.send(JSON.stringify(frame))
    } catch {
      // Closing: `onclose` follows.
    }
  }

  #set(change: Partial<ReplayState>): void {
    this.#state = { ...this.#state, ...change }
    if (!this.#over) this.options.onChange(this.#state)
  }
}
