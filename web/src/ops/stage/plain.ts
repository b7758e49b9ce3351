/** The view where no map can be drawn: all of it, as large as fits. */

import type { Fleet } from './fleet.js'
import type { View } from './mercator.js'
import { WORLD_PX } from './mercator.js'

const ROOM_PX = 32
const ZOOM_MAX = 16

export function plainView(fleet: Fleet, width: number, height: number): { view: View; zoom: number } {
  let [west, east, north, south] = [Infinity, -Infinity, Infinity, -Infinity]
  const take = (x: number, y: number): void => {
    west = Math.min(west, x)
    east = Math.max(east, x)
    north = Math.min(north, y)
    south = Math.max(south, y)
  }
  for (let i = 0; i < fleet.slots; i++) if (fleet.alive[i]) take(fleet.x[i]!, fleet.y[i]!)
  for (const { x, y } of fleet.orders.values()) take(x, y)
  if (west > east) return { view: { scale: 1, left: 0, top: 0, width, height }, zoom: 0 }
  const fits = Math.min((width - 2 * ROOM_PX) / (east - west || 1e-9), (height - 2 * ROOM_PX) / (south - north || 1e-9))
  // By quarter steps, so that it stands still while riders move.
  const zoom = Math.min(Math.floor(Math.log2(Math.max(fits, 1) / WORLD_PX) * 4) / 4, ZOOM_MAX)
  const scale = WORLD_PX * 2 ** zoom
  const step = (value: number): number => Math.round(value / 32) * 32
  return { view: { scale, left: step(((west + east) / 2) * scale - width / 2), top: step(((north + south) / 2) * scale - height / 2), width, height }, zoom }
}
