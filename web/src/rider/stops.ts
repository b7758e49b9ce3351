/** What the page makes of the rider's document and of what waits to be sent: pure. */

import type { Order } from '@trunkline/client'
import type { Report } from './db.js'

/** A stop as the topic `rider/{id}` has it. */
export interface Stop
  extends Pick<Order, 'status' | 'rev' | 'stage' | 'warehouse' | 'destination' | 'items' | 'promise' | 'eta' | 'contact' | 'address' | 'notes'> {
  order: string
}

/** The topic's document. */
export interface Board {
  id: string
  on_shift: boolean
  position?: { lat: number; lon: number; fix_time_ms: number }
  stops: Stop[]
}

/** What the page shows of a stop: also what was done there and isn't acknowledged yet. */
export interface ShownStop extends Stop {
  /** The last report of a failed attempt that waits. */
  pending?: Report
}

/** Whether the rider is on shift: what they said last, else what the server knows. */
export function isOnShift(board: Board | undefined, reports: readonly Report[]): boolean {
  const said = reports.filter((report) => report.kind === 'shift' && !report.refused).at(-1)
  return said ? said.body['on'] === true : (board?.on_shift ?? false)
}

/** The stops that are still to be made, in order. `taken`: orders whose end the server took, though the document still has them. */
export function openStops(board: Board | undefined, reports: readonly Report[], taken: ReadonlySet<string>): ShownStop[] {
  const waiting = reports.filter((report) => !report.refused)
  const ended = new Set(waiting.filter(ends).map((report) => report.order))
  return (board?.stops ?? [])
    .filter(({ order }) => !ended.has(order) && !taken.has(order))
    .map((stop) => {
      const pending = waiting.filter(({ order }) => order === stop.order).at(-1)
      return pending ? { ...stop, pending } : stop
    })
}

/** After it the order isn't in hand any more. */
export function ends(report: Report): boolean {
  return report.kind === 'delivered' || report.kind === 'returned'
}

/** What is kept on the device: whom to call and where to go only until the stop ends. */
export function keepable(board: Board, reports: readonly Report[], taken: ReadonlySet<string>): Board {
  const open = new Set(openStops(board, reports, taken).map(({ order }) => order))
  return { ...board, stops: board.stops.map((stop) => (open.has(stop.order) ? stop : bare(stop))) }
}

function bare({ contact: _contact, address: _address, notes: _notes, destination: _destination, ...rest }: Stop): Stop {
  return rest
}

/** Whether the rider has the goods, or where they are: packed ones can be picked up. */
export function isInHand(stop: Stop): boolean {
  return stop.status === 3
}

/** The contact as far as its shape is known: a text, or an object with name and phone. */
export function contactOf(contact: unknown): { name?: string; phone?: string } {
  if (typeof contact === 'string') return { phone: contact }
  if (typeof contact !== 'object' || contact === null) return {}
  const { name, phone } = contact as { name?: unknown; phone?: unknown }
  return { ...(typeof name === 'string' ? { name } : {}), ...(typeof phone === 'string' ? { phone } : {}) }
}

/** `tel:` takes digits and a plus. */
export function telephone(phone: string): string {
  return 'tel:' + phone.normalize('NFKC').replace(/[^\d+#*]/g, '')
}

/** A link that opens the phone's map app at a place. */
export function mapLink({ lat, lon }: { lat: number; lon: number }, label: string, userAgent: string): string {
  const [place, name] = [`${lat},${lon}`, encodeURIComponent(label)]
  const apple = /iPhone|iPad|iPod|Macintosh/.test(userAgent)
  return apple ? `maps://?daddr=${place}&q=${name}` : `geo:${place}?q=${place}(${name})`
}
