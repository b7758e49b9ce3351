/** An order as views show it. Members that a role doesn't see are absent; see the server's `docs/access.md`. */

export interface Place {
  lat: number
  lon: number
}

/** 1 pending payment, 2 paid, 3 delivering, 4 completed, 5 cancelled. */
export type Status = 1 | 2 | 3 | 4 | 5

export interface Alert {
  kind: string
  severity: string
  state: 'raised' | 'acknowledged' | 'cleared'
  since_ms: number
  [more: string]: unknown
}

export interface Order {
  id: string
  cell: string
  status: Status
  rev?: number
  stage?: string
  user_id?: string
  warehouse?: Place & { id: string; name?: string }
  destination?: Place
  amount_minor?: number
  currency?: string
  items?: number
  promise?: { from_ms?: number; to_ms?: number }
  rider?: { id: string }
  position?: Place & { fix_time_ms: number }
  stops_ahead?: number
  remaining_m?: number
  eta?: { p10_ms?: number; p50_ms?: number; p90_ms?: number; basis?: string; [more: string]: unknown }
  created_at_ms?: number
  paid_at_ms?: number
  departed_at_ms?: number
  completed_at_ms?: number
  cancelled_at_ms?: number
  alerts?: Record<string, Alert>
  contact?: unknown
  address?: string
  notes?: string
  extra?: unknown
  [more: string]: unknown
}
