import { expect, test } from 'vitest'
import { Positions, fixOf } from '@/rider/positions.js'
import type { Gps } from '@/rider/positions.js'
import type { Fix } from '@trunkline/client/rest'
import { TestClock } from './world.js'

const reading = (timestamp: number, more: object = {}) =>
  ({ coords: { latitude: 31.2, longitude: 121.4, accuracy: 8, speed: null, heading: NaN, ...more }, timestamp }) as unknown as GeolocationPosition

/** A device that says what the test wants. */
class Device {
  read: PositionCallback | undefined
  failed: PositionErrorCallback | null | undefined
  asked = 0
  watches = 0
  watchPosition = (read: PositionCallback, failed?: PositionErrorCallback | null): number => {
    this.watches += 1
    this.read = read
    this.failed = failed
    return 0
  }
  clearWatch = (): void => {
    this.read = undefined
  }
  getCurrentPosition = (): void => {
    this.asked += 1
  }
  fail(code: number): void {
    this.failed?.({ code } as GeolocationPositionError)
  }
}

function world(device: Device | undefined = new Device(), permissions?: Pick<Permissions, 'query'>) {
  const clock = new TestClock()
  const fixes: Fix[] = []
  const states: Gps[] = []
  const positions = new Positions({ geolocation: device, permissions, clock, battery: () => 71, onReading: (fix) => fixes.push(fix), onGps: (gps) => states.push(gps) })
  return { clock, fixes, states, positions, device }
}

test('readings come as fixes while it is on, and say how good they are', () => {
  const { clock, fixes, states, positions, device } = world()
  positions.start()
  device?.read?.(reading(clock.now() - 400.4))
  device?.read?.(reading(clock.now(), { accuracy: 180, speed: 4.256, heading: 90 }))
  device?.fail(2)
  device?.fail(1)
  positions.stop()
  expect(fixes).toEqual([
    { lat: 31.2, lon: 121.4, fix_time_ms: Math.round(clock.now() - 400.4), accuracy_m: 8, battery_pct: 71 },
    { lat: 31.2, lon: 121.4, fix_time_ms: clock.now(), accuracy_m: 180, speed_mps: 4.26, heading_deg: 90, battery_pct: 71 },
  ])
  expect(states).toEqual(['waiting', 'good', 'inaccurate', 'unavailable', 'denied', 'off'])
})

test('a device that stands is asked, one that speaks by itself isn’t', async () => {
  const { clock, positions, device } = world()
  positions.start()
  await clock.pass(14_000)
  device?.read?.(reading(clock.now()))
  await clock.pass(14_900)
  expect(device?.asked).toBe(0)
  await clock.pass(100)
  expect(device?.asked).toBe(1)
  await clock.pass(60_000)
  expect(device?.asked).toBe(5)
  positions.stop()
  await clock.pass(60_000)
  expect(device?.asked).toBe(5)
})

test('without positions the page says so, and asks nobody', () => {
  const clock = new TestClock()
  const states: Gps[] = []
  const positions = new Positions({ geolocation: undefined, clock, onReading: () => {}, onGps: (gps) => states.push(gps) })
  positions.start()
  positions.start()
  positions.stop()
  expect(states).toEqual(['unsupported'])
})

test('what the server would refuse is left out', () => {
  const now = 1_700_000_000_000
  expect(fixOf(reading(now, { latitude: NaN }), now)).toBeUndefined()
  expect(fixOf(reading(now, { longitude: 181 }), now)).toBeUndefined()
  // A time of another clock (seconds, or since the device began).
  expect(fixOf(reading(now / 1_000, { accuracy: -1, speed: 900, heading: 400 }), now)).toEqual({ lat: 31.2, lon: 121.4, fix_time_ms: now })
})

/** A browser's permission, as the rider changes it. */
function permission(state: PermissionState) {
  const status = { state }
  return { status, query: (() => Promise.resolve(status)) as unknown as Permissions['query'] }
}

test('positions that were denied come back once they are allowed', async () => {
  const permissions = permission('denied')
  const { clock, fixes, states, positions, device } = world(new Device(), permissions)
  positions.start()
  device?.fail(1)
  await clock.pass(60_000)
  expect([device?.watches, device?.asked, states.at(-1)]).toEqual([1, 0, 'denied'])
  permissions.status.state = 'granted'
  await clock.pass(15_000)
  expect([device?.watches, states.at(-1)]).toEqual([2, 'waiting'])
  device?.read?.(reading(clock.now()))
  expect([fixes.length, states.at(-1)]).toEqual([1, 'good'])
  // One timer, as before.
  await clock.pass(15_000)
  expect(device?.asked).toBe(1)
})

test('a question that was put away comes again when the rider comes back, and not by itself', async () => {
  const { clock, states, positions, device } = world(new Device(), permission('prompt'))
  positions.start()
  device?.fail(1)
  await clock.pass(60_000)
  expect(device?.watches).toBe(1)
  await Promise.all([positions.look(true), positions.look(true)])
  expect([device?.watches, states.at(-1)]).toEqual([2, 'waiting'])
  // Ended while the browser was asked.
  device?.fail(1)
  const looked = positions.look(true)
  positions.stop()
  await looked
  expect([device?.watches, states.at(-1)]).toEqual([2, 'off'])
})

test('a browser that doesn’t tell of permissions changes nothing', async () => {
  for (const permissions of [undefined, { query: () => Promise.reject(new TypeError('no such name')) }]) {
    const { states, positions, device } = world(new Device(), permissions)
    positions.start()
    device?.fail(1)
    await positions.look(true)
    expect([device?.watches, states.at(-1)]).toEqual([1, 'denied'])
  }
})
