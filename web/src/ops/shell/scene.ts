/** What is looked at on the map, from what is open: an order, an alert's evidence, a moment of a replay. */

import type { Order, Place } from '@trunkline/client'
import type { AlertRecord, TrackRow } from '@trunkline/client/rest'
import { clock } from '@/shared/time.js'
import type { Pin, Scene } from '../stage/stage.js'

type Say = (key: string, params?: Record<string, string>) => string

/** A GeoJSON line's places. */
export function placesOf(route: unknown): Place[] {
  const coordinates = (route as { coordinates?: unknown } | undefined)?.coordinates
  if (!Array.isArray(coordinates)) return []
  return coordinates.flatMap((pair: unknown) => (Array.isArray(pair) && typeof pair[0] === 'number' && typeof pair[1] === 'number' ? [{ lon: pair[0], lat: pair[1] }] : []))
}

/** Where the rider has been, as far as it counts: good fixes by their own time, up to `untilMs`. */
export function riddenOf(rows: readonly TrackRow[], untilMs = Infinity): Place[] {
  return rows
    .filter(({ kind, mark, lat, at_ms }) => kind === 'fix' && mark === 'good' && lat !== undefined && at_ms <= untilMs)
    .sort((a, b) => (a.fix_time_ms ?? 0) - (b.fix_time_ms ?? 0))
    .map(({ lat, lon }) => ({ lat: lat!, lon: lon! }))
}

/** An order with its route, ends and, where it is told, its rider. */
export function orderScene(order: Order | undefined, ridden: Place[], say: Say, withRider: boolean): Scene {
  const pins: Pin[] = []
  if (!order) return { pins }
  if (order.warehouse) pins.push({ id: 'warehouse', kind: 'warehouse', place: order.warehouse, label: order.warehouse.name ?? say('pin.warehouse') })
  if (order.destination) pins.push({ id: 'door', kind: 'door', place: order.destination, label: say('pin.door') })
  const heading = (order.position as { heading_deg?: number } | undefined)?.heading_deg
  if (withRider && order.position) pins.push({ id: 'rider', kind: 'rider', place: order.position, label: order.rider?.id ?? say('pin.rider'), ...(heading === undefined ? {} : { heading }) })
  return { route: placesOf(order['route']), ridden, pins }
}

/** An alert's fixes over its order. */
export function alertScene(alert: AlertRecord, order: Order | undefined, ridden: Place[], say: Say, locale: string, now: number): Scene {
  const scene = orderScene(order, ridden, say, false)
  const { fixes, about } = alert.evidence
  for (const [i, fix] of fixes.entries()) {
    const time = clock(fix.fix_time_ms ?? alert.since_ms, locale, now)
    const key = fixes.length === 1 ? 'pin.fix' : i === 0 ? 'pin.from' : 'pin.to'
    scene.pins.push({ id: `evidence-${i}`, kind: 'evidence', place: fix, label: say(key, { time }) })
  }
  const last = fixes.at(-1)
  const to = !last ? undefined : about === 'route' ? nearest(scene.route ?? [], last) : about === 'destination' ? order?.destination : undefined
  if (last && to) scene.measure = [last, to]
  return scene
}

/** The point of a line that is nearest to a place; metres don't matter for what is drawn. */
export function nearest(line: readonly Place[], to: Place): Place | undefined {
  const wide = Math.cos((to.lat * Math.PI) / 180)
  let found: Place | undefined
  let least = Infinity
  for (let i = 0; i + 1 < line.length; i++) {
    const [a, b] = [line[i]!, line[i + 1]!]
    const [dx, dy] = [(b.lon - a.lon) * wide, b.lat - a.lat]
    const [px, py] = [(to.lon - a.lon) * wide, to.lat - a.lat]
    const length = dx * dx + dy * dy
    const t = length === 0 ? 0 : Math.min(Math.max((px * dx + py * dy) / length, 0), 1)
    const away = (px - t * dx) ** 2 + (py - t * dy) ** 2
    if (away >= least) continue
    least = away
    found = { lat: a.lat + (b.lat - a.lat) * t, lon: a.lon + (b.lon - a.lon) * t }
  }
  return found
}

/** What a scene spreads over. */
export function extentOf(scene: Scene): Place[] {
  return [...scene.pins.map(({ place }) => place), ...(scene.route ?? [])]
}
