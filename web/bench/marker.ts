/**
 * How far the customer's marker is from the rider, and how far it jumps. The very `motion.ts` of the page is driven by recorded trips thinned
 * to what a phone sends, at 60 steps a second of a virtual clock. The truth at a moment is the whole recording between its fixes by their
 * times. Beside it, in the same run: a marker that jumps to each fix, and one that glides from fix to fix one interval late.
 *
 * The trips are cars', on trunk roads too; beside the mean over all of the time stands that of the time at 14 m/s (50 km/h) at most, as
 * delivery riders go. The longest step is looked for in all of it. Left out is the time between recorded fixes a minute and more
 * apart (1 to 2 %): nobody knows where they were.
 *
 * Started by `scripts/eval marker`. Exits with 1 when the mean is over 35 m or a step over 30 m.
 */

import { parseArgs } from 'node:util'
import type { Place } from '@trunkline/client'
import { Motion } from '@/map/motion.js'
import { Route, distance } from '@/map/route.js'
import { readTrips, speed } from './recorded.js'
import type { Fix, Trip } from './recorded.js'

const MEAN_MAX_M = 35
const STEP_MAX_M = 30
const STEP_MS = 1000 / 60
/** Compared with the truth at each of so many steps: five times a second. */
const COMPARED = 12
const GAP_MS = 60_000
const RIDER_MPS = 14

/** Errors of one marker. */
class Errors {
  readonly rider: number[] = []
  readonly all: number[] = []
  step_m = 0
  #last: Place | undefined

  drawn(place: Place): void {
    if (this.#last) this.step_m = Math.max(this.step_m, distance(this.#last, place))
    this.#last = place
  }

  newTrip(): void {
    this.#last = undefined
  }
}

const mean = (list: readonly number[]): number => (list.length === 0 ? 0 : list.reduce((sum, x) => sum + x, 0) / list.length)
const quantile = (list: readonly number[], q: number): number => [...list].sort((a, b) => a - b)[Math.min(Math.floor(list.length * q), list.length - 1)] ?? 0

/** The fixes that a phone would have sent which reports so often: the first of each interval. */
export function thin(fixes: readonly Fix[], every_ms: number): Fix[] {
  const interval = (fix: Fix): number => Math.floor((fix.time_ms - fixes[0]!.time_ms) / every_ms)
  return fixes.filter((fix, i) => i === 0 || interval(fix) !== interval(fixes[i - 1]!))
}

/** Between two fixes by time. */
function between(a: Fix, b: Fix, time_ms: number): Place {
  const part = Math.min(Math.max((time_ms - a.time_ms) / (b.time_ms - a.time_ms), 0), 1)
  return { lat: a.lat + (b.lat - a.lat) * part, lon: a.lon + (b.lon - a.lon) * part }
}

/** Drives a trip, and compares what each marker shows. */
function drive(trip: Trip, every_ms: number, withRoute: boolean, markers: readonly [Errors, Errors, Errors]): void {
  const { fixes } = trip
  const sent = thin(fixes, every_ms)
  const motion = new Motion(withRoute ? Route.of(trip.route) : undefined)
  for (const errors of markers) errors.newTrip()
  const [begin, end] = [fixes[0]!.time_ms, fixes[fixes.length - 1]!.time_ms]
  let [heard, passed] = [0, 0]
  for (let step = 0; begin + step * STEP_MS <= end; step += 1) {
    const now = begin + step * STEP_MS
    for (; heard < sent.length && sent[heard]!.time_ms <= now; heard += 1) motion.fix(sent[heard]!, sent[heard]!.time_ms, sent[heard]!.time_ms)
    while (passed + 2 < fixes.length && fixes[passed + 1]!.time_ms <= now) passed += 1
    const last = sent[heard - 1]!
    const late = heard < 2 ? last : between(sent[heard - 2]!, last, now - (last.time_ms - sent[heard - 2]!.time_ms))
    const drawn = [motion.at(now)!, last, late] as const
    markers.forEach((errors, i) => errors.drawn(drawn[i]!))
    const [a, b] = [fixes[passed]!, fixes[passed + 1]!]
    if (step % COMPARED !== 0 || b.time_ms - a.time_ms > GAP_MS) continue
    const truth = between(a, b, now)
    markers.forEach((errors, i) => {
      const error = distance(drawn[i]!, truth)
      errors.all.push(error)
      if (speed(a, b) <= RIDER_MPS) errors.rider.push(error)
    })
  }
}

const row = (name: string, cells: readonly string[]): string => name.padEnd(34) + cells.map((cell) => cell.padStart(14)).join('')
const m = (x: number): string => `${x.toFixed(1)} m`

export function main(args: readonly string[]): number {
  const { values } = parseArgs({
    args: [...args],
    options: {
      points: { type: 'string' },
      routes: { type: 'string' },
      'every-s': { type: 'string', default: '15' },
      'no-route': { type: 'boolean', default: false },
      trips: { type: 'boolean', default: false },
    },
  })
  if (!values.points || !values.routes) throw new Error('--points and --routes name the recorded trips')
  const every_ms = Number(values['every-s']) * 1000
  const all = readTrips(values.points, values.routes)
  const trips = all.filter(({ fixes }) => fixes.length >= 2)
  const count = (of: (trip: Trip) => number): number => all.reduce((sum, trip) => sum + of(trip), 0)
  console.log(
    `${trips.length} trips of ${all.length}, ${count((trip) => trip.fixes.length)} fixes; left out as the server does: ` +
      `${count((trip) => trip.repeated)} of a time that was there already, ${count((trip) => trip.jumps)} over 40 m/s from the one before. ` +
      `Thinned to ${values['every-s']} s: ${trips.reduce((sum, trip) => sum + thin(trip.fixes, every_ms).length, 0)}.`,
  )
  const [ours, jumping, late] = [new Errors(), new Errors(), new Errors()]
  const means: number[] = []
  for (const trip of trips) {
    const before = ours.all.length
    drive(trip, every_ms, !values['no-route'], [ours, jumping, late])
    means.push(mean(ours.all.slice(before)))
    if (values.trips) console.log(`  trip ${trip.id}: ${m(means[means.length - 1]!)}`)
  }
  console.log(row('error', ['mean', 'p50', 'p95', `to ${RIDER_MPS} m/s`, 'longest step']))
  for (const [name, errors] of [['the marker of the page', ours], ['jumping to each fix', jumping], ['gliding one interval late', late]] as const) {
    const { rider, all, step_m } = errors
    console.log(row(name, [mean(all), quantile(all, 0.5), quantile(all, 0.95), mean(rider), step_m].map(m)))
  }
  console.log(`${((100 * ours.rider.length) / ours.all.length).toFixed(0)} % of the time is at up to ${RIDER_MPS} m/s. By trip, the page's: mean of means ${m(mean(means))}, median ${m(quantile(means, 0.5))}, worst ${m(Math.max(...means))}.`)
  const failures = [
    ...(mean(ours.all) > MEAN_MAX_M ? [`the mean error is ${m(mean(ours.all))}; ${MEAN_MAX_M} m at most`] : []),
    ...(ours.step_m > STEP_MAX_M ? [`the largest step is ${m(ours.step_m)}; ${STEP_MAX_M} m at most`] : []),
  ]
  for (const failure of failures) console.log(`FAILED: ${failure}`)
  if (failures.length === 0) console.log(`ok: mean at most ${MEAN_MAX_M} m, no step over ${STEP_MAX_M} m`)
  return failures.length === 0 ? 0 : 1
}
