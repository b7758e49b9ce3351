/**
 * A rider's day with a network that comes and goes: what is done and where it was, though nobody could be told, arrives afterwards,
 * once each and in its place; and the page is there without a network from the start. One story in chapters.
 */

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { until } from '../client/rig/wait.js'
import { Rider } from './pages/rider.js'
import { PHONE } from './rig/browser.js'
import { Scene } from './rig/scene.js'
import type { Guest } from './rig/scene.js'
import { Walk, Way, beside } from './rig/way.js'

const RIDER = 'r-alone'
const [FIRST, SECOND] = ['rider-first', 'rider-second']
const warehouse = { lat: 31.248, lon: 121.48 }
const way = new Way([warehouse, beside(warehouse, 2_000, 0)])
/** The device's clock is the server's. */
const EXACT_MS = 2_000

interface Stored {
  seq: number
  fix: { lat: number; lon: number; fix_time_ms: number }
}

let scene: Scene
let guest: Guest
let rider: Rider
let walk: Walk
let failed = false

/** What the page keeps of a kind. */
async function kept<T>(store: string, whose = guest): Promise<T[]> {
  const read = (name: string): Promise<unknown[]> =>
    new Promise((done, fail) => {
      const opening = indexedDB.open('trunkline.rider')
      opening.onerror = () => fail(opening.error)
      opening.onsuccess = () => {
        const all = opening.result.transaction(name).objectStore(name).getAll()
        all.onerror = () => fail(all.error)
        all.onsuccess = () => {
          opening.result.close()
          done(all.result)
        }
      }
    })
  return (await whose.page.evaluate(read, store)) as T[]
}

/** An order's fixes as the server has them: `lat lon`, by `time seq`. */
async function tracked(order: string): Promise<Map<string, string[]>> {
  const { rows } = (await scene.rig.ask('GET', `/v1/orders/${order}/track?format=json&limit=500`)) as unknown as {
    rows: { kind: string; device_time_ms: number; seq: number; lat: number; lon: number }[]
  }
  const found = new Map<string, string[]>()
  for (const { kind, device_time_ms, seq, lat, lon } of rows) {
    if (kind === 'fix') found.set(`${device_time_ms} ${seq}`, [...(found.get(`${device_time_ms} ${seq}`) ?? []), `${lat} ${lon}`])
  }
  return found
}

const state = async (order: string): Promise<Record<string, unknown>> => (await scene.rig.order(order))['state'] as Record<string, unknown>

beforeAll(async () => {
  scene = await Scene.start()
  const rig = scene.rig
  for (const [n, order] of [FIRST, SECOND].entries()) {
    await rig.ask('POST', '/v1/orders', {
      id: order, user_id: 'u-1', amount_minor: 4_200, currency: 'CNY', items: 3, destination: beside(warehouse, 1_000 * (n + 1), 0),
      warehouse: { id: 'w-1', name: '黄浦前置仓', ...warehouse }, contact: { name: '王芳', phone: '13812345678' }, address: `南京东路 ${n + 1} 号`, notes: '放门口',
    })
    await rig.pay(order)
    await rig.depart(order, RIDER)
  }
  guest = await scene.guest('rider', { ...PHONE })
  rider = await Rider.open(guest, rig.token('rider', RIDER), warehouse)
  walk = new Walk(way, guest.context)
})
afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail' || failed) return
  failed = true
  console.error(`what was seen: ${await scene.evidence()}`)
})
afterAll(async () => {
  await walk?.stop()
  await scene?.stop()
})

test('the stops are there, in order, and the token is out of the address', async () => {
  await rider.shows('both stops', async () => (await rider.stops()).join() === [FIRST, SECOND].join())
  expect(await rider.text('address')).toBe('南京东路 1 号')
  expect(await rider.attribute('call', 'href')).toBe('tel:13812345678')
  expect(await rider.attribute('map-link', 'href')).toMatch(/^geo:31\.248/)
  expect(guest.page.url()).not.toContain('token')
  await rider.isLive()
  // Its worker has put everything away.
  await guest.page.evaluate(async () => void (await navigator.serviceWorker.ready))
})

test('a rider whom nobody knows yet begins a shift, and gets an order', async () => {
  const other = await scene.guest('newcomer', { ...PHONE })
  const newcomer = await Rider.open(other, scene.rig.token('rider', 'r-new'), warehouse)
  await newcomer.shows('that there is nothing to do', async () => (await newcomer.by('no-stops').count()) === 1)
  await newcomer.beginShift()
  await newcomer.isLive(60_000)
  await scene.rig.ask('POST', `/v1/orders/${SECOND}/assign`, { rider: 'r-new' })
  await newcomer.shows('the order', async () => (await newcomer.stops()).join() === SECOND)
  await newcomer.by('show-map').click()
  await newcomer.isDrawn()
  await scene.rig.ask('POST', `/v1/orders/${SECOND}/assign`, { rider: RIDER })
  await newcomer.shows('that it is gone', async () => (await newcomer.stops()).length === 0)
  expect(JSON.stringify(await kept('board', other))).not.toContain('南京东路')
  expect(other.wrong).toEqual([])
  await scene.leave(other)
})

test('positions of an offline spell arrive once each, in their place', async () => {
  // The server has the rider on shift, so the page has as well.
  await rider.shows('the shift', async () => (await rider.attribute('shift', 'aria-checked')) === 'true')
  walk.pace = 8
  await rider.shows('positions that arrive', async () => Number(await rider.attribute('acked', 'data-acked')) >= 2)
  const before = (await tracked(FIRST)).size
  expect(before).toBeGreaterThanOrEqual(2)
  guest.cable.cut()
  await rider.shows('positions that wait', async () => (await rider.waiting()) >= 4)
  expect(await rider.connection()).not.toBe('live')
  const offline = await kept<Stored>('fixes')
  expect((await tracked(FIRST)).size).toBeLessThanOrEqual(before + 1)
  guest.cable.mend()
  await rider.shows('nothing waits', async () => (await rider.waiting()) === 0)
  const rows = await tracked(FIRST)
  for (const { seq, fix } of offline) {
    const found = rows.get(`${fix.fix_time_ms} ${seq}`)
    expect(found, `seq ${seq}`).toHaveLength(1)
    const [lat, lon] = (found?.[0] ?? '').split(' ').map(Number)
    expect([lat, lon]).toEqual([expect.closeTo(fix.lat, 6), expect.closeTo(fix.lon, 6)])
  }
  expect([...rows.values()].every((times) => times.length === 1)).toBe(true)
})

test('a cold start without a network shows the stops, and takes deliveries with their own time', async () => {
  guest.cable.cut()
  // Nothing of the page is left but what it stored.
  await guest.page.goto('about:blank')
  await guest.open('/rider')
  await rider.shows('the stops that were known', async () => (await rider.stops()).join() === [FIRST, SECOND].join())
  expect(await rider.text('address')).toBe('南京东路 1 号')
  expect(await rider.connection()).toMatch(/offline|old|reconnecting/)
  const earlier = await rider.waiting()
  await rider.deliverBySwipe()
  const at = Date.now()
  await rider.shows('the report waits', async () => (await rider.attribute('waiting-reports', 'data-count')) === '1')
  await rider.shows('the next stop', async () => (await rider.stops()).join() === SECOND)
  // Whom it went to is nobody's business any more, on the device as well.
  expect(JSON.stringify(await kept('board'))).not.toContain('南京东路 1 号')
  await rider.shows('positions after the cold start', async () => (await rider.waiting()) > earlier)
  await until('some time without network', 10_000, () => Date.now() > at + 5_000)
  expect((await state(FIRST))['status']).toBe(3)
  await rider.shows('that this is old', async () => /offline|old/.test(await rider.connection()))
  const offline = await kept<Stored>('fixes')
  guest.cable.mend()
  await until('the delivery', 60_000, async () => (await state(FIRST))['status'] === 4)
  expect(Math.abs(((await state(FIRST))['completed_at_ms'] as number) - at)).toBeLessThan(EXACT_MS)
  await rider.shows('nothing waits', async () => (await rider.waiting()) === 0 && (await rider.by('waiting-reports').count()) === 0)
  await rider.isLive()
  const rows = await tracked(SECOND)
  for (const { seq, fix } of offline) expect(rows.get(`${fix.fix_time_ms} ${seq}`), `seq ${seq}`).toHaveLength(1)
})

test('a network that is silent is not waited for', async () => {
  guest.cable.silence()
  const began = Date.now()
  await guest.page.reload({ waitUntil: 'domcontentloaded' })
  await rider.shows('the stop', async () => (await rider.stops()).join() === SECOND, 8_000)
  expect(Date.now() - began).toBeLessThan(8_000)
  guest.cable.mend()
})

test('a delivery that is refused is shown with the reason, and goes when it is read', async () => {
  await rider.isLive(60_000)
  guest.cable.cut()
  await rider.by('trouble').click()
  await rider.by('trouble-reason').selectOption('no_answer')
  await rider.by('trouble-send').click()
  await rider.shows('the report waits', async () => (await rider.attribute('waiting-reports', 'data-count')) === '1')
  await rider.deliverByKey()
  await rider.shows('both wait', async () => (await rider.attribute('waiting-reports', 'data-count')) === '2')
  // Meanwhile somebody else has it.
  await scene.rig.ask('POST', `/v1/orders/${SECOND}/assign`, { rider: 'r-other' })
  guest.cable.mend()
  await rider.shows('two refusals', async () => (await rider.by('refused').count()) === 2)
  expect((await state(SECOND))['status']).toBe(3)
  await rider.by('dismiss').first().click()
  await rider.shows('one refusal', async () => (await rider.by('refused').count()) === 1)
  await rider.by('dismiss').first().click()
  await rider.shows('no refusal', async () => (await rider.by('refused').count()) === 0)
})

test('signing out leaves nothing on the device', async () => {
  await walk.stop()
  await rider.by('shift').click()
  await rider.shows('the shift’s end', async () => (await rider.attribute('shift', 'aria-checked')) === 'false')
  await rider.shows('nothing waits', async () => (await rider.waiting()) === 0 && (await rider.by('waiting-reports').count()) === 0)
  await until('the server knows', 10_000, async () => (await scene.rig.ask('GET', `/v1/riders/${RIDER}`))['on_shift'] === false)
  const other = await guest.context.newPage()
  await other.goto(guest.page.url())
  await other.getByTestId('shift').waitFor()
  expect(await guest.page.evaluate(() => localStorage.getItem('trunkline.token.rider'))).not.toBeNull()
  // The page is loaded anew when all is gone.
  await Promise.all([guest.page.waitForEvent('load'), rider.by('sign-out').click()])
  await rider.shows('the sign-in', async () => (await rider.signedOut()) === 'no_token')
  for (const store of ['fixes', 'outbox', 'aside', 'board', 'figures']) expect(await kept(store), store).toEqual([])
  // Whatever pages kept: nothing is left, neither here nor by another tab that was open.
  const tokens = (): Promise<string[]> => guest.page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('trunkline.token')))
  expect(await tokens()).toEqual([])
  await other.getByTestId('sign-in').waitFor()
  expect(await tokens()).toEqual([])
  expect(await kept('board')).toEqual([])
  expect(guest.wrong).toEqual([])
})
