/**
 * Riders who ride: each sends a fix a second by NATS, evenly over the second. They follow streets (`--streets`, GeoJSON lines) or a
 * made-up grid, at the speed of an electric bicycle, and turn at crossings. A process of its own, at a lower priority than what is
 * measured; it says once a minute how many fixes it has sent and how late it was at worst.
 *
 * Started by `console.ts`.
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Publisher } from '../client/rig/nats.js'
import { seeded } from '../client/rig/seeded.js'

const SPEED_MPS = 6
const SLICES = 20
/** Degrees of latitude per metre. */
const LAT_M = 1 / 111_195
/** The grid: so many blocks each way, of so many metres, about this place. */
const BLOCKS = 48
const BLOCK_M = 250
const MIDDLE = { lat: 31.23, lon: 121.47 }
const LON_M = LAT_M / Math.cos((MIDDLE.lat * Math.PI) / 180)

type Place = readonly [lon: number, lat: number]

/** One rider's way: a line that is ridden to and fro, or a walk over the grid. */
interface Ride {
  from: Place
  to: Place
  /** Metres from `from`, and between the two. */
  at_m: number
  length_m: number
  next: () => Place
}

const metres = (a: Place, b: Place): number => Math.hypot((b[0] - a[0]) / LON_M, (b[1] - a[1]) / LAT_M)

export async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { nats: { type: 'string' }, riders: { type: 'string', default: '5000' }, streets: { type: 'string' }, seconds: { type: 'string', default: '3600' }, seed: { type: 'string', default: '1' } },
  })
  const random = seeded(Number(values.seed))
  const riders = Number(values.riders)
  const lines = values.streets === undefined ? undefined : linesOf(values.streets)
  const rides = Array.from({ length: riders }, () => (lines ? along(lines, random) : walk(random)))
  const nats = await Publisher.open(Number(values.nats))
  for (let n = 0; n < riders; n++) {
    nats.publish(`rider.default.b-${n}.shift`, { on: true }, { 'Trunkline-Publisher': `rider.b-${n}` })
    if (n % 500 === 499) await nats.flush()
  }
  const began = Date.now()
  let sent = 0
  let latest_ms = 0
  for (let slice = 0; Date.now() - began < Number(values.seconds) * 1_000; slice++) {
    const due = began + (slice * 1_000) / SLICES
    const wait = due - Date.now()
    latest_ms = Math.max(latest_ms, -wait)
    if (wait > 0) await new Promise((done) => setTimeout(done, wait))
    for (let n = slice % SLICES; n < riders; n += SLICES) {
      const ride = rides[n]!
      step(ride)
      const part = Math.min(ride.at_m / ride.length_m, 1)
      const [lon, lat] = [ride.from[0] + (ride.to[0] - ride.from[0]) * part, ride.from[1] + (ride.to[1] - ride.from[1]) * part]
      const heading = (Math.atan2((ride.to[0] - ride.from[0]) / LON_M, (ride.to[1] - ride.from[1]) / LAT_M) * 180) / Math.PI
      nats.publish(`rider.default.b-${n}.fix`, { lat, lon, fix_time_ms: Date.now(), speed_mps: SPEED_MPS, heading_deg: Math.round((heading + 360) % 360), accuracy_m: 5 })
      sent += 1
    }
    if (slice % SLICES === 0) await nats.flush()
    if (slice > 0 && slice % (SLICES * 60) === 0) {
      console.log(`loader: ${sent} fixes sent, at worst ${Math.round(latest_ms)} ms late`)
      latest_ms = 0
    }
  }
  nats.close()
  return 0
}

function step(ride: Ride): void {
  ride.at_m += SPEED_MPS
  while (ride.at_m >= ride.length_m) {
    ride.at_m -= ride.length_m
    const to = ride.next()
    ride.from = ride.to
    ride.to = to
    ride.length_m = Math.max(metres(ride.from, ride.to), 1)
  }
}

function walk(random: () => number): Ride {
  const crossing = (x: number, y: number): Place => [MIDDLE.lon + (x - BLOCKS / 2) * BLOCK_M * LON_M, MIDDLE.lat + (y - BLOCKS / 2) * BLOCK_M * LAT_M]
  let [x, y] = [Math.floor(random() * BLOCKS), Math.floor(random() * BLOCKS)]
  const next = (): Place => {
    const turns = ([[1, 0], [-1, 0], [0, 1], [0, -1]] as const).filter(([dx, dy]) => x + dx >= 0 && x + dx <= BLOCKS && y + dy >= 0 && y + dy <= BLOCKS)
    const [dx, dy] = turns[Math.floor(random() * turns.length)]!
    x += dx
    y += dy
    return crossing(x, y)
  }
  const from = crossing(x, y)
  return { from, to: next(), at_m: random() * BLOCK_M, length_m: BLOCK_M, next }
}

function along(lines: Place[][], random: () => number): Ride {
  const line = lines[Math.floor(random() * lines.length)]!
  let at = Math.floor(random() * (line.length - 1))
  let by = 1
  const next = (): Place => {
    if (at + by < 0 || at + by >= line.length) by = -by
    at += by
    return line[at]!
  }
  const from = line[at]!
  const to = next()
  const length_m = Math.max(metres(from, to), 1)
  return { from, to, at_m: random() * length_m, length_m, next }
}

function linesOf(path: string): Place[][] {
  const json = JSON.parse(readFileSync(path, 'utf8')) as { features: { geometry: { type: string; coordinates: Place[] } }[] }
  const lines = json.features.filter(({ geometry }) => geometry.type === 'LineString' && geometry.coordinates.length > 1).map(({ geometry }) => geometry.coordinates)
  if (lines.length === 0) throw new Error(`${path} has no lines`)
  return lines
}
