/**
 * What is seen of an order on a map or a sketch: the rider's marker, driven by the motion between fixes; warehouse and door; the
 * route. This is what both have in common: which fix is new, and a frame each time the screen is drawn, while somebody looks and something
 * moves.
 */

import type { Place } from '@trunkline/client'
import { Motion } from '@/map/motion.js'
import type { Drawn } from '@/map/motion.js'
import { Route, placesOf } from '@/map/route.js'
import type { Tracked } from '../order.js'

export type Texts = Record<'label' | 'rider' | 'door' | 'warehouse' | 'zoomIn' | 'zoomOut', string>

export interface SceneOptions {
  container: HTMLElement
  dark: boolean
  locale: string
  texts: Texts
  /** Whether the user has moved the map away. */
  onAway: (away: boolean) => void
}

export interface Scene {
  /** The order's state, of this cell time. */
  show(order: Tracked, at_ms: number): void
  setDark(dark: boolean): void
  setLocale(locale: string, texts: Texts): void
  recentre(): void
  destroy(): void
}

/** Nothing moves so long after a fix. */
const REST_MS = 30_000
/** Who wants less motion sees a step each second. */
const CALM_MS = 1_000

/** The rider between fixes. */
export class Rider {
  #motion = new Motion()
  #routeText = ''
  #route: Place[] = []
  #draw: (drawn: Drawn) => void
  #lastFix = 0
  #receivedAt = 0
  #frame: number | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #calm = matchMedia('(prefers-reduced-motion: reduce)')
  #over = false

  constructor(draw: (drawn: Drawn) => void) {
    this.#draw = draw
  }

  /** The planned route; empty without one. The same array while it is the same route. */
  get route(): readonly Place[] {
    return this.#route
  }

  /** Takes what is new. Returns whether the rider is to be seen. */
  take(order: Tracked, at_ms: number): boolean {
    const text = JSON.stringify(order.route ?? null)
    if (text !== this.#routeText) {
      this.#routeText = text
      this.#route = placesOf(order.route)
      this.#motion.setRoute(Route.of(this.#route))
    }
    const { position } = order
    if (!position) {
      // Out of sight: where it comes back is no way that it drove.
      if (this.#lastFix > 0) this.#motion = new Motion(Route.of(this.#route))
      this.#lastFix = 0
      this.#stop()
      return false
    }
    if (position.fix_time_ms > this.#lastFix) {
      const first = this.#lastFix === 0
      this.#lastFix = position.fix_time_ms
      const now = performance.now()
      // The change is as old as the server's handling; a fix of a first state may be as old as it likes.
      const old_ms = first ? 0 : Math.min(Math.max(at_ms - position.fix_time_ms, 0), 5_000)
      this.#receivedAt = now - old_ms
      this.#motion.fix(position, position.fix_time_ms, this.#receivedAt, { speed_mps: position.speed_mps, remaining_m: order.remaining_m })
    }
    this.#run()
    return true
  }

  destroy(): void {
    this.#over = true
    this.#stop()
  }

  #run(): void {
    if (this.#over || this.#frame !== undefined || this.#timer !== undefined) return
    if (this.#calm.matches) this.#timer = setTimeout(() => this.#step(performance.now()), CALM_MS)
    // Not called while the page is hidden.
    else this.#frame = requestAnimationFrame((now) => this.#step(now))
  }

  #step(now: number): void {
    this.#frame = this.#timer = undefined
    const drawn = this.#motion.at(Math.max(now, performance.now()))
    if (drawn) this.#draw(drawn)
    if (now - this.#receivedAt < REST_MS) this.#run()
  }

  #stop(): void {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame)
    clearTimeout(this.#timer)
    this.#frame = this.#timer = undefined
  }
}
