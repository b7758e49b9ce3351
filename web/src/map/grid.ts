/** A graticule: on bare ground it shows that the map moves, and how far. Pure. */

import type * as GeoJSON from 'geojson'

/** Lines may be that close, in degrees of longitude, finest last. */
const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]
/** And not closer on the screen. */
const APART_PX = 90
const LINES_MAX = 60

/** Meridians and parallels over `[west, south, east, north]` on a map `width_px` wide. */
export function graticule([west, south, east, north]: readonly [number, number, number, number], width_px: number): GeoJSON.FeatureCollection {
  const degrees_per_px = (east - west) / Math.max(width_px, 1)
  const step = [...STEPS].reverse().find((step) => step >= degrees_per_px * APART_PX) ?? STEPS[0]!
  const lines: GeoJSON.Position[][] = []
  for (const x of multiples(west, east, step)) lines.push([[x, south], [x, north]])
  for (const y of multiples(south, north, step)) lines.push([[west, y], [east, y]])
  return { type: 'FeatureCollection', features: [{ type: 'Feature', properties: {}, geometry: { type: 'MultiLineString', coordinates: lines } }] }
}

function multiples(from: number, to: number, step: number): number[] {
  const first = Math.ceil(from / step)
  const count = Math.min(Math.floor(to / step) - first + 1, LINES_MAX)
  return Array.from({ length: Math.max(count, 0) }, (_, i) => (first + i) * step)
}
