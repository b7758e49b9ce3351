import { expect, test } from 'vitest'
import type { Place } from '@trunkline/client'
import { Motion } from '@/map/motion.js'
import type { Drawn } from '@/map/motion.js'
import { Plane, Route, distance } from '@/map/route.js'

const plane = new Plane({ lat: 31.23, lon: 121.47 })
const at = (x: number, y: number): Place => plane.place({ x, y })
const east = Route.of([at(0, 0), at(20_000, 0)])!
const x = (drawn: Drawn | undefined): number => plane.spot(drawn!).x

/** Draws 60 times a second; returns the longest step. */
function run(motion: Motion, from_ms: number, to_ms: number, look?: (drawn: Drawn, now: number) => void): number {
  let longest = 0
  let last: Drawn | undefined
  for (let now = from_ms; now <= to_ms; now += 1000 / 60) {
    const drawn = motion.at(now)!
    if (last) longest = Math.max(longest, distance(last, drawn))
    look?.(drawn, now)
    last = drawn
  }
  return longest
}

test('nothing is drawn before the first fix, and that one stands', () => {
  const motion = new Motion(east)
  expect(motion.at(0)).toBeUndefined()
  motion.fix(at(100, 5), 0, 0)
  expect(x(motion.at(0))).toBeCloseTo(100, 0)
  expect(x(motion.at(60_000))).toBeCloseTo(100, 0)
})

test('glides along the route and stops 15 s after the last fix, no farther than the reckoning', () => {
  const motion = new Motion(east)
  for (const n of [0, 1, 2]) {
    motion.fix(at(100 + 75 * n, 0), 15_000 * n, 15_000 * n)
    run(motion, 15_000 * n, 15_000 * (n + 1) - 1)
  }
  // 5 m/s, falling with 40 s: 40 · 5 · (1 − e^(−15/40)) ≈ 62.5 m at most.
  const farthest = 250 + 40 * 5 * (1 - Math.exp(-15 / 40))
  expect(x(motion.at(45_000))).toBeCloseTo(farthest, 0)
  expect(x(motion.at(600_000))).toBeCloseTo(farthest, 0)
})

test('a marker that went too far by less than 15 m waits; from farther it goes back', () => {
  const ahead = (braked_m: number): { least: number; begin: number } => {
    const motion = new Motion(east)
    for (const n of [0, 1]) motion.fix(at(150 * n, 0), 15_000 * n, 15_000 * n)
    run(motion, 15_000, 30_000)
    const begin = x(motion.at(30_000))
    motion.fix(at(150 + braked_m, 0), 30_000, 30_000)
    let least = Infinity
    run(motion, 30_000, 45_000, (drawn) => (least = Math.min(least, x(drawn))))
    return { least, begin }
  }
  const little = ahead(115)
  expect(little.least).toBeGreaterThanOrEqual(little.begin - 0.1)
  const far = ahead(0)
  expect(far.begin - far.least).toBeGreaterThan(80)
})

test('no step is longer than 28 m, also after a long gap and on another route', () => {
  const motion = new Motion(east)
  motion.fix(at(0, 0), 0, 0)
  run(motion, 0, 15_000)
  motion.fix(at(6_000, 0), 400_000, 400_000)
  expect(run(motion, 400_000, 415_000)).toBeLessThan(28.1)
  expect(x(motion.at(415_000))).toBeGreaterThan(6_000)
  const before = motion.at(415_001)!
  motion.setRoute(Route.of([at(0, 3_000), at(9_000, 3_000)]))
  expect(distance(before, motion.at(415_017)!)).toBeLessThan(28.1)
  motion.fix(at(6_200, 3_000), 420_000, 420_000)
  expect(distance(motion.at(415_033)!, motion.at(420_000)!)).toBeLessThan(28.1)
  expect(run(motion, 420_000, 430_000)).toBeLessThan(28.1)
  expect(plane.spot(motion.at(430_000)!).y).toBeCloseTo(3_000, -1)
})

test('a rider who stands doesn’t wander with the jitter, with a route and without', () => {
  for (const route of [east, undefined]) {
    const motion = new Motion(route)
    motion.fix(at(500, 0), 0, 0)
    const first = motion.at(0)!
    let farthest = 0
    for (let n = 1; n < 40; n += 1) {
      motion.fix(at(500 + 4 * Math.sin(n * 2.1), 4 * Math.cos(n * 3.7)), n * 15_000, n * 15_000)
      run(motion, n * 15_000, n * 15_000 + 14_000, (drawn) => (farthest = Math.max(farthest, distance(first, drawn))))
    }
    expect(farthest).toBeLessThan(12)
    expect(distance(first, motion.at(600_000)!)).toBeLessThan(8)
  }
})

test('without a route it goes the way of the last fixes, and turns with them', () => {
  const motion = new Motion()
  motion.fix(at(0, 0), 0, 0)
  motion.fix(at(75, 0), 15_000, 15_000)
  run(motion, 15_000, 25_000)
  const drawn = motion.at(25_000)!
  expect(drawn.heading_deg).toBeCloseTo(90, 0)
  expect(x(drawn)).toBeGreaterThan(75 + 20)
  motion.fix(at(110, 60), 30_000, 30_000)
  expect(run(motion, 30_000, 36_000)).toBeLessThan(5)
  expect(plane.spot(motion.at(36_000)!).y).toBeGreaterThan(50)
})

test('off the route the marker is where the rider is', () => {
  const motion = new Motion(east)
  motion.fix(at(1_000, 0), 0, 0)
  motion.fix(at(1_075, 10), 15_000, 15_000)
  motion.fix(at(1_090, 200), 45_000, 45_000)
  run(motion, 45_000, 60_000)
  expect(plane.spot(motion.at(60_000)!).y).toBeGreaterThan(195)
  motion.fix(at(1_300, 5), 90_000, 90_000)
  run(motion, 90_000, 105_000)
  expect(Math.abs(plane.spot(motion.at(105_000)!).y)).toBeLessThan(1)
})

test('older fixes and repeated ones change nothing', () => {
  const motion = new Motion(east)
  motion.fix(at(300, 0), 15_000, 15_000)
  motion.fix(at(0, 0), 0, 16_000)
  motion.fix(at(900, 0), 15_000, 17_000)
  expect(x(motion.at(40_000))).toBeCloseTo(300, 0)
})

test('a first fix is on the leg that the remaining way says', () => {
  const back = Route.of([at(0, 0), at(1_000, 0), at(1_000, 20), at(0, 20)])!
  const out = new Motion(back)
  const home = new Motion(back)
  out.fix(at(500, 10), 0, 0, { remaining_m: 1_520 })
  home.fix(at(500, 10), 0, 0, { remaining_m: 500 })
  expect([plane.spot(out.at(0)!).y, plane.spot(home.at(0)!).y]).toEqual([expect.closeTo(0, 0), expect.closeTo(20, 0)])
})

test('in a city at 60 times life’s pace the marker keeps up', () => {
  const motion = new Motion(east)
  // 5 m/s, a fix every 15 s of the city: every 250 ms here.
  let longest = 0
  for (let n = 0; n < 80; n += 1) {
    motion.fix(at(75 * n, 0), 15_000 * n, 250 * n)
    longest = Math.max(longest, run(motion, 250 * n, 250 * n + 249))
  }
  expect(Math.abs(x(motion.at(20_000)) - 75 * 79)).toBeLessThan(100)
  expect(longest).toBeLessThan(28.1)
})

test('a rider on foot who is heard of each second moves evenly', () => {
  const motion = new Motion(east)
  for (let n = 0; n < 60; n += 1) {
    motion.fix(at(1.3 * n, 0), n * 1_000, n * 1_000)
    const before = x(motion.at(n * 1_000))
    expect(run(motion, n * 1_000, n * 1_000 + 999)).toBeLessThan(1)
    if (n > 20) expect(x(motion.at(n * 1_000 + 999)) - before).toBeGreaterThan(0.5)
  }
  expect(Math.abs(x(motion.at(60_000)) - 78)).toBeLessThan(5)
})
