/**
 * Where a rider's marker is drawn between fixes. It glides: along the route from where a fix is on it, as fast as the rider was,
 * slowing down the longer nothing is heard, and not at all after 15 s; without a route, along the way of the last fixes. A new fix
 * doesn't move the marker at once: what it was wrong by is made up for in 1 s, and a marker that went too far by less than 15 m
 * waits until the rider is there instead of driving back. (Waiting from farther and easing longer look calmer, but at each red light the
 * marker then stands where the rider isn't. `scripts/eval marker` measures both: waiting 80 m and easing 2.5 s cost 10 m on average.)
 *
 * No step of `at` is longer than 28 m, however far the rider has come since the last fix (a tunnel, a page that slept): the marker
 * then hurries after, up to some 1.5 km/s at 60 steps a second. Pure, sans-DOM: time comes in.
 */

import type { Place } from '@trunkline/client'
import { Plane, Straight, apart } from './route.js'
import type { Projection, Route, Spot, Way } from './route.js'

/** Dead reckoning: the speed falls to 1/e of the last one in so long, */
const TAU_S = 40
/** and nothing moves this long after the fix. */
const RECKON_S = 15
/** What a fix corrects is made up for in so long. */
const EASE_S = 1
/** So far the marker waits for the rider; from farther it goes back. */
const WAIT_M = 15
/** How far from a fix on the route the marker is looked for that comes onto it. */
const SEARCH_M = 300
/** How far along its route a rider may have come: by this, or else by what the server takes for possible. */
const REACH_MPS = 14
const POSSIBLE_MPS = 40
/** Jitter, forward and back. */
const SLACK_M = 50
/** From here on the rider isn't on the route: as alerts have it. */
const OFF_ROUTE_M = 80
/** After so many fixes beside what can be reached, the whole route is looked at. */
const LOST_FIXES = 3
/** Speed is measured over this long, */
const BASELINE_S = 5
/** and a rider who came less far in this long stands: jitter is slower than walking. */
const STANDING_S = 12
const STANDING_M = 12
/** A marker so near a standing rider is right. */
const NEAR_M = 15
/** The longest step, along the way and beside it. */
const STEP_ALONG_M = 20
const STEP_ASIDE_M = 8
/** Fixes that speed and pace are measured on. */
const KEPT = 16

/** What a fix may say beside its place. */
export interface FixMore {
  /** The phone's own speed. */
  speed_mps?: number | undefined
  /** What remains of the route: which leg a first fix is on. */
  remaining_m?: number | undefined
}

/** What is drawn. */
export interface Drawn extends Place {
  /** Clockwise from north; `undefined` while nobody knows. */
  heading_deg: number | undefined
}

interface Seen {
  time_ms: number
  received_ms: number
  spot: Spot
  /** Along the route, if on it. */
  at_m: number | undefined
}

/** What the last fix asks of the marker. */
interface Course {
  way: Way
  /** The fix's, along the way. */
  at_m: number
  speed_mps: number
  received_ms: number
  /** Where the marker was when it came: what it was ahead by, and beside the way by. */
  ahead_m: number
  aside: Spot
}

const ORIGIN: Spot = { x: 0, y: 0 }

export class Motion {
  #route: Route | undefined
  #plane: Plane | undefined
  #seen: Seen[] = []
  /** The last fix on the route. */
  #onRoute: { at_m: number; time_ms: number } | undefined
  #lost = 0
  #pace = 1
  #course: Course | undefined
  /** Where the marker is now: along the course's way and beside it. */
  #at_m = 0
  #aside: Spot = ORIGIN

  constructor(route?: Route) {
    this.#route = route
  }

  /** Another route, or none. The marker stays where it is. */
  setRoute(route: Route | undefined): void {
    const [course, old] = [this.#course, this.#plane]
    this.#route = route
    this.#onRoute = undefined
    this.#lost = 0
    if (!course || !old) return
    const plane = route?.plane ?? old
    const move = (spot: Spot): Spot => plane.spot(old.place(spot))
    const shown = move(this.#spot(course))
    this.#plane = plane
    for (const seen of this.#seen) [seen.spot, seen.at_m] = [move(seen.spot), undefined]
    const last = this.#seen[this.#seen.length - 1]!
    const at_m = this.#find(last.spot, last.time_ms, {}, 0)
    if (at_m !== undefined) last.at_m = at_m
    this.#begin(at_m === undefined || !route ? new Straight(last.spot, ORIGIN) : route, at_m ?? 0, 0, course.received_ms, shown)
  }

  /** A fix at its time; `received_ms` is when it was new by the clock that `at` is asked with. Older ones than the last don't count. */
  fix(place: Place, time_ms: number, received_ms: number, more: FixMore = {}): void {
    const last = this.#seen[this.#seen.length - 1]
    if (last && time_ms <= last.time_ms) return
    this.#plane ??= this.#route?.plane ?? new Plane(place)
    const spot = this.#plane.spot(place)
    const before = this.#before(time_ms, BASELINE_S)
    const earlier = this.#before(time_ms, STANDING_S)
    const passed_s = before ? (time_ms - before.time_ms) / 1000 : 0
    const expected_m = before?.at_m === undefined ? 0 : before.at_m + apart(before.spot, spot)
    const at_m = this.#find(spot, time_ms, more, expected_m)
    const since_m = ({ at_m: from_m, spot: from }: Seen): number => (at_m !== undefined && from_m !== undefined ? at_m - from_m : apart(from, spot))
    const came_m = before === undefined ? 0 : since_m(before)
    const stands = before === undefined || earlier === undefined || Math.abs(since_m(earlier)) < STANDING_M
    const measured = stands || passed_s === 0 ? 0 : Math.min(Math.max(came_m / passed_s, 0), POSSIBLE_MPS)
    // The phone's speed is of now, the measured one of the whole interval; at the lights neither is right.
    const speed_mps = stands || more.speed_mps === undefined ? measured : (measured + Math.min(more.speed_mps, POSSIBLE_MPS)) / 2
    const shown = this.#course ? this.#spot(this.#course) : undefined
    const way = at_m !== undefined && this.#route ? this.#route : new Straight(spot, stands ? this.#direction() : unit(before.spot, spot))
    this.#seen.push({ time_ms, received_ms, spot, at_m })
    if (this.#seen.length > KEPT) this.#seen.shift()
    this.#measurePace()
    if (shown && stands && apart(shown, spot) < NEAR_M && this.#course) {
      // A rider who stands doesn't wander with the jitter.
      this.#course = { ...this.#course, at_m: this.#at_m, speed_mps: 0, received_ms, ahead_m: 0, aside: this.#aside }
      return
    }
    this.#begin(way, at_m ?? 0, speed_mps, received_ms, shown)
  }

  /** Where the marker is drawn; `undefined` before the first fix. Asked with times that don't go back. */
  at(now_ms: number): Drawn | undefined {
    const [course, plane] = [this.#course, this.#plane]
    if (!course || !plane) return undefined
    const { way, speed_mps, ahead_m, aside } = course
    const age_s = (Math.max(now_ms - course.received_ms, 0) / 1000) * this.#pace
    const reckoned_m = course.at_m + speed_mps * TAU_S * (1 - Math.exp(-Math.min(age_s, RECKON_S) / TAU_S))
    const left = 1 - smooth(age_s / EASE_S)
    const waits = ahead_m > 0 && ahead_m < WAIT_M
    const wanted_m = waits ? Math.max(reckoned_m, course.at_m + ahead_m) : reckoned_m + ahead_m * left
    const to_m = Math.min(Math.max(wanted_m, way.begin_m), way.end_m)
    this.#at_m += Math.min(Math.max(to_m - this.#at_m, -STEP_ALONG_M), STEP_ALONG_M)
    this.#aside = toward(this.#aside, { x: aside.x * left, y: aside.y * left }, STEP_ASIDE_M)
    return { ...plane.place(this.#spot(course)), heading_deg: way.heading(this.#at_m) }
  }

  #begin(way: Way, at_m: number, speed_mps: number, received_ms: number, shown: Spot | undefined): void {
    const same = this.#course?.way === way
    if (!shown) [this.#at_m, this.#aside] = [at_m, ORIGIN]
    else if (!same) {
      this.#at_m = way instanceof Straight ? way.foot(shown) : (way as Route).project(shown, at_m - SEARCH_M, at_m + SEARCH_M, at_m).at_m
      const foot = way.spot(this.#at_m)
      this.#aside = { x: shown.x - foot.x, y: shown.y - foot.y }
    }
    this.#course = { way, at_m, speed_mps, received_ms, ahead_m: this.#at_m - at_m, aside: this.#aside }
  }

  #spot(course: Course): Spot {
    const { x, y } = course.way.spot(this.#at_m)
    return { x: x + this.#aside.x, y: y + this.#aside.y }
  }

  /** The last fix that is so old; the first one where none is. */
  #before(time_ms: number, age_s: number): Seen | undefined {
    const old = this.#seen.filter((seen) => time_ms - seen.time_ms >= age_s * 1000)
    return old[old.length - 1] ?? this.#seen[0]
  }

  #direction(): Spot {
    const way = this.#course?.way
    return way instanceof Straight ? way.along : ORIGIN
  }

  /** Where on the route a fix is: not farther than the rider can have come, or it latches onto another leg. */
  #find(spot: Spot, time_ms: number, more: FixMore, expected_m: number): number | undefined {
    const [route, last] = [this.#route, this.#onRoute]
    if (!route) return undefined
    let found: Projection
    if (!last || this.#lost >= LOST_FIXES) {
      found = route.project(spot, 0, route.end_m, more.remaining_m === undefined ? undefined : route.end_m - more.remaining_m)
    } else {
      const passed_s = (time_ms - last.time_ms) / 1000
      const within = (mps: number): Projection => route.project(spot, Math.max(last.at_m - SLACK_M, 0), last.at_m + mps * passed_s + SLACK_M, Math.max(expected_m, last.at_m))
      found = within(REACH_MPS)
      if (found.off_m > SLACK_M) found = [found, within(POSSIBLE_MPS)].reduce((a, b) => (b.off_m < a.off_m / 2 ? b : a))
    }
    if (found.off_m > OFF_ROUTE_M) {
      this.#lost += 1
      return undefined
    }
    this.#lost = 0
    this.#onRoute = { at_m: found.at_m, time_ms }
    return found.at_m
  }

  /** How much faster than this clock the fixes' goes: 60 in a simulated day. A burst after a silence says nothing of it. */
  #measurePace(): void {
    const [first, last] = [this.#seen[0]!, this.#seen[this.#seen.length - 1]!]
    const [fixes_ms, here_ms] = [last.time_ms - first.time_ms, last.received_ms - first.received_ms]
    if (here_ms < 3_000 || this.#seen.length < 4) return
    const pace = fixes_ms / here_ms
    this.#pace = pace > 1.5 ? Math.min(pace, 200) : pace < 0.67 ? Math.max(pace, 0.1) : 1
  }
}

const smooth = (part: number): number => {
  const x = Math.min(Math.max(part, 0), 1)
  return x * x * (3 - 2 * x)
}

function unit(from: Spot, to: Spot): Spot {
  const length = apart(from, to)
  return length === 0 ? ORIGIN : { x: (to.x - from.x) / length, y: (to.y - from.y) / length }
}

function toward(from: Spot, to: Spot, most_m: number): Spot {
  const length = apart(from, to)
  if (length <= most_m) return to
  return { x: from.x + ((to.x - from.x) * most_m) / length, y: from.y + ((to.y - from.y) * most_m) / length }
}
