/** An order's history as lines to read: what happened and who did it; fixes are on the map. */

import type { TrackRow } from '@trunkline/client/rest'

export interface Line {
  id: number
  atMs: number
  /** A text's name under `track`. */
  key: string
  /** A stage, an alert's kind, or what was noted. */
  stage?: string
  alert?: { kind: string; change: string; n?: string }
  note?: string
  by: string
  tone: 'plain' | 'good' | 'warn' | 'bad'
}

const KNOWN = new Set(['create', 'pay', 'cancel', 'assign', 'unassign', 'deliver', 'stage', 'fail', 'return', 'missing', 'edit', 'acknowledge', 'alert'])
const HIDDEN = new Set(['fix', 'stops', 'timer', 'route'])

/** The newest first. */
export function linesOf(rows: readonly TrackRow[]): Line[] {
  const lines: Line[] = []
  for (const row of rows) {
    if (HIDDEN.has(row.kind)) continue
    const line: Line = { id: row.id, atMs: row.at_ms, key: KNOWN.has(row.kind) ? row.kind : 'other', by: row.operator_id, tone: toneOf(row) }
    if (row.stage !== undefined && row.kind === 'stage') line.stage = row.stage
    if (row.kind === 'alert') line.alert = alertOf(row.note ?? '')
    else if (row.note) line.note = row.note
    lines.push(line)
  }
  return lines.reverse()
}

/** `raised off_route 2: …`: the alert's line as the log has it. */
function alertOf(note: string): { kind: string; change: string; n?: string } {
  const [change = '', kind = '', n] = note.split(/[\s:]+/)
  return n === undefined ? { kind, change } : { kind, change, n }
}

function toneOf({ kind, note }: TrackRow): Line['tone'] {
  if (kind === 'deliver') return 'good'
  if (kind === 'cancel' || kind === 'fail' || kind === 'return') return 'bad'
  if (kind === 'missing') return 'warn'
  if (kind === 'alert') return note?.startsWith('raised') ? 'bad' : note?.startsWith('cleared') ? 'good' : 'plain'
  return 'plain'
}
