/**
 * Ways in local metres. A route is projected once onto a plane about its middle (equirectangular: 5 cm off over a city) with
 * cumulative lengths; where a fix is along it is then a loop over its segments. Pure.
 */

import type { Place } from '@trunkline/client'

/** Metres east and north of a plane's middle. */
export interface Spot {
  x: number
  y: number
}

/** A plane that touches the earth at a place. */
export class Plane {
  static readonly M_PER_DEGREE = 111_194.926_6
  #east: number

  constructor(readonly middle: Place) {
    this.#east = Plane.M_PER_DEGREE * Math.cos((middle.lat * Math.PI) / 180)
  }

  spot({ lat, lon }: Place): Spot {
    return { x: turn(lon - this.middle.lon) * this.#east, y: (lat - this.middle.lat) * Plane.M_PER_DEGREE }
  }

  place({ x, y }: Spot): Place {
    return { lat: this.middle.lat + y / Plane.M_PER_DEGREE, lon: turn(this.middle.lon + x / this.#east) }
  }
}

/** The same longitude in [-180, 180). */
const turn = (lon: number): number => ((((lon + 180) % 360) + 360) % 360) - 180

export const apart = (a: Spot, b: Spot): number => Math.hypot(a.x - b.x, a.y - b.y)

/** Metres between two places. */
export const distance = (a: Place, b: Place): number => {
  const plane = new Plane(a)
  return apart(plane.spot(a), plane.spot(b))
}

/** Clockwise from north, in degrees. */
const headingOf = (x: number, y: number): number => ((Math.atan2(x, y) * 180) / Math.PI + 360) % 360

/** Something to move along: `at_m` counts from its beginning. */
export interface Way {
  spot(at_m: number): Spot
  /** `undefined` where there is no direction. */
  heading(at_m: number): number | undefined
  readonly begin_m: number
  readonly end_m: number
}

/** Where a place is along a route. */
export interface Projection {
  at_m: number
  off_m: number
}

/** Of places equally near, the one that is nearer to where the rider is expected: a way of 100 m from there counts as 3 m aside, up to 10. */
const EXPECTED = 0.03
const EXPECTED_MAX_M = 10

export class Route implements Way {
  readonly plane: Plane
  readonly begin_m = 0
  #spots: Spot[]
  #along: number[] = [0]

  /** `undefined` for less than two different places. */
  static of(places: readonly Place[]): Route | undefined {
    const all = places.filter((place, i) => i === 0 || place.lat !== places[i - 1]!.lat || place.lon !== places[i - 1]!.lon)
    return all.length < 2 ? undefined : new Route(all)
  }

  private constructor(readonly places: readonly Place[]) {
    this.plane = new Plane(places[Math.floor(places.length / 2)]!)
    this.#spots = places.map((place) => this.plane.spot(place))
    for (let i = 1; i < this.#spots.length; i += 1) this.#along.push(this.#along[i - 1]! + apart(this.#spots[i - 1]!, this.#spots[i]!))
  }

  get end_m(): number {
    return this.#along[this.#along.length - 1]!
  }

  spot(at_m: number): Spot {
    const i = this.#segment(at_m)
    const [a, b] = [this.#spots[i]!, this.#spots[i + 1]!]
    const part = Math.min(Math.max((at_m - this.#along[i]!) / (this.#along[i + 1]! - this.#along[i]!), 0), 1)
    return { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part }
  }

  heading(at_m: number): number {
    const i = this.#segment(at_m)
    const [a, b] = [this.#spots[i]!, this.#spots[i + 1]!]
    return headingOf(b.x - a.x, b.y - a.y)
  }

  /** The nearest place between `from_m` and `to_m`; of those equally near the one nearer to `expected_m`, or the first. */
  project(spot: Spot, from_m = 0, to_m = this.end_m, expected_m?: number): Projection {
    let best: Projection = { at_m: Math.min(Math.max(from_m, 0), this.end_m), off_m: Infinity }
    let cost = Infinity
    const last = this.#spots.length - 2
    for (let i = this.#segment(from_m); i <= last && (this.#along[i]! <= to_m || cost === Infinity); i += 1) {
      const [a, b] = [this.#spots[i]!, this.#spots[i + 1]!]
      const [begin, end] = [this.#along[i]!, this.#along[i + 1]!]
      const [dx, dy] = [b.x - a.x, b.y - a.y]
      const foot = begin + ((spot.x - a.x) * dx + (spot.y - a.y) * dy) / (end - begin)
      const at_m = Math.min(Math.max(foot, begin, from_m), end, Math.max(to_m, from_m))
      const part = (at_m - begin) / (end - begin)
      const off_m = Math.hypot(a.x + dx * part - spot.x, a.y + dy * part - spot.y)
      const here = off_m + (expected_m === undefined ? 0 : Math.min(EXPECTED * Math.abs(at_m - expected_m), EXPECTED_MAX_M))
      if (here < cost) [best, cost] = [{ at_m, off_m }, here]
    }
    return best
  }

  /** The last segment that begins at or before. */
  #segment(at_m: number): number {
    let [low, high] = [0, this.#along.length - 2]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#along[middle]! <= at_m) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** A straight way through a spot, for riders of whom no route is known. */
export class Straight implements Way {
  readonly begin_m = -Infinity
  readonly end_m = Infinity

  /** `along` is of length 1, or 0 where there is no direction. */
  constructor(
    readonly through: Spot,
    readonly along: Spot,
  ) {}

  spot(at_m: number): Spot {
    return { x: this.through.x + this.along.x * at_m, y: this.through.y + this.along.y * at_m }
  }

  heading(): number | undefined {
    return this.along.x === 0 && this.along.y === 0 ? undefined : headingOf(this.along.x, this.along.y)
  }

  foot(spot: Spot): number {
    return (spot.x - this.through.x) * this.along.x + (spot.y - this.through.y) * this.along.y
  }
}

/** The places of a view's `route`: GeoJSON, or an encoded polyline with its precision. Empty for anything else. */
export function placesOf(route: unknown): Place[] {
  if (typeof route !== 'object' || route === null) return []
  if ('coordinates' in route && Array.isArray(route.coordinates)) {
    const points = route.coordinates as unknown[]
    return points.flatMap((point) => (Array.isArray(point) && isDegrees(point[1], point[0]) ? [{ lat: point[1] as number, lon: point[0] as number }] : []))
  }
  if ('polyline' in route && typeof route.polyline === 'string') {
    const precision = 'precision' in route && route.precision === 6 ? 6 : 5
    return decodePolyline(route.polyline, precision)
  }
  return []
}

const isDegrees = (lat: unknown, lon: unknown): boolean =>
  typeof lat === 'number' && typeof lon === 'number' && Math.abs(lat) <= 90 && Math.abs(lon) <= 180

/** Google's encoding: differences, zigzag, five bits a letter. Ends where the text does. */
function decodePolyline(text: string, precision: 5 | 6): Place[] {
  const places: Place[] = []
  let [lat, lon, at] = [0, 0, 0]
  const next = (): number | undefined => {
    let [value, shift] = [0, 0]
    for (;;) {
      if (at >= text.length) return undefined
      const bits = text.charCodeAt(at++) - 63
      value |= (bits & 31) << shift
      shift += 5
      if (bits < 32) return value & 1 ? ~(value >> 1) : value >> 1
    }
  }
  for (;;) {
    const [d_lat, d_lon] = [next(), next()]
    if (d_lat === undefined || d_lon === undefined) return places
    lat += d_lat
    lon += d_lon
    if (isDegrees(lat / 10 ** precision, lon / 10 ** precision)) places.push({ lat: lat / 10 ** precision, lon: lon / 10 ** precision })
  }
}
