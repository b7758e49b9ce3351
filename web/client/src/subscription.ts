/** What a page holds of a topic that it follows. */

import type { Json, Problem } from './frames.js'
import type { Alert } from './order.js'
import type { Freshness, StateInfo, Topic } from './topic.js'

export interface Listeners<State> {
  /** Each state in turn, beginning with the one that is there. */
  onState?: (state: State, info: StateInfo) => void
  /** An alert of the topic's state is new, has changed, or is gone (`undefined`). Operations see them. */
  onAlert?: (alert: Alert | undefined, id: string) => void
  /** How far what is shown can be believed. */
  onFreshness?: (freshness: Freshness) => void
  /** It can't be followed, or not any more. */
  onProblem?: (problem: Problem) => void
}

/** A subscription's problem, thrown by its iterator. */
export class TopicError extends Error {
  constructor(
    readonly topic: string,
    readonly problem: Problem,
  ) {
    super(`${topic}: ${problem.detail ?? problem.title}`)
    this.name = 'TopicError'
  }
}

/** Iterates over states: `for await (const state of subscription)`. Who is slow sees the newest, not each. */
export class Subscription<State> implements AsyncIterable<State> {
  #listeners: Set<Listeners<State>> = new Set()
  #waiting: Set<() => void> = new Set()
  #count = 0
  #over = false
  #last: StateInfo | undefined

  /** Made by `Client.follow`. */
  constructor(
    readonly topic: string,
    private readonly known: () => Topic | undefined,
    private readonly leave: () => void,
    private readonly onError: (error: unknown) => void,
    private readonly now: () => number,
    listeners: Listeners<State>,
  ) {
    this.listen(listeners)
  }

  get state(): State | undefined {
    return this.known()?.state as State | undefined
  }

  get version(): number | undefined {
    return this.known()?.version
  }

  get epoch(): number | undefined {
    return this.known()?.epoch
  }

  get freshness(): Freshness {
    return this.known()?.told ?? 'none'
  }

  /** How the last (re)subscription began: `fresh`, `resumed` with so many changes caught up with, or `reset`. */
  get recovered(): Topic['recovered'] {
    return this.known()?.recovered
  }

  get problem(): Problem | undefined {
    return this.known()?.problem
  }

  /** Milliseconds since the server last confirmed what is shown. */
  get ageMs(): number | undefined {
    const at = this.known()?.confirmedAt
    return at === undefined ? undefined : Math.max(this.now() - at, 0)
  }

  /** Adds listeners; returns what takes them off. They hear at once what is there already. */
  listen(listeners: Listeners<State>): () => void {
    this.#listeners.add(listeners)
    const topic = this.known()
    if (topic?.state !== undefined && topic.version !== undefined && topic.epoch !== undefined) {
      const info = this.#last ?? { version: topic.version, epoch: topic.epoch, atMs: topic.atMs, gap: false }
      this.#guard(() => listeners.onState?.(topic.state as State, { ...info, gap: false }))
    }
    return () => this.#listeners.delete(listeners)
  }

  unfollow(): void {
    this.finish()
    this.leave()
  }

  async *[Symbol.asyncIterator](): AsyncIterator<State> {
    let seen = this.state === undefined ? this.#count : this.#count - 1
    while (!this.#over) {
      const problem = this.problem
      if (problem) throw new TopicError(this.topic, problem)
      if (seen === this.#count) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve))
        continue
      }
      seen = this.#count
      yield this.state as State
    }
  }

  /** Of the client: a state. */
  tellState(state: Json, before: Json | undefined, info: StateInfo): void {
    this.#last = info
    this.#count += 1
    for (const one of [...this.#listeners]) this.#guard(() => one.onState?.(state as State, info))
    this.#tellAlerts(alertsOf(before), alertsOf(state))
    this.#wakeIterators()
  }

  /** Of the client. */
  tellFreshness(freshness: Freshness): void {
    for (const one of [...this.#listeners]) this.#guard(() => one.onFreshness?.(freshness))
  }

  /** Of the client. */
  tellProblem(problem: Problem): void {
    for (const one of [...this.#listeners]) this.#guard(() => one.onProblem?.(problem))
    this.#wakeIterators()
  }

  /** Of the client: nothing more comes. */
  finish(): void {
    this.#over = true
    this.#wakeIterators()
  }

  #tellAlerts(before: Record<string, Alert>, after: Record<string, Alert>): void {
    if (before === after) return
    for (const id of new Set([...Object.keys(before), ...Object.keys(after)])) {
      // Merging leaves alone what a patch doesn't touch; a snapshot's are compared by their text.
      if (before[id] === after[id] || JSON.stringify(before[id]) === JSON.stringify(after[id])) continue
      for (const one of [...this.#listeners]) this.#guard(() => one.onAlert?.(after[id], id))
    }
  }

  #wakeIterators(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }

  #guard(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.onError(error)
    }
  }
}

const NONE: Record<string, Alert> = {}

function alertsOf(state: Json | undefined): Record<string, Alert> {
  const alerts = typeof state === 'object' && state !== null && !Array.isArray(state) ? state['alerts'] : undefined
  return typeof alerts === 'object' && alerts !== null && !Array.isArray(alerts) ? (alerts as unknown as Record<string, Alert>) : NONE
}
