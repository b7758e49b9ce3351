/**
 * A rider's positions on their way: each into the store first, from there in batches to the server, and out of the store only
 * when the server has said that it has them. A batch whose answer is lost is sent again; the server knows a fix by rider, fix
 * time and sequence number, so that it counts once.
 *
 * The store is bounded. When it is full, every second of the older half goes, which leaves the way's shape; how many went is
 * counted and shown.
 */

import type { Fix, FixTally, Rest } from '@trunkline/client/rest'
import { ofRider } from './db.js'
import type { FixFigures, RiderDb, StoredFix } from './db.js'
import { NOT_OURS, verdictOf } from './sender.js'
import type { Step } from './sender.js'

/** One each 5 s, or each 15 s by someone who stands. */
const MOVING_MS = 5_000
export const STANDING_MS = 15_000
/** The device's timer isn't exact. */
const SLACK_MS = 250
/** Slower is standing, nearer is the same place. */
const STANDING_MPS = 0.7
const STANDING_M = 12
/** The device's clock was set back by more than what readings overtake each other. */
const SET_BACK_MS = 60_000
/** Three days at one each 5 s. */
const MAX_FIXES = 50_000
const BATCH = 500
/** Refused ones are kept for a look, so many. */
const MAX_ASIDE = 100

export interface FixQueueOptions {
  db: RiderDb
  rest: Pick<Rest, 'fixes'>
  rider: string
  now: () => number
  /** Something is different from before. */
  onChange?: () => void
  max?: number
  batch?: number
}

export interface FixStats extends FixFigures {
  waiting: number
  aside: number
  /** Since the page began: readings that no store took. */
  lost: number
}

export type Kept = 'stored' | 'too_soon' | 'lost'

export class FixQueue {
  #o: Required<FixQueueOptions>
  #batch: number
  #lost = 0

  constructor(options: FixQueueOptions) {
    this.#o = { onChange: () => {}, max: MAX_FIXES, batch: BATCH, ...options }
    this.#batch = this.#o.batch
  }

  /** Stores a reading, if it says something new. Of several tabs that see the same one, one stores it. */
  async add(fix: Fix): Promise<Kept> {
    let kept: Kept
    try {
      kept = await this.#store(fix).catch(async (error: unknown) => {
        if (!isFull(error)) throw error
        await this.#thin()
        return await this.#store(fix)
      })
    } catch {
      this.#lost += 1
      kept = 'lost'
    }
    if (kept !== 'too_soon') this.#o.onChange()
    return kept
  }

  async #store(fix: Fix): Promise<Kept> {
    const { db, rider } = this.#o
    const tx = db.transaction(['fixes', 'counters', 'figures'], 'readwrite')
    // What a failed request throws is the transaction's end as well.
    tx.done.catch(() => {})
    const figures = (await tx.objectStore('figures').get(rider)) ?? NONE
    if (figures.last && !isNews(figures.last, fix)) return 'too_soon'
    const full = (await tx.objectStore('fixes').count(ofRider(rider))) >= this.#o.max
    const seq = ((await tx.objectStore('counters').get('seq')) ?? 0) + 1
    await tx.objectStore('counters').put(seq, 'seq')
    await tx.objectStore('fixes').put({ rider, seq, fix: { ...fix, seq } })
    await tx.objectStore('figures').put({ ...figures, last: fix }, rider)
    await tx.done
    if (full) await this.#thin()
    return 'stored'
  }

  /** Every second of the older half goes. */
  async #thin(): Promise<void> {
    const { db, rider } = this.#o
    const tx = db.transaction(['fixes', 'figures'], 'readwrite')
    tx.done.catch(() => {})
    const keys = await tx.objectStore('fixes').getAllKeys(ofRider(rider))
    const older = keys.slice(0, Math.ceil(keys.length / 2)).filter((_, i) => i % 2 === 1)
    for (const key of older) void tx.objectStore('fixes').delete(key)
    const figures = (await tx.objectStore('figures').get(rider)) ?? NONE
    await tx.objectStore('figures').put({ ...figures, thinned: figures.thinned + older.length }, rider)
    await tx.done
  }

  /** Sends the oldest ones, for a `Sender`. Not twice at once: the caller sees to it. */
  async step(): Promise<Step> {
    const { db, rest, rider, now } = this.#o
    const rows = await db.getAll('fixes', ofRider(rider), this.#batch)
    if (rows.length === 0) return { is: 'empty' }
    let tally: FixTally
    try {
      tally = await rest.fixes(rider, rows.map((row) => row.fix), now())
    } catch (error) {
      return await this.#failed(error, rows)
    }
    if (typeof tally?.['good'] !== 'number') return { is: 'later', problem: NOT_OURS }
    this.#batch = this.#o.batch
    const useless = (tally['too_old'] ?? 0) + (tally['future'] ?? 0) + (tally['track_full'] ?? 0)
    await this.#remove(rows, (figures) => ({ ...figures, acked_at_ms: now(), acked: figures.acked + rows.length, useless: figures.useless + useless }))
    return { is: 'more' }
  }

  async #failed(error: unknown, rows: StoredFix[]): Promise<Step> {
    const verdict = verdictOf(error)
    if (verdict.is !== 'refused') return verdict
    const { problem } = verdict
    const bad = rows[Number(/^fixes\[(\d+)\]/.exec(problem.field ?? '')?.[1] ?? NaN)]
    if (bad) {
      await this.#setAside(bad, `${problem.field ?? ''}: ${problem.detail ?? problem.title}`)
      return { is: 'more' }
    }
    // Too much at once, or it isn't said which one is wrong: fewer, until it is.
    if (rows.length > 1) {
      this.#batch = Math.ceil(rows.length / 2)
      return { is: 'more' }
    }
    // One alone is refused, for a reason that isn't in it (the rider's rights, the cell): it waits until that is mended.
    this.#batch = this.#o.batch
    return { is: 'later', problem: { retry_after_ms: 60_000, ...problem } }
  }

  async #setAside(row: StoredFix, reason: string): Promise<void> {
    const tx = this.#o.db.transaction(['fixes', 'aside'], 'readwrite')
    void tx.objectStore('fixes').delete([row.rider, row.seq])
    void tx.objectStore('aside').add({ rider: row.rider, fix: row.fix, reason })
    const keys = await tx.objectStore('aside').getAllKeys()
    for (const key of keys.slice(0, Math.max(keys.length - MAX_ASIDE, 0))) void tx.objectStore('aside').delete(key)
    await tx.done
    this.#o.onChange()
  }

  async #remove(rows: StoredFix[], count: (figures: FixFigures) => FixFigures): Promise<void> {
    const { db, rider } = this.#o
    const tx = db.transaction(['fixes', 'figures'], 'readwrite')
    for (const { seq } of rows) void tx.objectStore('fixes').delete([rider, seq])
    await tx.objectStore('figures').put(count((await tx.objectStore('figures').get(rider)) ?? NONE), rider)
    await tx.done
    this.#o.onChange()
  }

  async stats(): Promise<FixStats> {
    const { db, rider } = this.#o
    const tx = db.transaction(['fixes', 'aside', 'figures'])
    const [waiting, aside, figures] = await Promise.all([
      tx.objectStore('fixes').count(ofRider(rider)),
      tx.objectStore('aside').getAll(),
      tx.objectStore('figures').get(rider),
    ])
    return { ...(figures ?? NONE), waiting, aside: aside.filter((one) => one.rider === rider).length, lost: this.#lost }
  }
}

const NONE: FixFigures = { acked: 0, thinned: 0, useless: 0 }

/** Whether a reading is worth keeping after the last one that was. */
export function isNews(last: Fix, fix: Fix): boolean {
  const ms = fix.fix_time_ms - last.fix_time_ms
  if (ms < -SET_BACK_MS) return true
  if (ms < MOVING_MS - SLACK_MS) return false
  return ms >= STANDING_MS - SLACK_MS || !isStanding(last, fix)
}

/** As far as the readings can tell. */
function isStanding(last: Fix, fix: Fix): boolean {
  if ((fix.speed_mps ?? 0) > STANDING_MPS) return false
  return metres(last, fix) < Math.max(STANDING_M, Math.min(fix.accuracy_m ?? 0, 100))
}

/** Near enough for neighbours. */
function metres(a: Fix, b: Fix): number {
  const north = (b.lat - a.lat) * 111_195
  const east = (b.lon - a.lon) * 111_195 * Math.cos((a.lat * Math.PI) / 180)
  return Math.hypot(north, east)
}

const isFull = (error: unknown): boolean => error instanceof DOMException && error.name === 'QuotaExceededError'
