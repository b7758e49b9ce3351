/**
 * The connection's state machine, sans-IO: it takes events and the time and says what to do. No socket, no timer, no
 * randomness of its own, so that tests drive it through years of bad network in a second.
 *
 * A *link* is one carrier: a WebSocket, an event stream of one topic, one long poll. There is at most one WebSocket. Where
 * it fails before `hello` several times, streams take its place, and polls theirs; a WebSocket is tried again beside them
 * and takes over with its `hello`.
 */

import type { Action, ClientState, CoreOptions, End, Event, Transport } from './events.js'
import { comeback, TOKEN_EXPIRED, UNAUTHORIZED } from './frames.js'
import type { Box, ClientFrame, Problem, ServerFrame } from './frames.js'
import { areCrowded, Links, SILENT_BEATS, TURN_MS } from './links.js'
import type { Link } from './links.js'
import { backoff, BACKOFF_MS, bounded, PROBE_MAX_MS, PROBE_MS, renewal, someTime, spread } from './pace.js'
import { silentAt, tell, tellFreshness } from './tell.js'
import { Topic } from './topic.js'

/** A connection that lasted so long was good. */
const STABLE_MS = 5_000
const PONG_MS = 5_000
const HEARTBEAT_MS = 10_000
/** WebSockets that fail before `hello` until the next transport is tried. */
const FAILURES = 3
/** Tokens that are refused one after the other: whoever makes them makes no good ones. */
const REFUSALS = 3
const WAKE_MS = 1_000

export class Core {
  readonly topics = new Map<string, Topic>()
  state: ClientState = { name: 'idle' }
  #options: CoreOptions
  #links = new Links()
  #out: Action[] = []
  #now = 0
  #heartbeat = HEARTBEAT_MS
  /** Which of the transports is tried or used. */
  #level = 0
  /** Failures before `hello` at this level, and delays since the last good connection. */
  #failures = 0
  #attempt = 0
  #retryAt: number | undefined
  /** The server's own word on when to come back. */
  #notBefore = 0
  #wokenAt = -WAKE_MS
  #token: string | undefined
  #tokenAsked = false
  /** A token that was refused: the same one again is no use. */
  #refused: { token: string | undefined; code: number; times: number; problem?: Problem } | undefined
  #renewAt: number | undefined
  #problem: Problem | undefined
  #probeAt: number | undefined
  #probeWait = PROBE_MS

  constructor(options: CoreOptions) {
    this.#options = options
  }

  /** Takes what happened; gives what to do, in this order. */
  handle(event: Event, now: number): Action[] {
    this.#now = now
    this.#take(event)
    this.#onDue()
    tellFreshness(this.topics.values(), now, this.silence, (topic, freshness) => this.#out.push({ do: 'freshness', topic, freshness }))
    const out = this.#out
    this.#out = []
    return out
  }

  /** When `tick` is to come, if it stays so quiet. */
  due(): number | undefined {
    const times: (number | undefined)[] = [this.#retryAt, this.#renewAt, this.#probeAt]
    for (const link of this.#links.all()) times.push(this.#links.gone(link, this.silence))
    if (this.#inLanes) times.push(this.#links.laneDue(this.#followed))
    for (const topic of this.topics.values()) times.push(topic.askAt, silentAt(topic, this.silence))
    const known = times.filter((time) => time !== undefined)
    return known.length > 0 ? Math.min(...known) : undefined
  }

  /** So long nothing may be heard. */
  get silence(): number {
    return this.#heartbeat * SILENT_BEATS
  }

  #take(event: Event): void {
    switch (event.on) {
      case 'start':
        this.#refused = undefined
        if (this.state.name === 'idle' || this.state.name === 'stopped') this.#begin()
        return
      case 'stop':
        return this.#stop({ name: 'stopped', reason: 'closed' })
      case 'follow':
        return this.#follow(event.topic, event.box)
      case 'unfollow':
        return this.#unfollow(event.topic)
      case 'token':
        return this.#onToken(event.token, event.error)
      case 'opened':
        return this.#onOpened(event.link)
      case 'frame':
        return this.#onFrame(event.link, event.frame)
      case 'closed':
        return this.#onClosed(event.link, event.end)
      case 'wake':
        return this.#wake()
      case 'tick':
        return
    }
  }

  get #followed(): Topic[] {
    return [...this.topics.values()]
  }

  // --- what comes of time

  #onDue(): void {
    const now = this.#now
    for (const link of this.#links.all()) {
      if (now >= this.#links.gone(link, this.silence)) this.#lost(link, { code: 1006, status: 0 })
    }
    if (this.#retryAt !== undefined && now >= this.#retryAt) {
      this.#retryAt = undefined
      const socket = this.#links.socket
      if (socket) this.#close(socket)
      this.#begin()
    }
    if (this.#renewAt !== undefined && now >= this.#renewAt) {
      this.#renewAt = undefined
      this.#askToken()
    }
    if (this.#probeAt !== undefined && now >= this.#probeAt) {
      this.#probeAt = undefined
      this.#dial()
    }
    for (const topic of this.topics.values()) {
      if (topic.askAt !== undefined && now >= topic.askAt) this.#ask(topic)
    }
    if (this.#inLanes) this.#fillLanes()
  }

  // --- connecting

  get #by(): Transport {
    return this.#options.transports[this.#level] ?? 'ws'
  }

  get #inLanes(): boolean {
    return this.#by !== 'ws' && (this.state.name === 'open' || (this.state.name === 'connecting' && !this.#tokenAsked))
  }

  #begin(): void {
    this.#retryAt = undefined
    this.#set({ name: 'connecting' })
    this.#askToken()
  }

  #askToken(): void {
    // Good for a while yet.
    if (this.#token !== undefined && this.state.name === 'connecting' && this.#renewAt !== undefined) return this.#connect()
    if (this.#tokenAsked) return
    this.#tokenAsked = true
    this.#out.push({ do: 'token' })
  }

  #onToken(token: string | undefined, error: string | undefined): void {
    this.#tokenAsked = false
    if (this.state.name === 'stopped' || this.state.name === 'idle') {
      this.#token = token ?? this.#token
      return
    }
    if (error !== undefined) {
      // The one there is goes on for as long as it lasts.
      if (this.state.name === 'connecting') this.#fail(undefined, false)
      else this.#renewAt = this.#now + this.#backoff(this.#attempt + 2) + BACKOFF_MS
      return
    }
    const refused = this.#refused
    if (refused && refused.token === token) {
      const { code, problem } = refused
      return this.#stop({ name: 'stopped', reason: code === TOKEN_EXPIRED ? 'token_expired' : 'unauthorized', code, ...(problem && { problem }) })
    }
    this.#token = token
    if (this.state.name === 'connecting') return this.#connect()
    const socket = this.#links.socket
    if (socket && token !== undefined) this.#send(socket, { type: 'authenticate', token })
    // Streams keep the token that they began with: those that ended on its account begin anew.
    this.#links.forgetLanes()
  }

  #connect(): void {
    if (this.#by === 'ws') this.#dial()
    else {
      this.#links.forgetLanes()
      this.#fillLanes()
    }
  }

  /** Opens the WebSocket, unless there is one. */
  #dial(): void {
    if (this.#links.socket) return
    const link = this.#links.open('ws', this.#now)
    this.#out.push({ do: 'connect', link: link.id, by: 'ws' })
  }

  #onOpened(id: number): void {
    const link = this.#links.get(id)
    if (link?.by !== 'ws') return
    // A token in the first frame is in nobody's log of addresses and headers, and its refusal has a code that can be read.
    if (this.#token !== undefined) this.#send(link, { type: 'authenticate', token: this.#token })
  }

  #onClosed(id: number, end: End): void {
    const link = this.#links.get(id)
    if (link) this.#lost(link, end)
  }

  /** A link is gone, by itself or because it is silent. */
  #lost(link: Link, end: End): void {
    this.#close(link)
    if (link.by !== 'ws') return this.#laneEnded(link, end)
    const code = end.code ?? 1006
    if (this.#by !== 'ws') {
      // Only a try beside the streams.
      this.#probeWait = Math.min(this.#probeWait * 2, PROBE_MAX_MS)
      this.#probeAt = this.#now + this.#probeWait * (0.5 + this.#options.random() / 2)
      return
    }
    for (const topic of this.topics.values()) topic.detach()
    if (link.greeted && this.#now - link.openedAt >= STABLE_MS) this.#attempt = 0
    switch (comeback(code)) {
      case 'after_a_change':
        return this.#refusedBy(code, end.reason)
      case 'at_once':
        // Not in a circle.
        if (this.#attempt > 0) return this.#fail(end, link.greeted)
        this.#attempt = 1
        return this.#retryIn(0)
      case 'after_a_wait':
        // The server has said when; without a word, spread out.
        if (this.#notBefore <= this.#now) this.#notBefore = this.#now + someTime(this.#options.random())
        this.#attempt += 1
        return this.#retryIn(0)
      case 'as_usual':
        return this.#fail(end, link.greeted)
    }
  }

  #refusedBy(code: number, reason: string | undefined, problem = this.#problem): void {
    const token = code === TOKEN_EXPIRED || code === UNAUTHORIZED
    const times = (this.#refused?.times ?? 0) + 1
    if (token && this.#options.refreshes && times <= REFUSALS) {
      this.#refused = { token: this.#token, code, times, ...(problem && { problem }) }
      this.#token = this.#renewAt = undefined
      this.#attempt += 1
      this.#retryIn(this.#attempt > 1 ? this.#backoff(this.#attempt) : 0)
      return
    }
    this.#stop({ name: 'stopped', reason: reason || String(code), code, ...(problem && { problem }) })
  }

  /** A try came to nothing, or a connection broke: again after a while, by other means where these never work. */
  #fail(end: End | undefined, greeted: boolean): void {
    if (end?.retryAfterMs !== undefined) {
      this.#notBefore = this.#now + spread(end.retryAfterMs, this.#options.random())
      // Busy, not out of reach: a WebSocket may have been refused for the same reason, which can't be seen.
      this.#level = this.#failures = 0
    } else if (!greeted && end !== undefined) {
      this.#failures += 1
      if (this.#failures >= (this.#level === 0 ? FAILURES : 1)) {
        this.#failures = 0
        this.#level = (this.#level + 1) % this.#options.transports.length
      }
    }
    this.#attempt += 1
    this.#retryIn(this.#backoff(this.#attempt))
  }

  #retryIn(ms: number): void {
    for (const link of this.#links.all()) this.#close(link)
    this.#probeAt = undefined
    this.#retryAt = Math.max(this.#now + ms, this.#notBefore)
    this.#set({ name: 'reconnecting', attempt: this.#attempt, retryAt: this.#retryAt })
  }

  #backoff(attempt: number): number {
    return backoff(attempt, this.#options.random())
  }

  #stop(state: ClientState): void {
    for (const link of this.#links.all()) this.#close(link)
    for (const topic of this.topics.values()) topic.detach()
    this.#retryAt = this.#renewAt = this.#probeAt = this.#refused = this.#problem = undefined
    this.#attempt = this.#failures = this.#level = this.#notBefore = 0
    this.#token = undefined
    this.#set(state)
  }

  #close(link: Link): void {
    if (this.#links.close(link)) this.#out.push({ do: 'close', link: link.id })
  }

  #wake(): void {
    if (this.#now - this.#wokenAt < WAKE_MS) return
    this.#wokenAt = this.#now
    if (this.state.name === 'reconnecting' && this.#now >= this.#notBefore) this.#retryAt = this.#now
    if (this.state.name !== 'open') return
    if (this.#inLanes) {
      this.#links.hurryLanes(this.#now, this.#notBefore)
      if (this.#probeAt !== undefined) this.#probeAt = this.#now
      return
    }
    const socket = this.#links.socket
    if (socket?.greeted) {
      this.#send(socket, { type: 'ping' })
      socket.pongBy = Math.min(socket.pongBy ?? Infinity, this.#now + PONG_MS)
    }
  }

  // --- frames

  #onFrame(id: number, frame: ServerFrame | undefined): void {
    const link = this.#links.get(id)
    if (!link) return
    link.heardAt = this.#now
    delete link.pongBy
    if (link.by !== 'ws' && !link.greeted) this.#laneGreeted(link)
    if (!frame) return
    switch (frame.type) {
      case 'hello':
        this.#heartbeat = Math.max(frame.heartbeat_ms, 100)
        if (link.by === 'ws' && !link.greeted) this.#greeted(link)
        break
      case 'authenticated':
        this.#refused = this.#renewAt = undefined
        if (frame.expires_at_ms !== undefined && this.#options.refreshes) this.#renewAt = renewal(frame.expires_at_ms, this.#now)
        break
      case 'expired':
        if (this.#options.refreshes) {
          this.#renewAt = undefined
          if (link.by !== 'ws') this.#token = undefined
          this.#askToken()
        }
        break
      case 'going_away':
        this.#notBefore = this.#now + bounded(frame.reconnect_in_ms)
        // The close follows; without one, we go.
        if (this.#by === 'ws') this.#retryAt = this.#notBefore + BACKOFF_MS
        break
      case 'error':
        this.#onError(link, frame.topic, frame.problem)
        break
      case 'heartbeat':
      case 'subscribed':
      case 'snapshot':
      case 'delta':
        tell(frame, this.#topicsOf(link), this.#now, (topic, outcome, before) => {
          if (outcome.do === 'state') this.#out.push({ do: 'state', topic: topic.name, state: topic.state ?? null, before, info: outcome.info })
          else if (outcome.do === 'ask') this.#askIn(topic, link, outcome.inMs)
        })
        break
    }
  }

  /** Those that a link carries: of a socket all, of a stream its own. Those that are refused aren't carried. */
  #topicsOf(link: Link): Topic[] {
    if (link.by === 'ws' && this.#by !== 'ws') return []
    return [...this.topics.values()].filter((topic) => !topic.problem && (link.topic === undefined || link.topic === topic.name))
  }

  #askIn(topic: Topic, link: Link, ms: number): void {
    if (link.by !== 'ws') {
      // A stream goes on from a version only where it begins.
      this.#close(link)
      this.#laneIn(topic, Math.max(ms, TURN_MS))
    } else if (ms > 0) topic.askAt = this.#now + ms
    else this.#ask(topic)
  }

  #ask(topic: Topic): void {
    const socket = this.#links.socket
    if (socket?.greeted && this.#by === 'ws') this.#send(socket, topic.ask())
    else topic.askAt = undefined
  }

  #onError(link: Link, name: string | undefined, problem: Problem): void {
    const topic = name === undefined ? undefined : this.#topicsOf(link).find((topic) => topic.name === name)
    if (name === undefined) this.#problem = problem
    if (!topic) return
    if (topic.onError(problem)) this.#out.push({ do: 'problem', topic: topic.name, problem })
    else if (!topic.asking) topic.askAt = this.#now + BACKOFF_MS + this.#backoff(topic.refusals)
  }

  #greeted(link: Link): void {
    // What runs beside it has had its day.
    for (const other of this.#links.all()) if (other.by !== 'ws') this.#close(other)
    link.greeted = true
    this.#level = this.#options.transports.indexOf('ws')
    this.#failures = 0
    this.#probeAt = this.#problem = undefined
    this.#probeWait = PROBE_MS
    this.#set({ name: 'open', transport: 'ws' })
    for (const topic of this.topics.values()) {
      topic.detach()
      if (!topic.problem) this.#ask(topic)
    }
  }

  // --- streams and polls

  #laneIn(topic: Topic, ms: number): void {
    this.#links.delayLane(topic.name, Math.max(this.#now + ms, this.#notBefore))
  }

  /** Opens streams and polls for topics that have none and whose time has come. */
  #fillLanes(): void {
    const crowded = areCrowded(this.#followed)
    // Streams would keep what others wait for.
    if (crowded) for (const lane of this.#links.lanes) if (lane.by === 'sse') this.#close(lane)
    for (const { topic, waitS } of this.#links.lanesDue(this.#followed, this.#now, this.#heartbeat)) {
      topic.detach()
      const by = crowded || this.#by === 'poll' ? 'poll' : 'sse'
      const { id } = this.#links.open(by, this.#now, topic.name)
      const action: Action = { do: 'connect', link: id, by, topic: topic.name, waitS }
      if (topic.version !== undefined && topic.epoch !== undefined) action.since = { version: topic.version, epoch: topic.epoch }
      if (this.#token !== undefined) action.token = this.#token
      this.#out.push(action)
    }
  }

  #laneGreeted(link: Link): void {
    link.greeted = true
    this.#failures = this.#attempt = 0
    this.#refused = undefined
    if (this.state.name === 'open') return
    this.#set({ name: 'open', transport: this.#by })
    if (this.#options.transports.includes('ws')) this.#probeAt = this.#now + this.#probeWait * (0.5 + this.#options.random() / 2)
  }

  #laneEnded(link: Link, end: End): void {
    const topic = this.topics.get(link.topic ?? '')
    if (!topic || topic.problem) return
    topic.detach()
    const { problem, status } = end
    if (link.by === 'poll' && status === 200) {
      if (!link.greeted) this.#laneGreeted(link)
      topic.onAnswered(this.#now)
      this.#laneIn(topic, areCrowded(this.#followed) ? TURN_MS : 0)
    } else if (status === 401) this.#refusedBy(UNAUTHORIZED, 'unauthorized', problem)
    else if (problem && problem.type !== 'no_route' && problem.status < 500 && ![405, 406, 408, 429].includes(problem.status)) {
      topic.onError(problem)
      this.#out.push({ do: 'problem', topic: topic.name, problem })
    } else if (end.retryAfterMs !== undefined && this.state.name === 'open') {
      this.#laneIn(topic, bounded(end.retryAfterMs) * (1 + this.#options.random() / 4))
    } else if (link.greeted && this.state.name === 'open') {
      // It worked and will again, most likely.
      this.#laneIn(topic, this.#backoff(1))
    } else if (this.state.name === 'connecting') this.#fail(end, false)
    else {
      this.#failures += 1
      if (this.#failures >= FAILURES) {
        this.#failures = this.#level = 0
        this.#fail(undefined, false)
      } else this.#laneIn(topic, this.#backoff(this.#failures + 1))
    }
  }

  // --- what is followed

  #follow(name: string, box: Box | undefined): void {
    let topic = this.topics.get(name)
    if (topic && !topic.problem && String(topic.box) === String(box)) return
    if (topic && !topic.problem && box) topic.move(box)
    else this.topics.set(name, (topic = new Topic(name, box)))
    if (this.state.name === 'idle') this.#begin()
    else this.#ask(topic)
  }

  #unfollow(name: string): void {
    const topic = this.topics.get(name)
    if (!topic || !this.topics.delete(name)) return
    this.#links.forgetLanes(name)
    const lane = this.#links.laneOf(name)
    if (lane) this.#close(lane)
    const socket = this.#links.socket
    if (socket?.greeted && this.#by === 'ws' && !topic.problem) this.#send(socket, { type: 'unsubscribe', topic: name })
  }

  #send(link: Link, frame: ClientFrame): void {
    this.#out.push({ do: 'send', link: link.id, frame })
  }

  #set(state: ClientState): void {
    this.state = state
    this.#out.push({ do: 'client', state })
  }
}
