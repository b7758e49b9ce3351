/** Where a replay's events stand on its slider. */

import type { ReplayEvent, ReplayState } from '@trunkline/client/replay'

export interface Tick {
  event: ReplayEvent
  /** From 0 at the beginning to 1 at the end. */
  share: number
  tone: 'plain' | 'stage' | 'good' | 'bad'
}

export function ticksOf({ firstMs, lastMs, events }: Pick<ReplayState, 'firstMs' | 'lastMs' | 'events'>): Tick[] {
  const span = Math.max(lastMs - firstMs, 1)
  return events.map((event) => ({ event, share: Math.min(Math.max((event.at_ms - firstMs) / span, 0), 1), tone: toneOf(event) }))
}

function toneOf({ kind, note }: ReplayEvent): Tick['tone'] {
  if (kind === 'stage') return 'stage'
  if (kind === 'deliver') return 'good'
  if (kind === 'alert') return note?.startsWith('cleared') ? 'good' : 'bad'
  return kind === 'cancel' || kind === 'fail' || kind === 'return' ? 'bad' : 'plain'
}
