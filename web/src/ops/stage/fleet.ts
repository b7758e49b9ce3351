/**
 * All riders and active orders of the cell as the map draws them. Thousands of riders move each second: they are slots in plain
 * arrays, outside Vue's reach, and a delta touches the slots that it names and no others.
 *
 * Between two fixes a rider glides from where it was drawn to where the newer fix is, and stays there: nothing is shown that no
 * fix has said.
 */

import type { Json } from '@trunkline/client'
import { mercatorX, mercatorY } from './mercator.js'

/** In ascending urgency; what is drawn last lies on top. */
export const FREE = 0
export const CARRYING = 1
export const LATE = 2
export const ALERT = 3
export const RIDER_STATES = ['free', 'carrying', 'late', 'alert'] as const

export interface RiderRow {
  on_shift: boolean
  position?: { lat: number; lon: number; fix_time_ms: number; heading_deg?: number; speed_mps?: number; accuracy_m?: number }
  orders: string[]
}

export interface OrderRow {
  status: number
  stage?: string
  warehouse: { id: string; lat: number; lon: number }
  destination: { lat: number; lon: number }
  rider?: { id: string }
  stops_ahead?: number
  [more: string]: unknown
}

/** The document of the topic `cell`. */
export interface CellState {
  riders: Record<string, RiderRow>
  orders: Record<string, OrderRow>
}

/** An order's mark: at its door. */
export interface OrderMark {
  id: string
  x: number
  y: number
  status: number
  trouble: number
  row: OrderRow
}

/** From WGS-84 to what is drawn: another place on tiles of GCJ-02, the same one elsewhere. */
export type Shift = (lon: number, lat: number) => readonly [lon: number, lat: number]

const AS_IT_IS: Shift = (lon, lat) => [lon, lat]
/** A glide takes as long as the fixes are apart, within these bounds. */
const GLIDE_MIN_MS = 300
const GLIDE_MAX_MS = 2_500
/** Farther apart than this (in units of the plane, about 600 m) a rider is simply there: no street was ridden so. */
const LEAP = 600 / 34_000_000

/** What is wrong with whom, by order and by rider: [`LATE`] or [`ALERT`]. */
export interface Trouble {
  orders: ReadonlyMap<string, number>
  riders: ReadonlyMap<string, number>
}

export class Fleet {
  /** Slots in use are those below, less those that aren't `alive`. */
  slots = 0
  ids: string[] = []
  x = new Float64Array(1024)
  y = new Float64Array(1024)
  alive = new Uint8Array(1024)
  state = new Uint8Array(1024)
  /** Degrees; −1 where the fix says none. */
  heading = new Int16Array(1024)
  orders: Map<string, OrderMark> = new Map()
  /** Counts what changed of riders' places, of their number, and of orders. */
  moves = 0
  members = 0
  orderChanges = 0
  /** Nobody glides any more from then on. */
  restAt = 0
  #fromX = new Float64Array(1024)
  #fromY = new Float64Array(1024)
  #toX = new Float64Array(1024)
  #toY = new Float64Array(1024)
  #since = new Float64Array(1024)
  #span = new Float64Array(1024)
  #slot = new Map<string, number>()
  #rows: (RiderRow | undefined)[] = []
  #free: number[] = []
  #trouble: Trouble = { orders: new Map(), riders: new Map() }
  #shift: Shift = AS_IT_IS
  /** People who asked for less motion see fixes, not glides. */
  still = false

  get count(): number {
    return this.#slot.size
  }

  rider(id: string): RiderRow | undefined {
    const slot = this.#slot.get(id)
    return slot === undefined ? undefined : this.#rows[slot]
  }

  slotOf(id: string): number | undefined {
    return this.#slot.get(id)
  }

  riderIds(): Iterable<string> {
    return this.#slot.keys()
  }

  /** A state and, where it came as a change, what changed. `now` in milliseconds of the page's own running clock. */
  apply(state: CellState, patch: Json | undefined, now: number): void {
    const changed = patch as { riders?: Record<string, unknown>; orders?: Record<string, unknown> } | undefined
    if (changed) {
      if (changed.riders) for (const id in changed.riders) this.#rider(id, state.riders[id], now)
      if (changed.orders) for (const id in changed.orders) this.#order(id, state.orders[id])
      return
    }
    for (const id of [...this.#slot.keys()]) if (!state.riders?.[id]) this.#rider(id, undefined, now)
    for (const id of [...this.orders.keys()]) if (!state.orders?.[id]) this.#order(id, undefined)
    for (const id in state.riders) this.#rider(id, state.riders[id], now)
    for (const id in state.orders) this.#order(id, state.orders[id])
  }

  /** Who is in trouble now. */
  mark(trouble: Trouble): void {
    this.#trouble = trouble
    for (const [id, slot] of this.#slot) this.state[slot] = this.#stateOf(id, this.#rows[slot])
    for (const mark of this.orders.values()) mark.trouble = trouble.orders.get(mark.id) ?? 0
    this.moves += 1
    this.orderChanges += 1
  }

  /** Another datum of what lies beneath: all is put where it belongs then. */
  setShift(shift: Shift): void {
    this.#shift = shift
    for (const [slot, row] of this.#rows.entries()) if (row?.position && this.alive[slot]) this.#put(slot, row.position)
    for (const mark of this.orders.values()) Object.assign(mark, this.#at(mark.row.destination))
    this.moves += 1
    this.orderChanges += 1
  }

  /** Puts everybody where they are at `now`. Gives whether anybody moved. */
  glide(now: number): boolean {
    const { slots, alive, x, y } = this
    const [fromX, fromY, toX, toY, since, span] = [this.#fromX, this.#fromY, this.#toX, this.#toY, this.#since, this.#span]
    let moved = false
    for (let i = 0; i < slots; i++) {
      if (!alive[i] || (x[i] === toX[i] && y[i] === toY[i])) continue
      const t = (now - since[i]!) / span[i]!
      x[i] = t >= 1 ? toX[i]! : fromX[i]! + (toX[i]! - fromX[i]!) * t
      y[i] = t >= 1 ? toY[i]! : fromY[i]! + (toY[i]! - fromY[i]!) * t
      moved = true
    }
    return moved
  }

  #rider(id: string, row: RiderRow | undefined, now: number): void {
    let slot = this.#slot.get(id)
    if (!row) {
      if (slot === undefined) return
      this.#slot.delete(id)
      this.alive[slot] = 0
      this.#rows[slot] = undefined
      this.#free.push(slot)
      this.members += 1
      return
    }
    const isNew = slot === undefined
    if (slot === undefined) {
      slot = this.#free.pop() ?? this.slots++
      if (slot >= this.x.length) this.#grow()
      this.ids[slot] = id
      this.#slot.set(id, slot)
      this.alive[slot] = 0
    }
    const before = this.#rows[slot]?.position
    this.#rows[slot] = row
    this.state[slot] = this.#stateOf(id, row)
    const { position } = row
    if (!position) {
      this.members += Number(this.alive[slot] === 1 || isNew)
      this.alive[slot] = 0
      return
    }
    this.heading[slot] = position.heading_deg ?? -1
    if (!this.alive[slot]) {
      this.alive[slot] = 1
      this.members += 1
      this.#put(slot, position)
      this.#since[slot] = now
      return
    }
    if (before && before.lat === position.lat && before.lon === position.lon) return
    const { x, y } = this.#at(position)
    if (this.still || Math.hypot(x - this.x[slot]!, y - this.y[slot]!) > LEAP) {
      this.#put(slot, position)
    } else {
      this.#fromX[slot] = this.x[slot]!
      this.#fromY[slot] = this.y[slot]!
      this.#toX[slot] = x
      this.#toY[slot] = y
    }
    const span = glideSpan(now - this.#since[slot]!)
    this.#span[slot] = span
    this.#since[slot] = now
    this.restAt = Math.max(this.restAt, now + span)
    this.moves += 1
  }

  #order(id: string, row: OrderRow | undefined): void {
    this.orderChanges += 1
    if (!row) {
      this.orders.delete(id)
      return
    }
    this.orders.set(id, { id, ...this.#at(row.destination), status: row.status, trouble: this.#trouble.orders.get(id) ?? 0, row })
  }

  #stateOf(id: string, row: RiderRow | undefined): number {
    let state = Math.max(row?.orders.length ? CARRYING : FREE, this.#trouble.riders.get(id) ?? FREE)
    for (const order of row?.orders ?? []) state = Math.max(state, this.#trouble.orders.get(order) ?? FREE)
    return state
  }

  #at({ lat, lon }: { lat: number; lon: number }): { x: number; y: number } {
    const [toLon, toLat] = this.#shift(lon, lat)
    return { x: mercatorX(toLon), y: mercatorY(toLat) }
  }

  #put(slot: number, place: { lat: number; lon: number }): void {
    const { x, y } = this.#at(place)
    this.x[slot] = this.#fromX[slot] = this.#toX[slot] = x
    this.y[slot] = this.#fromY[slot] = this.#toY[slot] = y
    this.#span[slot] = GLIDE_MIN_MS
    this.moves += 1
  }

  #grow(): void {
    const wider = <A extends Float64Array | Uint8Array | Int16Array>(old: A, made: A): A => (made.set(old as never), made)
    const n = this.x.length * 2
    this.x = wider(this.x, new Float64Array(n))
    this.y = wider(this.y, new Float64Array(n))
    this.alive = wider(this.alive, new Uint8Array(n))
    this.state = wider(this.state, new Uint8Array(n))
    this.heading = wider(this.heading, new Int16Array(n))
    this.#fromX = wider(this.#fromX, new Float64Array(n))
    this.#fromY = wider(this.#fromY, new Float64Array(n))
    this.#toX = wider(this.#toX, new Float64Array(n))
    this.#toY = wider(this.#toY, new Float64Array(n))
    this.#since = wider(this.#since, new Float64Array(n))
    this.#span = wider(this.#span, new Float64Array(n))
  }
}

/** How long to glide to a fix that came so long after the one before: a little longer, so that one glide ends in the next. */
export function glideSpan(gapMs: number): number {
  return Math.min(Math.max(gapMs * 1.1, GLIDE_MIN_MS), GLIDE_MAX_MS)
}
