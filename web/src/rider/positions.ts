/**
 * Where the device says that it is, while the rider is on shift. A device that stands says nothing by itself; it is asked then, so
 * that silence means trouble and not rest. What comes is handed on as it is; what is worth keeping is the queue's to say.
 */

import type { Clock } from '@trunkline/client'
import type { Fix } from '@trunkline/client/rest'
import { STANDING_MS } from './fixes.js'

export type Gps =
  | 'off'
  /** Nothing has come yet. */
  | 'waiting'
  | 'good'
  /** Readings that the server would mark. */
  | 'inaccurate'
  /** The rider, or the device, doesn't allow it. */
  | 'denied'
  /** No reading now. */
  | 'unavailable'
  /** Not in this browser, or not over a connection without TLS. */
  | 'unsupported'

export interface PositionsOptions {
  geolocation: Pick<Geolocation, 'watchPosition' | 'clearWatch' | 'getCurrentPosition'> | undefined
  /** Where the browser has them: without, a permission that is given later counts from the next shift or page. */
  permissions?: Pick<Permissions, 'query'> | undefined
  clock: Clock
  /** Percent, where the device tells. */
  battery?: () => number | undefined
  onReading: (fix: Fix) => void
  onGps: (gps: Gps) => void
}

/** The server's bound for what moves a marker. */
const INACCURATE_M = 100
const TIMEOUT_MS = 30_000
/** A reading whose time is off by more than this was made by another clock. */
const OTHER_CLOCK_MS = 86_400_000

export class Positions {
  #o: PositionsOptions
  #watch: number | undefined
  #timer: unknown
  /** When the device last said something, or was asked. */
  #lastAt = 0
  #gps: Gps = 'off'

  constructor(options: PositionsOptions) {
    this.#o = options
  }

  start(): void {
    if (this.#watch !== undefined || this.#gps === 'unsupported') return
    const { geolocation } = this.#o
    if (!geolocation) return this.#become('unsupported')
    this.#become('waiting')
    this.#lastAt = this.#o.clock.now()
    this.#watch = geolocation.watchPosition(this.#read, this.#failed, { enableHighAccuracy: true, maximumAge: 0, timeout: TIMEOUT_MS })
    this.#ask()
  }

  stop(): void {
    this.#unwatch()
    if (this.#gps !== 'unsupported') this.#become('off')
  }

  /**
   * Where positions were denied: watches anew once they aren't, which no browser tells a watch of. `seen`: the rider has just come back to
   * the page, so that the browser may ask them; else only what was granted counts, or a question that was put away would come again and again.
   */
  async look(seen: boolean): Promise<void> {
    if (!this.#isDenied()) return
    let state: PermissionState | undefined
    try {
      state = (await this.#o.permissions?.query({ name: 'geolocation' }))?.state
    } catch {
      // A browser that doesn't tell.
    }
    if (!this.#isDenied() || !(state === 'granted' || (seen && state === 'prompt'))) return
    this.#unwatch()
    this.start()
  }

  #isDenied(): boolean {
    return this.#watch !== undefined && this.#gps === 'denied'
  }

  #unwatch(): void {
    if (this.#watch !== undefined) this.#o.geolocation?.clearWatch(this.#watch)
    this.#watch = undefined
    this.#o.clock.clearTimeout(this.#timer)
  }

  /** Asks, where nothing came by itself for so long. */
  #ask(): void {
    const { clock, geolocation } = this.#o
    const due = this.#lastAt + STANDING_MS - clock.now()
    this.#timer = clock.setTimeout(() => {
      if (this.#watch === undefined) return
      if (clock.now() - this.#lastAt >= STANDING_MS) {
        // What is asked now is waited for as long again, answered or not.
        this.#lastAt = clock.now()
        if (this.#gps === 'denied') void this.look(false)
        else geolocation?.getCurrentPosition(this.#read, this.#failed, { enableHighAccuracy: true, maximumAge: 0, timeout: TIMEOUT_MS })
      }
      this.#ask()
    }, due)
  }

  #read = (position: GeolocationPosition): void => {
    if (this.#watch === undefined) return
    const { clock, battery, onReading } = this.#o
    this.#lastAt = clock.now()
    const fix = fixOf(position, this.#lastAt, battery?.())
    if (!fix) return
    this.#become((fix.accuracy_m ?? 0) > INACCURATE_M ? 'inaccurate' : 'good')
    onReading(fix)
  }

  #failed = ({ code }: { code: number }): void => {
    if (this.#watch !== undefined) this.#become(code === 1 ? 'denied' : 'unavailable')
  }

  #become(gps: Gps): void {
    if (gps === this.#gps) return
    this.#gps = gps
    this.#o.onGps(gps)
  }
}

/** A reading as a fix: what the device doesn't know, or says wrongly, is left out. */
export function fixOf({ coords, timestamp }: GeolocationPosition, now: number, battery?: number): Fix | undefined {
  const { latitude, longitude, accuracy, speed, heading } = coords
  if (!within(latitude, -90, 90) || !within(longitude, -180, 180)) return undefined
  const fix_time_ms = Math.abs(timestamp - now) < OTHER_CLOCK_MS ? Math.round(timestamp) : now
  return {
    lat: round(latitude, 7),
    lon: round(longitude, 7),
    fix_time_ms,
    ...(within(accuracy, 0, Infinity) ? { accuracy_m: round(accuracy, 1) } : {}),
    ...(within(speed, 0, 600) ? { speed_mps: round(speed, 2) } : {}),
    ...(within(heading, 0, 360) ? { heading_deg: round(heading, 1) } : {}),
    ...(within(battery, 0, 100) ? { battery_pct: Math.round(battery) } : {}),
  }
}

function within(value: number | null | undefined, from: number, to: number): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= from && value <= to
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits))
