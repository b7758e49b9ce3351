/** What a customer's or a shared view says beyond the client's `Order`; see the server's `docs/access.md`. */

import type { Order } from '@trunkline/client'

export interface Legs {
  picking_ms: number
  handover_ms: number
  ride_ms: number
  door_ms: number
}

export interface Eta {
  [more: string]: unknown
  at_ms: number
  p10_ms: number
  p50_ms: number
  p90_ms: number
  legs: Legs
  basis: string
  path: string
}

export interface Tracked extends Order {
  eta?: Eta
  position?: { lat: number; lon: number; fix_time_ms: number; speed_mps?: number; heading_deg?: number }
  warehouse_arrived_at_ms?: number
  arrived_at_ms?: number
  cancel_reason?: string
  attempts?: number
  attempt_reason?: string
  attempted_at_ms?: number
  returned?: boolean
  missing?: { count: number; items?: { name: string; count: number }[]; note?: string }
  proof?: { photo?: string; code?: string; signature?: string }
  contact?: { name?: string; phone?: string }
}
