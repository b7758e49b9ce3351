/**
 * What the rider did, on its way: kept from the moment it is done, with its own time and its own idempotency key, sent in order,
 * and gone only when the server has taken it. One that the server refuses stands aside with the reason, until it is dismissed;
 * the others go on.
 */

import type { Json } from '@trunkline/client'
import { newKey } from '@trunkline/client/rest'
import type { Rest } from '@trunkline/client/rest'
import type { Report, ReportKind, RiderDb } from './db.js'
import { NOT_OURS, verdictOf } from './sender.js'
import type { Step } from './sender.js'

/** Some days without a network. */
const MAX_REPORTS = 500

export interface OutboxOptions {
  db: RiderDb
  rest: Pick<Rest, 'shift' | 'report'>
  rider: string
  now: () => number
  /** A report is new, or gone, or refused. */
  onChange?: () => void
  /** The server took it. */
  onTaken?: (report: Report) => void
  newKey?: () => string
  max?: number
}

/** Nothing more is taken: so much waits already. */
export class OutboxFull extends Error {
  constructor(readonly max: number) {
    super(`${max} reports wait already`)
    this.name = 'OutboxFull'
  }
}

export class Outbox {
  #o: Required<OutboxOptions>

  constructor(options: OutboxOptions) {
    this.#o = { onChange: () => {}, onTaken: () => {}, newKey, max: MAX_REPORTS, ...options }
  }

  /** Resolves when it is stored. */
  async put(kind: ReportKind, order: string | undefined, body: { [field: string]: Json }): Promise<void> {
    const { db, rider, now } = this.#o
    const report: Report = { rider, kind, body, key: this.#o.newKey(), at_ms: now(), ...(order === undefined ? {} : { order }) }
    const tx = db.transaction('outbox', 'readwrite')
    const count = await tx.store.count()
    if (count < this.#o.max) await tx.store.add(report)
    await tx.done
    if (count >= this.#o.max) throw new OutboxFull(this.#o.max)
    this.#o.onChange()
  }

  /** This rider's, the oldest first. */
  async list(): Promise<Report[]> {
    return (await this.#o.db.getAll('outbox')).filter((report) => report.rider === this.#o.rider)
  }

  /** Sends the oldest one that isn't refused, for a `Sender`. Not twice at once: the caller sees to it. */
  async step(): Promise<Step> {
    const { db } = this.#o
    const first = (await this.list()).find((report) => !report.refused)
    if (first?.id === undefined) return { is: 'empty' }
    let answer: Json
    try {
      answer = await this.#send(first)
    } catch (error) {
      const verdict = verdictOf(error)
      if (verdict.is !== 'refused') return verdict
      await db.put('outbox', { ...first, refused: verdict.problem })
      this.#o.onChange()
      return { is: 'more' }
    }
    if (typeof answer !== 'object' || answer === null || !('version' in answer)) return { is: 'later', problem: NOT_OURS }
    // Told before it is gone, so that nothing looks undone for a moment.
    this.#o.onTaken(first)
    await db.delete('outbox', first.id)
    this.#o.onChange()
    return { is: 'more' }
  }

  #send({ rider, kind, order, body, key, at_ms }: Report): Promise<Json> {
    const { rest, now } = this.#o
    if (kind === 'shift') return rest.shift(rider, body['on'] === true, key)
    return rest.report(rider, kind, { ...body, order: order ?? '', at_ms, sent_time_ms: now() }, key)
  }

  /** The rider has read why. Others stay. */
  async dismiss(id: number): Promise<void> {
    const { db, rider } = this.#o
    const tx = db.transaction('outbox', 'readwrite')
    const report = await tx.store.get(id)
    if (report?.rider === rider && report.refused) await tx.store.delete(id)
    await tx.done
    this.#o.onChange()
  }
}
