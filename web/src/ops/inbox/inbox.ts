/** The alert inbox: which alerts, in which order, and what is worth saying aloud. */

import type { AlertRecord } from '@trunkline/client/rest'
import { ALERT, LATE } from '../stage/fleet.js'
import type { Trouble } from '../stage/fleet.js'

export const SEVERITIES = ['critical', 'warning', 'info'] as const
export const KINDS = ['late', 'wrong_place_delivery', 'late_risk', 'off_route', 'stalled', 'signal_lost', 'stage_overdue', 'low_battery'] as const
export const TABS = ['raised', 'acknowledged', 'all'] as const
export type Tab = (typeof TABS)[number]

export interface InboxFilter {
  tab: Tab
  /** Empty: all. */
  severity: string
  kind: string
  /** Part of the id of an order or a rider. */
  text: string
}

export const rank = (severity: string): number => {
  const at = (SEVERITIES as readonly string[]).indexOf(severity)
  return at < 0 ? SEVERITIES.length : at
}

/** The severe first; of equal ones, whoever waits longest. */
export function byUrgency(a: AlertRecord, b: AlertRecord): number {
  return rank(a.severity) - rank(b.severity) || a.since_ms - b.since_ms || (a.alert < b.alert ? -1 : 1)
}

export function filtered(alerts: readonly AlertRecord[], { tab, severity, kind, text }: InboxFilter): AlertRecord[] {
  const part = text.trim().toLowerCase()
  const shown = alerts.filter(
    (alert) =>
      (tab === 'all' || alert.state === tab) &&
      (severity === '' || alert.severity === severity) &&
      (kind === '' || alert.kind === kind) &&
      (part === '' || alert.order.toLowerCase().includes(part) || (alert.rider ?? '').toLowerCase().includes(part)),
  )
  return shown.sort(byUrgency)
}

/** Raised ones by severity. */
export function counts(alerts: readonly AlertRecord[]): Record<(typeof SEVERITIES)[number], number> {
  const found = { critical: 0, warning: 0, info: 0 }
  for (const { state, severity } of alerts) if (state === 'raised' && severity in found) found[severity as keyof typeof found] += 1
  return found
}

/** The row that stays chosen when the list changes: the same alert, or the one in its place. */
export function kept(list: readonly AlertRecord[], chosen: string | undefined, at: number): number {
  const same = list.findIndex(({ alert }) => alert === chosen)
  return same >= 0 ? same : Math.min(Math.max(at, 0), list.length - 1)
}

/** Lateness colours an order and its rider amber; what else is wrong, and what is critical, red. Taken note of, it is amber too. */
export function troubleOf(alerts: readonly AlertRecord[]): Trouble {
  const trouble = { orders: new Map<string, number>(), riders: new Map<string, number>() }
  const worst = (of: Map<string, number>, id: string, level: number): void => void of.set(id, Math.max(of.get(id) ?? 0, level))
  for (const { state, kind, severity, order, rider } of alerts) {
    if (state === 'cleared' || severity === 'info') continue
    const level = state === 'raised' && kind !== 'late_risk' && kind !== 'late' ? ALERT : LATE
    worst(trouble.orders, order, level)
    if (rider !== undefined) worst(trouble.riders, rider, level)
  }
  return trouble
}

/** Says new critical alerts, all of some seconds at once. What was there when the page opened is no news. */
export class Herald {
  #known: Set<string> | undefined
  #waiting: AlertRecord[] = []
  #saidAt = -Infinity

  constructor(readonly everyMs = 10_000) {}

  /** What to say now of the alerts that are there; `undefined` for nothing. */
  hear(alerts: readonly AlertRecord[], now: number): AlertRecord[] | undefined {
    const critical = alerts.filter(({ severity, state }) => severity === 'critical' && state === 'raised')
    const known = this.#known
    this.#known = new Set(critical.map(({ alert }) => alert))
    if (!known) return undefined
    this.#waiting.push(...critical.filter(({ alert }) => !known.has(alert)))
    if (this.#waiting.length === 0 || now - this.#saidAt < this.everyMs) return undefined
    this.#saidAt = now
    return this.#waiting.splice(0)
  }
}
