/**
 * Why the arrival time moved. Of the estimate told before and the one now the legs are compared, each less what has gone by since: the leg
 * that grew (or shrank) most, in the direction in which the arrival moved, is the cause; what else is known of the order says it in
 * words. Pure.
 */

import type { Eta, Legs, Tracked } from './order.js'

/** What was told, and what it was told with. */
export interface Told {
  at_ms: number
  p50_ms: number
  legs: Legs
  stops_ahead: number
  waiting: boolean
  status: number
}

export type Cause =
  | 'rider_waits'
  | 'picking_longer'
  | 'picking_quicker'
  | 'handover_longer'
  | 'handover_quicker'
  | 'stop_more'
  | 'stop_less'
  | 'ride_longer'
  | 'ride_quicker'
  | 'door_longer'
  | 'door_quicker'
  | 'departed'

export interface Reason {
  /** Later is positive. */
  moved_ms: number
  cause: Cause
  /** When it was told, cell time. */
  at_ms: number
}

/** What a page remembers of an order between looks. */
export interface Memory {
  told?: Told
  reason?: Reason
}

/** Moves of less aren't worth a word. */
const WORTH_MS = 60_000
/** Of the time before the rider left: untrue of an order that is on its way. */
const BEFORE_DEPARTURE: readonly Cause[] = ['rider_waits', 'picking_longer', 'handover_longer']
const ORDER = ['picking_ms', 'handover_ms', 'ride_ms', 'door_ms'] as const

/** The memory after an order's state: it has the last estimate that was worth telling, and why that differs from the one before. */
export function remember(memory: Memory, order: Tracked): Memory {
  if ((order.status !== 2 && order.status !== 3) || !order.eta) return {}
  const now = toldOf(order, order.eta)
  const before = memory.told
  if (!before) return { told: now }
  if (now.at_ms < before.at_ms) return memory
  const moved_ms = now.p50_ms - before.p50_ms
  if (Math.abs(moved_ms) < WORTH_MS) return order.status === 3 && memory.reason && BEFORE_DEPARTURE.includes(memory.reason.cause) ? { told: before } : memory
  return { told: now, reason: { moved_ms, cause: causeOf(before, now), at_ms: now.at_ms } }
}

function toldOf(order: Tracked, eta: Eta): Told {
  const waiting = order.status === 2 && order.warehouse_arrived_at_ms !== undefined
  return { at_ms: eta.at_ms, p50_ms: eta.p50_ms, legs: eta.legs, stops_ahead: order.stops_ahead ?? 0, waiting, status: order.status }
}

export function causeOf(before: Told, now: Told): Cause {
  const later = now.p50_ms > before.p50_ms
  const grown = growth(before, now)
  const leg = ORDER.reduce((a, b) => ((later ? grown[b] > grown[a] : grown[b] < grown[a]) ? b : a))
  switch (leg) {
    case 'picking_ms':
    case 'handover_ms':
      if (later && now.waiting) return 'rider_waits'
      if (!later && before.status === 2 && now.status === 3) return 'departed'
      return leg === 'picking_ms' ? (later ? 'picking_longer' : 'picking_quicker') : later ? 'handover_longer' : 'handover_quicker'
    case 'ride_ms':
      if (later && now.stops_ahead > before.stops_ahead) return 'stop_more'
      if (!later && now.stops_ahead < before.stops_ahead) return 'stop_less'
      return later ? 'ride_longer' : 'ride_quicker'
    case 'door_ms':
      return later ? 'door_longer' : 'door_quicker'
  }
}

/** By how much each leg is longer than it would be had all gone as was told: time goes by along the legs in their order. */
function growth(before: Told, now: Told): Legs {
  let passed_ms = now.at_ms - before.at_ms
  const grown: Legs = { picking_ms: 0, handover_ms: 0, ride_ms: 0, door_ms: 0 }
  for (const leg of ORDER) {
    const gone = Math.min(passed_ms, before.legs[leg])
    passed_ms -= gone
    grown[leg] = now.legs[leg] - (before.legs[leg] - gone)
  }
  return grown
}

/** What was remembered of an order in this tab; nothing where that can't be read. */
export function recall(order: string): Memory {
  try {
    const memory: unknown = JSON.parse(sessionStorage.getItem(KEY + order) ?? '{}')
    return typeof memory === 'object' && memory !== null ? memory : {}
  } catch {
    return {}
  }
}

export function keep(order: string, memory: Memory): void {
  try {
    sessionStorage.setItem(KEY + order, JSON.stringify(memory))
  } catch {
    // Then it lasts as long as the page.
  }
}

const KEY = 'trunkline.eta.'
