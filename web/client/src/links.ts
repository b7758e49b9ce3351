/** The carriers that are open, and which topics get a stream or a poll of their own and when. Sans-IO. */

import type { Transport } from './events.js'
import type { Topic } from './topic.js'

/** A WebSocket, or a stream or poll of one topic. */
export interface Link {
  id: number
  by: Transport
  topic?: string
  /** `hello` has come, or the first frame of a stream. */
  greeted: boolean
  openedAt: number
  heardAt: number
  /** Closed when nothing has come by then. */
  pongBy?: number
}

/** Until a connection is there. */
const CONNECT_MS = 10_000
/** Heartbeats without a frame after which the server counts as gone. */
export const SILENT_BEATS = 2.5
/** Streams and polls at once; an HTTP/1.1 browser has six connections a host. More topics take turns. */
const LANES = 4
/** Between the polls of a topic that takes turns. */
export const TURN_MS = 1_000
/** How long a poll may wait for news: within what counts as silence, too, for nothing is heard meanwhile. */
const WAIT_S = 25
const WAIT_BEATS = 2

export class Links {
  #links = new Map<number, Link>()
  #next = 1
  /** By topic, when its stream or poll is tried again. */
  #laneAt = new Map<string, number>()

  get(id: number): Link | undefined {
    return this.#links.get(id)
  }

  all(): Link[] {
    return [...this.#links.values()]
  }

  open(by: Transport, now: number, topic?: string): Link {
    const link: Link = { id: this.#next++, by, greeted: false, openedAt: now, heardAt: now }
    if (topic !== undefined) link.topic = topic
    this.#links.set(link.id, link)
    return link
  }

  /** Whether there was one to close. */
  close(link: Link): boolean {
    return this.#links.delete(link.id)
  }

  /** The WebSocket, of which there is at most one. */
  get socket(): Link | undefined {
    return this.all().find((link) => link.by === 'ws')
  }

  /** Streams and polls. */
  get lanes(): Link[] {
    return this.all().filter((link) => link.by !== 'ws')
  }

  laneOf(topic: string): Link | undefined {
    return this.all().find((link) => link.topic === topic)
  }

  /** When a link counts as gone, if nothing is heard of it. */
  gone(link: Link, silence: number): number {
    const waits = link.by === 'poll' ? WAIT_S * 1_000 : 0
    if (!link.greeted || link.by === 'poll') return link.openedAt + waits + CONNECT_MS
    return Math.min(link.heardAt + silence, link.pongBy ?? Infinity)
  }

  /** A topic's next stream or poll isn't before this time. */
  delayLane(topic: string, at: number): void {
    this.#laneAt.set(topic, at)
  }

  /** All may begin now, but not before the server's own time. */
  hurryLanes(now: number, notBefore: number): void {
    for (const [topic, at] of this.#laneAt) if (at > notBefore) this.#laneAt.set(topic, Math.max(now, notBefore))
  }

  forgetLanes(topic?: string): void {
    if (topic === undefined) this.#laneAt.clear()
    else this.#laneAt.delete(topic)
  }

  /** When the next of these topics may have a lane; `undefined` while there is none to be had. */
  laneDue(topics: readonly Topic[]): number | undefined {
    if (this.lanes.length >= LANES) return undefined
    const times = this.#without(topics).map((topic) => this.#laneAt.get(topic.name) ?? 0)
    return times.length > 0 ? Math.min(...times) : undefined
  }

  /** Those whose turn it is, the longest waiting first, and how long their polls may wait. */
  lanesDue(topics: readonly Topic[], now: number, heartbeat: number): { topic: Topic; waitS: number }[] {
    const at = (topic: Topic): number => this.#laneAt.get(topic.name) ?? 0
    const crowded = areCrowded(topics)
    const patience = Math.min(Math.max(Math.floor((heartbeat * WAIT_BEATS) / 1_000), 1), WAIT_S)
    const waiting = this.#without(topics).filter((topic) => now >= at(topic))
    waiting.sort((a, b) => at(a) - at(b))
    return waiting
      .slice(0, Math.max(LANES - this.lanes.length, 0))
      .map((topic) => ({ topic, waitS: crowded || topic.state === undefined ? 0 : patience }))
  }

  #without(topics: readonly Topic[]): Topic[] {
    return topics.filter((topic) => !topic.problem && isOrder(topic.name) && !this.laneOf(topic.name))
  }
}

/** Whether there are more orders than lanes: nobody keeps one then. */
export function areCrowded(topics: readonly Topic[]): boolean {
  return topics.filter((topic) => !topic.problem && isOrder(topic.name)).length > LANES
}

/** `order/{id}` itself, not what hangs on it. Only orders have streams and polls; other topics wait for a WebSocket. */
const isOrder = (topic: string): boolean => /^order\/[^/]+$/.test(topic)
