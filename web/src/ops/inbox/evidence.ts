/** What an alert rests on, in a sentence: measure, threshold, and since when. */

import type { AlertRecord } from '@trunkline/client/rest'
import { clock, span } from '@/shared/time.js'

/** A text's name and what goes into it. */
export interface Words {
  key: string
  params: Record<string, string>
}

const metres = (m: number, locale: string): string => new Intl.NumberFormat(locale, { style: 'unit', unit: 'meter', unitDisplay: 'short', maximumFractionDigits: 0 }).format(m)

/** A measure in its unit. */
export function quantity(value: number, unit: string, locale: string): string {
  if (unit === 'm') return metres(value, locale)
  if (unit === 'ms') return span(value, locale)
  if (unit === 'pct') return new Intl.NumberFormat(locale, { style: 'percent' }).format(value / 100)
  return `${value} ${unit}`
}

/** How long it had been so when it was noticed: by the fixes that show it, or by the clock. */
export function lasted(alert: AlertRecord): number {
  const last = alert.evidence.fixes.at(-1)?.fix_time_ms
  return Math.max((last ?? alert.detected_at_ms) - alert.since_ms, 0)
}

export function evidenceWords(alert: AlertRecord, locale: string, now?: number): Words {
  const { measure, threshold, unit, about } = alert.evidence
  const params: Record<string, string> = {
    measure: quantity(measure, unit, locale),
    threshold: quantity(threshold, unit, locale),
    for: span(lasted(alert), locale),
    due: clock(alert.due_at_ms ?? alert.since_ms, locale, now),
  }
  const stage = about?.startsWith('since ') ? about.slice('since '.length) : undefined
  switch (alert.kind) {
    case 'off_route':
      return { key: about === 'destination' ? 'evidence.away' : 'evidence.off_route', params }
    case 'stage_overdue':
      return { key: 'evidence.stage_overdue', params: { ...params, stage: stage ?? '' } }
    case 'stalled':
    case 'signal_lost':
    case 'late':
    case 'late_risk':
    case 'wrong_place_delivery':
    case 'low_battery':
      return { key: `evidence.${alert.kind}`, params }
    default:
      return { key: 'evidence.other', params }
  }
}
