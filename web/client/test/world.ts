/**
 * A server, a network and time, all made up, around one core: what the model test plays. Every random choice comes from
 * one seed.
 */

import { Core } from '../src/core.js'
import type { Action, ClientState, Event, Transport } from '../src/events.js'
import type { Json, ServerFrame } from '../src/frames.js'
import { merge } from '../src/merge.js'
import type { StateInfo } from '../src/topic.js'

type State = { status: number; n: number; extra?: { [key: string]: number } }
/** One version of an order. `line` names the epoch in which it was made: an earlier owner's end may be cut off. */
interface Version {
  epoch: number
  version: number
  state: State
  line: number
}

/** An order and everything that it ever was. */
export class Truth {
  log: Version[] = [{ epoch: 1, version: 1, state: { status: 1, n: 0 }, line: 1 }]
  constructor(readonly id: string) {}

  get now(): Version {
    return this.log.at(-1)!
  }

  change(random: () => number): void {
    const { epoch, version, state, line } = this.now
    const next: State = { ...state, n: state.n + 1 }
    if (random() < 0.1 && state.status < 4) next.status += 1
    if (random() < 0.3) next.extra = { ...(next.extra ?? {}), ['k' + Math.floor(random() * 3)]: Math.floor(random() * 100) }
    else if (random() < 0.2) delete next.extra
    this.log.push({ epoch, version: version + 1, state: next, line })
  }

  /** Another owner, with all of it or, after a disaster, without its end. */
  pass(random: () => number): void {
    const { epoch, version, line } = this.now
    if (random() < 0.7) {
      this.log.push({ ...this.now, epoch: epoch + 1 })
      return
    }
    const keep = Math.max(1, version - Math.floor(random() * 4))
    const base = this.log.filter((v) => v.version === keep).at(-1)!
    this.log.push({ epoch: epoch + 1, version: keep, state: base.state, line: keep === version ? line : epoch + 1 })
  }
}

/** A bridge's knowledge: so many entries of each order's log. */
interface Node {
  at: Map<string, number>
}

interface Carrier {
  link: number
  by: Transport
  topic?: string
  node: Node
  open: boolean
  greeted: boolean
  /** Nothing arrives any more, nobody says so. */
  dead: boolean
  /** By topic, the entry that was sent last. */
  sent: Map<string, number>
  /** The last that arrived of it was that the order's owner is silent. */
  unconfirmed: boolean
}

export interface Faults {
  lose: number
  cut: number
  kill: number
  blockWs: boolean
  blockSse: boolean
  down: boolean
}

export const CALM: Faults = { lose: 0, cut: 0, kill: 0, blockWs: false, blockSse: false, down: false }
export const HEARTBEAT = 2_000

export class World {
  now = 1_000_000
  faults: Faults = { ...CALM }
  readonly orders = new Map<string, Truth>()
  readonly core: Core
  readonly states: ClientState[] = []
  readonly shown = new Map<string, { state: Json; info: StateInfo; at: number }[]>()
  readonly dials: number[] = []
  readonly problems: string[] = []
  /** Polls whose answer ended with a silent owner. */
  silences = 0
  #nodes: Node[] = [{ at: new Map() }, { at: new Map() }]
  #carriers = new Map<number, Carrier>()
  #queue: { at: number; n: number; run: () => void }[] = []
  #n = 0
  notBefore = 0

  constructor(
    readonly random: () => number,
    transports: Transport[],
    ids: string[],
  ) {
    for (const id of ids) this.orders.set(id, new Truth(id))
    for (const node of this.#nodes) for (const id of ids) node.at.set(id, 0)
    this.core = new Core({ transports, random, refreshes: true })
    this.#every(HEARTBEAT, () => this.#beat())
  }

  give(event: Event): void {
    for (const action of this.core.handle(event, this.now)) this.#perform(action)
  }

  /** Runs until then. */
  run(until: number): void {
    for (;;) {
      this.#queue.sort((a, b) => a.at - b.at || a.n - b.n)
      const due = this.core.due() ?? Infinity
      const next = this.#queue[0]?.at ?? Infinity
      const at = Math.max(Math.min(due, next), this.now)
      if (at > until) break
      this.now = at
      if (due <= next) this.give({ on: 'tick' })
      else this.#queue.shift()!.run()
      if (++this.#n > 5_000_000) throw new Error('it goes in circles')
    }
    this.now = until
  }

  change(): void {
    for (const truth of this.orders.values()) {
      if (this.random() < 0.3) truth.change(this.random)
      if (this.random() < 0.01) truth.pass(this.random)
    }
    // One node knows at once, the other when it pleases.
    for (const [i, node] of this.#nodes.entries()) {
      if (i === 0 || this.random() < 0.3) this.#learn(node)
    }
  }

  settle(): void {
    this.faults = { ...CALM }
    for (const node of this.#nodes) this.#learn(node)
  }

  /** The server shuts down in order: each client is told when to come back. */
  drain(): void {
    for (const carrier of this.#carriers.values()) {
      if (carrier.by !== 'ws' || !carrier.greeted || carrier.dead) continue
      const ms = Math.floor(this.random() * 5_000)
      this.#later(5, () => {
        if (!this.#carriers.has(carrier.link)) return
        this.notBefore = this.now + ms
        this.give({ on: 'frame', link: carrier.link, frame: { type: 'going_away', reconnect_in_ms: ms } })
      })
      this.#later(6, () => this.#end(carrier, 4100))
    }
  }

  cut(code: number): void {
    for (const carrier of [...this.#carriers.values()]) this.#end(carrier, code)
  }

  /** The network swallows everything from now on. */
  deafen(): void {
    for (const carrier of this.#carriers.values()) carrier.dead = true
  }

  #perform(action: Action): void {
    switch (action.do) {
      case 'token':
        this.#later(3, () => this.give({ on: 'token', token: 't' + this.#n }))
        break
      case 'connect':
        this.#connect(action)
        break
      case 'send': {
        const { link, frame } = action
        this.#later(10, () => this.#said(link, frame))
        break
      }
      case 'close':
        this.#carriers.delete(action.link)
        break
      case 'state': {
        const all = this.shown.get(action.topic) ?? []
        all.push({ state: action.state, info: action.info, at: this.now })
        this.shown.set(action.topic, all)
        break
      }
      case 'freshness':
        break
      case 'problem':
        this.problems.push(action.problem.type)
        break
      case 'client':
        this.states.push(action.state)
        break
    }
  }

  #connect(action: Extract<Action, { do: 'connect' }>): void {
    const { link, by } = action
    const node = this.#nodes[Math.floor(this.random() * this.#nodes.length)]!
    const carrier: Carrier = { link, by, node, open: false, greeted: false, dead: false, sent: new Map(), unconfirmed: false }
    if (action.by !== 'ws') carrier.topic = action.topic
    if (by === 'ws') {
      this.dials.push(this.now)
      for (const other of this.#carriers.values()) if (other.by === 'ws') throw new Error('two sockets')
      if (this.now < this.notBefore) throw new Error(`dialled ${this.notBefore - this.now} ms before the server's time`)
    }
    this.#carriers.set(link, carrier)
    const blocked = this.faults.down || (by === 'ws' ? this.faults.blockWs : by === 'sse' && this.faults.blockSse)
    if (blocked) {
      // Refused, or swallowed.
      if (this.random() < 0.7) this.#later(20, () => this.#end(carrier, 1006))
      else carrier.dead = true
      return
    }
    this.#later(20, () => {
      if (!this.#carriers.has(link) || carrier.dead) return
      carrier.open = true
      if (action.by === 'ws') {
        this.give({ on: 'opened', link })
        this.#later(15, () => {
          carrier.greeted = true
          this.#tell(carrier, { type: 'hello', session: 's', view: 'customer', heartbeat_ms: HEARTBEAT })
        })
        return
      }
      carrier.greeted = true
      this.#subscribe(carrier, action.topic, action.since, false)
      if (by !== 'poll') return
      const id = action.topic.slice(6)
      const ended = (): void => {
        this.#confirm(carrier)
        this.#later(11, () => this.#end(carrier, 200))
      }
      // It waits for a change, at most so long.
      const began = carrier.sent.get(id)
      const look = (left: number): void => {
        if (carrier.sent.get(id) !== began || left <= 0) ended()
        else this.#later(500, () => look(left - 500))
      }
      look(action.since === undefined ? 0 : action.waitS * 1_000)
    })
  }

  #said(link: number, frame: Extract<Action, { do: 'send' }>['frame']): void {
    const carrier = this.#carriers.get(link)
    if (!carrier || carrier.dead) return
    if (frame.type === 'authenticate') this.#tell(carrier, { type: 'authenticated', expires_at_ms: this.now + 45_000 })
    else if (frame.type === 'ping') this.#tell(carrier, { type: 'pong' })
    else if (frame.type === 'unsubscribe') carrier.sent.delete(frame.topic.slice(6))
    else if (this.random() < 0.02 && this.faults.lose > 0) {
      this.#tell(carrier, { type: 'error', topic: frame.topic, problem: { type: 'unavailable', title: '', status: 503 } })
    } else {
      const since = frame.version === undefined || frame.epoch === undefined ? undefined : { version: frame.version, epoch: frame.epoch }
      this.#subscribe(carrier, frame.topic, since, true)
    }
  }

  #subscribe(carrier: Carrier, topic: string, since: { version: number; epoch: number } | undefined, says: boolean): void {
    const id = topic.slice(6)
    const truth = this.orders.get(id)!
    const end = carrier.node.at.get(id)!
    const now = truth.log[end]!
    carrier.sent.set(id, end)
    // The same epoch is one line, whose versions name one state each.
    const from = since ? truth.log.findIndex((v, i) => i <= end && v.epoch === since.epoch && v.version === since.version) : -1
    const resumes = from >= 0 && now.epoch === since!.epoch && this.random() < 0.8
    if (says) this.#tell(carrier, { type: 'subscribed', topic, recovery: resumes ? 'resumed' : since ? 'reset' : 'fresh' })
    if (!resumes) this.#tell(carrier, { type: 'snapshot', topic, epoch: now.epoch, version: now.version, at_ms: 0, state: { ...now.state } })
    else for (let i = from; i < end; i++) this.#step(carrier, truth, i, i + 1)
  }

  /** What a follower sees when the node learns of an entry. */
  #step(carrier: Carrier, truth: Truth, from: number, to: number): void {
    const [a, b] = [truth.log[from]!, truth.log[to]!]
    const topic = 'order/' + truth.id
    if (b.version > a.version && (a.line === b.line || a.epoch === b.epoch)) {
      this.#tell(carrier, { type: 'delta', topic, epoch: b.epoch, from: a.version, to: b.version, at_ms: 0, patch: diff(a.state, b.state) })
    } else if (b.version !== a.version || b.line !== a.line) {
      this.#tell(carrier, { type: 'snapshot', topic, epoch: b.epoch, version: b.version, at_ms: 0, state: { ...b.state } })
    }
  }

  #learn(node: Node): void {
    for (const [id, truth] of this.orders) {
      const before = node.at.get(id)!
      node.at.set(id, truth.log.length - 1)
      for (const carrier of this.#carriers.values()) {
        const sent = carrier.sent.get(id)
        if (carrier.node !== node || sent === undefined) continue
        for (let i = Math.max(sent, before); i < truth.log.length - 1; i++) this.#step(carrier, truth, i, i + 1)
        carrier.sent.set(id, truth.log.length - 1)
      }
    }
  }

  #beat(): void {
    for (const carrier of this.#carriers.values()) {
      // A poll's comes at the end of its answer.
      if (carrier.greeted && carrier.by !== 'poll') this.#confirm(carrier)
    }
    if (this.random() < this.faults.cut) this.cut([1006, 4000, 4100, 4202][Math.floor(this.random() * 4)]!)
    if (this.random() < this.faults.kill) this.deafen()
  }

  /** A heartbeat, by which some owners are silent. */
  #confirm(carrier: Carrier): void {
    const orders: Record<string, number> = {}
    const unconfirmed: string[] = []
    for (const [id, sent] of carrier.sent) {
      if (this.faults.lose > 0 && this.random() < (carrier.by === 'poll' ? 0.3 : 0.05)) unconfirmed.push(id)
      else orders[id] = this.orders.get(id)!.log[sent]!.version
    }
    this.#tell(carrier, { type: 'heartbeat', orders, unconfirmed })
  }

  #tell(carrier: Carrier, frame: ServerFrame): void {
    // Snapshots aren't lost: a network that loses one loses all that comes after it on that connection.
    if (['delta', 'heartbeat', 'subscribed', 'pong'].includes(frame.type) && this.random() < this.faults.lose) return
    this.#later(10, () => {
      if (!this.#carriers.has(carrier.link) || carrier.dead) return
      carrier.unconfirmed = frame.type === 'heartbeat' && carrier.topic !== undefined && !!frame.unconfirmed?.includes(carrier.topic.slice(6))
      this.give({ on: 'frame', link: carrier.link, frame })
    })
  }

  #end(carrier: Carrier, code: number): void {
    if (carrier.dead || !this.#carriers.delete(carrier.link)) return
    this.give({ on: 'closed', link: carrier.link, end: code === 200 ? { status: 200 } : { code, status: 0 } })
    if (code !== 200 || !carrier.unconfirmed) return
    this.silences += 1
    const topic = this.core.topics.get(carrier.topic ?? '')
    if (topic?.freshness(this.now, this.core.silence) === 'confirmed') throw new Error('an answered poll confirms what its heartbeat doesn’t')
  }

  #later(ms: number, run: () => void): void {
    this.#queue.push({ at: this.now + ms, n: this.#n++, run })
  }

  every(ms: number, run: () => void): void {
    this.#every(ms, run)
  }

  #every(ms: number, run: () => void): void {
    this.#later(ms, () => {
      run()
      this.#every(ms, run)
    })
  }
}

/** What turns one state into another. */
function diff(a: State, b: State): Json {
  const patch: { [key: string]: Json } = {}
  for (const key of ['status', 'n'] as const) if (a[key] !== b[key]) patch[key] = b[key]
  const [before, after] = [a.extra, b.extra]
  if (before && !after) patch['extra'] = null
  else if (after) {
    const changed = Object.entries(after).filter(([key, value]) => before?.[key] !== value)
    if (changed.length > 0) patch['extra'] = Object.fromEntries(changed)
  }
  if (JSON.stringify(merge(a as unknown as Json, patch)) === '') throw new Error('no patch')
  return patch
}
