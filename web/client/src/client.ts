/** The shell around the core: sockets, requests, timers, tokens, and who listens. */

import { Core } from './core.js'
import type { Action, ClientState, Event, Transport } from './events.js'
import { parseFrame } from './frames.js'
import type { Box, Json } from './frames.js'
import { request } from './http.js'
import type { Order } from './order.js'
import { platformSocket } from './socket.js'
import type { SocketFactory, SocketLike } from './socket.js'
import { Subscription } from './subscription.js'
import type { Listeners } from './subscription.js'

/** Time, for tests. `now` in milliseconds since 1970. */
export interface Clock {
  now(): number
  setTimeout(run: () => void, ms: number): unknown
  clearTimeout(timer: unknown): void
}

export interface ClientOptions {
  /** Where the server is: `https://orders.example.org`; the page's own origin without it. A query goes with every request. */
  url?: string
  /** A token, or where to have one. Called again before the one in use expires. Without it: the server's cookie. */
  token?: string | (() => Promise<string>)
  /** In order of preference: `['ws', 'sse', 'poll']`, less what there is no socket or `fetch` for. */
  transports?: readonly Transport[]
  socket?: SocketFactory
  fetch?: typeof globalThis.fetch
  /** What positions refer to: `wgs84` without it. */
  datum?: 'wgs84' | 'gcj02' | 'bd09'
  onState?: (state: ClientState) => void
  /** Gets what a listener throws; the console without it. */
  onError?: (error: unknown) => void
  /** In [0, 1). */
  random?: () => number
  clock?: Clock
}

/** Longer ones fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1
/** A token that takes longer is had no more. */
const TOKEN_MS = 30_000

const CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
}

export class Client {
  #core: Core
  #base: URL
  #token: ClientOptions['token']
  #socket: SocketFactory | undefined
  #fetch: typeof globalThis.fetch
  #clock: Clock
  #options: ClientOptions
  // Each of the type that its `follow` was asked for.
  #subscriptions = new Map<string, Set<Subscription<any>>>()
  #links = new Map<number, { send?: (text: string) => void; end: () => void }>()
  #timer: unknown
  #timerAt = Infinity
  #asked = 0
  #last = 0
  #skew = 0
  #queue: Event[] = []
  #busy = false
  #unlisten: (() => void)[] = []

  constructor(options: ClientOptions = {}) {
    this.#options = options
    this.#base = new URL(options.url ?? globalThis.location.href)
    if (options.url === undefined) this.#base.search = ''
    this.#token = options.token
    this.#socket = options.socket ?? platformSocket()
    this.#fetch = options.fetch ?? ((...asked) => globalThis.fetch(...asked))
    this.#clock = options.clock ?? CLOCK
    const possible = { ws: this.#socket !== undefined, sse: canFetch(options), poll: canFetch(options) }
    const transports = (options.transports ?? ['ws', 'sse', 'poll']).filter((transport) => possible[transport])
    if (transports.length === 0) throw new TypeError('no transport: give a `socket` or a `fetch`')
    const random = options.random ?? Math.random
    this.#core = new Core({ transports, random, refreshes: typeof options.token === 'function' })
    this.#listen()
  }

  /** What the connection does. */
  get state(): ClientState {
    return this.#core.state
  }

  /** Milliseconds since 1970, never going back. */
  now(): number {
    const now = this.#clock.now() + this.#skew
    if (now >= this.#last) return (this.#last = now)
    this.#skew += this.#last - now
    return this.#last
  }

  /** Follows an order. */
  order(id: string, listeners?: Listeners<Order>): Subscription<Order> {
    return this.follow<Order>('order/' + id, listeners)
  }

  /** Follows a topic: `order/{id}`, `rider/{id}`, `warehouse/{id}`, `cell` (with a box: the last one given counts), `alerts`. */
  follow<State = Json>(topic: string, listeners: Listeners<State> = {}, box?: Box): Subscription<State> {
    const subscription: Subscription<State> = new Subscription<State>(
      topic,
      () => this.#core.topics.get(topic),
      () => this.#unfollow(topic, subscription),
      (error) => this.#report(error),
      () => this.now(),
      listeners,
    )
    let all = this.#subscriptions.get(topic)
    if (!all) this.#subscriptions.set(topic, (all = new Set()))
    all.add(subscription)
    this.#handle(box ? { on: 'follow', topic, box } : { on: 'follow', topic })
    return subscription
  }

  /** Connects; needed only after the client has stopped. The first `follow` does it otherwise. */
  start(): void {
    this.#handle({ on: 'start' })
  }

  /** Tries at once what waits, and looks whether the connection is alive: the app is in sight or online again. Pages needn't
   * call it. */
  wake(): void {
    this.#handle({ on: 'wake' })
  }

  /** A newer token where it isn't a function: on the open connection, or to start again with. */
  authenticate(token: string): void {
    this.#token = token
    if (this.state.name === 'stopped') this.start()
    else if (this.state.name === 'open') this.#handle({ on: 'token', token })
  }

  /** Ends the connection and stops listening to the page. */
  close(): void {
    this.#handle({ on: 'stop' })
    for (const off of this.#unlisten.splice(0)) off()
    for (const all of this.#subscriptions.values()) for (const one of [...all]) one.finish()
  }

  #unfollow(topic: string, subscription: Subscription<any>): void {
    const all = this.#subscriptions.get(topic)
    if (!all?.delete(subscription) || all.size > 0) return
    this.#subscriptions.delete(topic)
    this.#handle({ on: 'unfollow', topic })
  }

  /** One event at a time: what a listener does in between comes after. */
  #handle(event: Event): void {
    this.#queue.push(event)
    if (this.#busy) return
    this.#busy = true
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      const event = next
      let actions: Action[] = []
      this.#guard(() => (actions = this.#core.handle(event, this.now())))
      for (const action of actions) this.#guard(() => this.#perform(action))
    }
    this.#busy = false
    this.#schedule()
  }

  #schedule(): void {
    const due = this.#core.due() ?? Infinity
    if (due === this.#timerAt) return
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#timerAt = due
    if (due === Infinity) return
    const ms = Math.min(Math.max(Math.ceil(due - this.now()), 0), TIMER_MAX_MS)
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#timerAt = Infinity
      this.#handle({ on: 'tick' })
    }, ms)
  }

  #perform(action: Action): void {
    switch (action.do) {
      case 'token':
        this.#fetchToken()
        break
      case 'connect':
        if (action.by === 'ws') this.#dial(action.link)
        else this.#request(action)
        break
      case 'send':
        this.#links.get(action.link)?.send?.(JSON.stringify(action.frame))
        break
      case 'close':
        this.#links.get(action.link)?.end()
        this.#links.delete(action.link)
        break
      case 'state':
        this.#each(action.topic, (one) => one.tellState(action.state, action.before, action.info))
        break
      case 'freshness':
        this.#each(action.topic, (one) => one.tellFreshness(action.freshness))
        break
      case 'problem':
        this.#each(action.topic, (one) => one.tellProblem(action.problem))
        break
      case 'client':
        this.#options.onState?.(action.state)
        break
    }
  }

  /** A frame that isn't of its type, a socket that was closed under our hands, a page's own error: none stops the rest. */
  #guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#report(error)
    }
  }

  #report(error: unknown): void {
    if (this.#options.onError) this.#options.onError(error)
    else console.error(error)
  }

  #each(topic: string, tell: (one: Subscription<unknown>) => void): void {
    for (const one of [...(this.#subscriptions.get(topic) ?? [])]) tell(one)
  }

  #fetchToken(): void {
    const token = this.#token
    if (typeof token !== 'function') {
      this.#handle(token === undefined ? { on: 'token' } : { on: 'token', token })
      return
    }
    const asked = (this.#asked += 1)
    const answer = (event: Event): void => {
      if (asked !== this.#asked) return
      this.#asked += 1
      this.#clock.clearTimeout(timer)
      this.#handle(event)
    }
    const failed = (error: unknown): void => answer({ on: 'token', error: String(error) })
    const timer = this.#clock.setTimeout(() => failed('no token in time'), TOKEN_MS)
    new Promise<string>((resolve) => resolve(token())).then((token) => answer({ on: 'token', token }), failed)
  }

  #dial(link: number): void {
    const url = this.#url('/v1/ws')
    url.protocol = url.protocol.replace('http', 'ws')
    const closed = (end: { code: number; reason?: string; retryAfterMs?: number }): void => {
      if (this.#links.delete(link)) this.#handle({ on: 'closed', link, end })
    }
    let socket: SocketLike
    try {
      socket = this.#socket!(url.href)
    } catch (error) {
      this.#links.set(link, { end: () => {} })
      closed({ code: 1006, reason: String(error) })
      return
    }
    socket.onopen = () => this.#handle({ on: 'opened', link })
    socket.onmessage = ({ data }: { data: unknown }) => this.#handle({ on: 'frame', link, frame: parseFrame(String(data)) })
    socket.onclose = closed
    // A close follows.
    socket.onerror = () => {}
    const end = (): void => {
      socket.onopen = socket.onmessage = socket.onclose = null
      try {
        socket.close(1000)
      } catch {
        // It never came to be.
      }
    }
    this.#links.set(link, { send: (text) => socket.send(text), end })
  }

  #request(action: Extract<Action, { by: 'sse' | 'poll' }>): void {
    const { link, by, since, token } = action
    const url = this.#url(`/v1/orders/${action.topic.slice('order/'.length)}/${by === 'sse' ? 'events' : 'updates'}`)
    const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` }
    if (by === 'poll') {
      url.searchParams.set('wait', String(action.waitS))
      if (since) url.searchParams.set('since', String(since.version))
      if (since) url.searchParams.set('epoch', String(since.epoch))
    } else if (since) headers['Last-Event-ID'] = `${since.epoch}.${since.version}`
    const end = request(by, this.#fetch, {
      url,
      headers,
      onFrame: (frame) => this.#handle({ on: 'frame', link, frame }),
      onEnd: (end) => {
        if (this.#links.delete(link)) this.#handle({ on: 'closed', link, end })
      },
    })
    this.#links.set(link, { end })
  }

  #url(path: string): URL {
    const url = new URL(this.#base)
    url.pathname = url.pathname.replace(/\/$/, '') + path
    if (this.#options.url === undefined) url.pathname = path
    url.protocol = url.protocol.replace('ws', 'http')
    url.hash = ''
    if (this.#options.datum) url.searchParams.set('datum', this.#options.datum)
    return url
  }

  /** What a browser says of the page and the network; elsewhere nothing is there to say it. */
  #listen(): void {
    const on = (target: EventTarget | undefined, name: string, run: () => void): void => {
      if (typeof target?.addEventListener !== 'function') return
      target.addEventListener(name, run)
      this.#unlisten.push(() => target.removeEventListener(name, run))
    }
    const page = globalThis.document
    on(page, 'visibilitychange', () => {
      if (page.visibilityState === 'visible') this.wake()
    })
    for (const name of ['online', 'pageshow']) on(globalThis as unknown as EventTarget, name, () => this.wake())
  }
}

const canFetch = (options: ClientOptions): boolean => options.fetch !== undefined || typeof globalThis.fetch === 'function'
