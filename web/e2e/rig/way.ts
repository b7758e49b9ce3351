/** A made-up way to ride, and a browser's Geolocation that rides it. Within the city that `trunkline simulate` makes up. */

import type { BrowserContext } from 'playwright-core'
import { sleep } from '../../client/rig/wait.js'

export interface Spot {
  lat: number
  lon: number
}

const M_PER_DEGREE = 111_195
const east_m = (from: Spot, to: Spot): number => (to.lon - from.lon) * M_PER_DEGREE * Math.cos((from.lat * Math.PI) / 180)
const north_m = (from: Spot, to: Spot): number => (to.lat - from.lat) * M_PER_DEGREE

/** Metres as the crow flies, near enough for a city. */
export const apart_m = (a: Spot, b: Spot): number => Math.hypot(east_m(a, b), north_m(a, b))

/** A spot so many metres east and north of another. */
export function beside(spot: Spot, e_m: number, n_m: number): Spot {
  return { lat: spot.lat + n_m / M_PER_DEGREE, lon: spot.lon + e_m / (M_PER_DEGREE * Math.cos((spot.lat * Math.PI) / 180)) }
}

export class Way {
  readonly length_m: number

  constructor(readonly spots: readonly [Spot, Spot, ...Spot[]]) {
    this.length_m = spots.slice(1).reduce((sum, spot, i) => sum + apart_m(spots[i] as Spot, spot), 0)
  }

  /** The spot after so many metres. */
  at(m: number): Spot {
    let left = m
    for (const [i, to] of this.spots.slice(1).entries()) {
      const from = this.spots[i] as Spot
      const leg = apart_m(from, to)
      if (left <= leg) return beside(from, (east_m(from, to) * left) / leg, (north_m(from, to) * left) / leg)
      left -= leg
    }
    return this.spots[this.spots.length - 1] as Spot
  }

  /** Its beginning, up to so many metres. */
  until(m: number): Way {
    const spots: Spot[] = []
    let length_m = 0
    for (const [i, spot] of this.spots.entries()) {
      length_m += i === 0 ? 0 : apart_m(this.spots[i - 1] as Spot, spot)
      if (length_m >= m) break
      spots.push(spot)
    }
    const [first = this.spots[0], ...rest] = spots
    return new Way([first, ...rest, this.at(m)] as unknown as [Spot, Spot, ...Spot[]])
  }

  /** Where it is nearest to a spot, in metres, to ten of them. */
  nearest_m(spot: Spot): number {
    let [best, least] = [0, Infinity]
    for (let m = 0; m <= this.length_m; m += 10) {
      const away = apart_m(this.at(m), spot)
      if (away < least) [best, least] = [m, away]
    }
    return best
  }

  /** As a create takes it. */
  get geoJson(): object {
    return { type: 'LineString', coordinates: this.spots.map(({ lat, lon }) => [lon, lat]) }
  }
}

/** Moves a browser's position along a way, steadily, until told otherwise. */
export class Walk {
  /** Where it is, in metres. */
  m = 0
  /** Metres off the way, to the west and to the north alike: a detour. */
  aside_m = 0
  /** Metres per second; 0 stands still. */
  pace = 0
  #going = true
  #done: Promise<void>

  constructor(
    readonly way: Way,
    readonly context: BrowserContext,
    readonly stepMs = 1_000,
  ) {
    this.#done = this.#go()
  }

  get spot(): Spot {
    return beside(this.way.at(this.m), -this.aside_m, this.aside_m)
  }

  async stop(): Promise<void> {
    this.#going = false
    await this.#done
  }

  async #go(): Promise<void> {
    let before = Date.now()
    while (this.#going) {
      const now = Date.now()
      this.m = Math.min(this.m + (this.pace * (now - before)) / 1_000, this.way.length_m)
      before = now
      const { lat, lon } = this.spot
      await this.context.setGeolocation({ latitude: lat, longitude: lon, accuracy: 8 }).catch(() => undefined)
      await sleep(this.stepMs)
    }
  }
}
