/**
 * Who stands so close together on the screen that one bubble tells more than a heap of arrows. A grid that is anchored in the
 * world, so that moving the map changes no bubble; bubbles that would overlap are joined. Who belongs where is decided twice a
 * second; where a bubble is, at each frame, from where its members are.
 */

import type { Fleet } from './fleet.js'
import { RIDER_STATES } from './fleet.js'

/** Pixels of the grid. */
const GRID_PX = 72
/** Bubbles whose centres are nearer than this are one. */
const JOIN_PX = 46
/** So many at least make a bubble. */
const LEAST = 3
/** From this zoom on each rider is shown: streets are wide enough. */
export const SINGLES_ZOOM = 15.5
/** Grid columns of the widest world that is clustered. */
const STRIDE = 2 ** 24

export interface Clusters {
  /** By slot: which bubble, −1 for one who is shown alone. */
  of: Int32Array
  bubbles: Bubble[]
}

export interface Bubble {
  count: number
  /** How many by state, in the order of `RIDER_STATES`. */
  states: [number, number, number, number]
  /** In the plane; the frame's. */
  x: number
  y: number
}

/** Bubbles at `scale` (pixels of the whole plane). `keep` is shown alone. */
export function cluster(fleet: Fleet, scale: number, zoom: number, keep?: number): Clusters {
  const of = new Int32Array(fleet.slots).fill(-1)
  if (zoom >= SINGLES_ZOOM) return { of, bubbles: [] }
  const byCell = new Map<number, number>()
  const made: Bubble[] = []
  for (let i = 0; i < fleet.slots; i++) {
    if (!fleet.alive[i] || i === keep) continue
    const [x, y] = [fleet.x[i]!, fleet.y[i]!]
    const key = Math.floor((x * scale) / GRID_PX) * STRIDE + Math.floor((y * scale) / GRID_PX)
    let at = byCell.get(key)
    if (at === undefined) {
      byCell.set(key, (at = made.length))
      made.push({ count: 0, states: [0, 0, 0, 0], x: 0, y: 0 })
    }
    const bubble = made[at]!
    bubble.count += 1
    bubble.states[fleet.state[i]!]! += 1
    bubble.x += x
    bubble.y += y
    of[i] = at
  }
  for (const bubble of made) {
    bubble.x /= bubble.count
    bubble.y /= bubble.count
  }
  const into = joined(made, JOIN_PX / scale)
  const kept = new Map<number, number>()
  const bubbles: Bubble[] = []
  for (const [at, bubble] of made.entries()) {
    if (into[at] !== at || bubble.count < LEAST) continue
    kept.set(at, bubbles.length)
    bubbles.push(bubble)
  }
  for (let i = 0; i < of.length; i++) if (of[i]! >= 0) of[i] = kept.get(into[of[i]!]!) ?? -1
  return { of, bubbles }
}

/** Joins smaller bubbles into larger ones that they touch; gives where each went. The larger one's centre moves along. */
function joined(bubbles: Bubble[], near: number): number[] {
  const into = bubbles.map((_, at) => at)
  const order = [...into].sort((a, b) => bubbles[b]!.count - bubbles[a]!.count || a - b)
  const grid = new Map<string, number[]>()
  const key = (x: number, y: number): string => `${Math.floor(x / near)}:${Math.floor(y / near)}`
  for (const at of order) {
    const bubble = bubbles[at]!
    const larger = nearest(bubbles, grid, bubble, near)
    if (larger === undefined) {
      const cell = key(bubble.x, bubble.y)
      grid.set(cell, [...(grid.get(cell) ?? []), at])
      continue
    }
    const taker = bubbles[larger]!
    taker.count += bubble.count
    for (let state = 0; state < RIDER_STATES.length; state++) taker.states[state]! += bubble.states[state]!
    into[at] = larger
  }
  return into
}

function nearest(bubbles: Bubble[], grid: Map<string, number[]>, { x, y }: Bubble, near: number): number | undefined {
  const [column, row] = [Math.floor(x / near), Math.floor(y / near)]
  let found: number | undefined
  let least = near
  for (let dx = -1; dx <= 1; dx++) {
    for (let dy = -1; dy <= 1; dy++) {
      for (const at of grid.get(`${column + dx}:${row + dy}`) ?? []) {
        const away = Math.hypot(bubbles[at]!.x - x, bubbles[at]!.y - y)
        if (away < least) [found, least] = [at, away]
      }
    }
  }
  return found
}

/** Puts each bubble in the middle of its members, who have moved. */
export function centre({ of, bubbles }: Clusters, fleet: Fleet): void {
  for (const bubble of bubbles) bubble.x = bubble.y = 0
  for (let i = 0; i < of.length; i++) {
    const bubble = of[i]! >= 0 ? bubbles[of[i]!] : undefined
    if (!bubble) continue
    bubble.x += fleet.x[i]!
    bubble.y += fleet.y[i]!
  }
  for (const bubble of bubbles) {
    bubble.x /= bubble.count
    bubble.y /= bubble.count
  }
}
