/**
 * One followed topic: what is known of it, from when, and whether a frame fits. Sans-IO; the connection tells it frames
 * and asks on its behalf.
 *
 * A subscribe is answered by one `subscribed` or `error`. Frames that come before the answer belong to what was asked
 * earlier and are left out, so that version and state are always of one line.
 */

import type { Box, ClientFrame, Delta, Json, Problem, Snapshot, Subscribed } from './frames.js'
import { merge } from './merge.js'

/** How far what is shown can be believed. */
export type Freshness =
  /** Nothing has come yet. */
  | 'none'
  /** The owner's heartbeat names the version that is shown. */
  | 'confirmed'
  /** The bridge is there, the order's owner is silent: what is shown may be old. */
  | 'unconfirmed'
  /** Nothing is heard of the server. */
  | 'silent'
  /** It isn't followed any more: see the problem. */
  | 'ended'

/** How a state came about. */
export interface StateInfo {
  version: number
  epoch: number
  /** The cell's time of the change. */
  atMs: number
  /** `true`: changes before this one may never have been shown. Never so with a first state. */
  gap: boolean
  /** What changed, where it came as a change. */
  patch?: Json
}

/** What a frame led to. */
export type Outcome = { do: 'nothing' } | { do: 'ask'; inMs: number } | { do: 'state'; info: StateInfo }

const NOTHING: Outcome = { do: 'nothing' }
const ASK: Outcome = { do: 'ask', inMs: 0 }

/** Heartbeats that may leave a followed topic out: one may have been made before the answer to its subscribe. */
const UNMENTIONED = 2
/** Heartbeats after which an answer isn't waited for any more. */
const UNANSWERED = 3
/** So many times an older owner's state is asked for again, each after twice as long, before it is believed: bridges learn
 * of a new owner within seconds. */
const OLDER = 3
const OLDER_MS = 1_000

export class Topic {
  state: Json | undefined
  version: number | undefined
  epoch: number | undefined
  /** The cell's time of the last change. */
  atMs = 0
  problem: Problem | undefined
  /** When the server last confirmed what is shown. */
  confirmedAt: number | undefined
  /** When the server last said anything of it. */
  heardAt = 0
  /** The owner was silent by the last heartbeat. */
  unconfirmed = false
  /** When to ask again, after a refusal that passes. */
  askAt: number | undefined
  refusals = 0
  /** How the last answer to a subscribe began, and how many changes were caught up with. */
  recovered: { how: Subscribed['recovery']; missed?: number } | undefined
  /** What listeners were last told. */
  told: Freshness = 'none'
  /** Subscribes without an answer. */
  #asked = 0
  /** The next snapshot is the first of its kind. */
  #fresh = false
  #unmentioned = 0
  #unanswered = 0
  #older = 0

  constructor(
    readonly name: string,
    public box?: Box,
  ) {}

  /** Whether an answer is awaited. */
  get asking(): boolean {
    return this.#asked > 0
  }

  /** Orders' epochs grow; those of other topics are only the same or not. */
  get #growing(): boolean {
    return this.name.startsWith('order/')
  }

  /** A new connection: what was asked on the old one is never answered. */
  detach(): void {
    this.#asked = 0
    this.#fresh = false
    this.askAt = undefined
    this.#unmentioned = 0
  }

  /** The subscribe that asks for what comes after what is here. */
  ask(): ClientFrame {
    this.#asked += 1
    this.#fresh = false
    this.#unmentioned = this.#unanswered = 0
    this.askAt = undefined
    const frame: ClientFrame = { type: 'subscribe', topic: this.name }
    if (this.version !== undefined && this.epoch !== undefined) {
      frame.version = this.version
      frame.epoch = this.epoch
    }
    if (this.box) frame.box = this.box
    return frame
  }

  /** Another box: what is here is no base for its changes. */
  move(box: Box): void {
    this.box = box
    this.version = this.epoch = undefined
  }

  onSubscribed(frame: Subscribed, now: number): void {
    if (this.#asked > 0) this.#asked -= 1
    if (this.#asked > 0) return
    this.recovered = { how: frame.recovery }
    if (frame.missed !== undefined) this.recovered.missed = frame.missed
    this.#fresh = frame.recovery === 'fresh'
    this.refusals = 0
    // What the bridge knows of: whether the owner is there, its heartbeat says.
    if (frame.recovery === 'resumed') this.heardAt = now
  }

  onSnapshot(frame: Snapshot, now: number): Outcome {
    if (this.#asked > 0) return NOTHING
    if (this.#growing && this.epoch !== undefined && frame.epoch < this.epoch && this.#older < OLDER) {
      // Of a bridge that still believes an owner that isn't one any more.
      this.#older += 1
      return { do: 'ask', inMs: OLDER_MS * 2 ** (this.#older - 1) }
    }
    this.#older = 0
    const same = frame.epoch === this.epoch && frame.version === this.version
    const gap = this.state !== undefined && !same && !this.#fresh
    this.#fresh = false
    this.state = frame.state
    return this.#at(frame.epoch, frame.version, frame.at_ms, gap, undefined, now)
  }

  onDelta(frame: Delta, now: number): Outcome {
    if (this.#asked > 0) return NOTHING
    if (this.version === undefined || this.epoch === undefined) return ASK
    if (this.#growing && frame.epoch < this.epoch) return NOTHING
    // Seen already.
    if (frame.epoch === this.epoch && frame.to <= this.version) return NOTHING
    // A new owner's first change goes on where the view was.
    if (frame.from !== this.version || (!this.#growing && frame.epoch !== this.epoch)) return ASK
    this.state = merge(this.state, frame.patch)
    return this.#at(frame.epoch, frame.to, frame.at_ms, false, frame.patch, now)
  }

  /** What a heartbeat says of it: a version, silence of its owner, or nothing at all. */
  onHeartbeat(said: number | 'unconfirmed' | undefined, now: number): Outcome {
    if (this.#asked > 0) {
      this.#unanswered += 1
      if (this.#unanswered < UNANSWERED) return NOTHING
      this.#asked = 0
      return ASK
    }
    if (this.askAt !== undefined) return NOTHING
    if (said === undefined) {
      this.#unmentioned += 1
      return this.#unmentioned >= UNMENTIONED ? ASK : NOTHING
    }
    this.#unmentioned = 0
    if (said === 'unconfirmed') {
      this.unconfirmed = true
      this.heardAt = now
      return NOTHING
    }
    if (said !== this.version) return ASK
    this.#confirm(now)
    return NOTHING
  }

  /** The server has answered a poll. That confirms nothing by itself: the heartbeat in the answer does, or says that the
   * owner is silent. */
  onAnswered(now: number): void {
    this.heardAt = now
  }

  /** Refused. Returns whether that is for good. */
  onError(problem: Problem): boolean {
    if (this.#asked > 0) this.#asked -= 1
    // The answer to a later subscribe counts.
    if (this.#asked > 0) return false
    this.refusals += 1
    if (problem.status === 429 || problem.status >= 500) return false
    this.problem = problem
    return true
  }

  freshness(now: number, silence: number): Freshness {
    if (this.problem) return 'ended'
    if (this.state === undefined) return 'none'
    if (now >= this.heardAt + silence) return 'silent'
    return this.unconfirmed ? 'unconfirmed' : 'confirmed'
  }

  #confirm(now: number): void {
    this.unconfirmed = false
    this.confirmedAt = this.heardAt = now
  }

  #at(epoch: number, version: number, atMs: number, gap: boolean, patch: Json | undefined, now: number): Outcome {
    this.epoch = epoch
    this.version = version
    this.atMs = atMs
    this.#confirm(now)
    const info: StateInfo = { version, epoch, atMs, gap }
    if (patch !== undefined) info.patch = patch
    return { do: 'state', info }
  }
}
