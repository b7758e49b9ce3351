/**
 * An order from its creation to its end on the three screens at once, beside other traffic, with all that befalls it on the way: networks
 * that are cut, servers that are restarted, tokens that expire, a link that is revoked. One story in chapters: each needs those before it.
 */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../client/rig/wait.js'
import { Customer } from './pages/customer.js'
import { Ops } from './pages/ops.js'
import { Rider } from './pages/rider.js'
import type { Screen } from './pages/screen.js'
import { DESK, PHONE } from './rig/browser.js'
import { Scene } from './rig/scene.js'
import type { Guest, Simulation } from './rig/scene.js'
import { Walk, Way, apart_m, beside } from './rig/way.js'
import type { Spot } from './rig/way.js'

const STATUS = { unpaid: '待支付', paid: '仓库处理中', delivering: '配送中', completed: '已送达' }
const ORDER = 'journey'
/** The same rider's stop before it. */
const FIRST = 'before'
const RIDER = 'r-one'
/** Of who ordered both. */
const NUMBER = '13812345678'
const warehouse = { lat: 31.248, lon: 121.48 }
const way = new Way([warehouse, beside(warehouse, 700, 0), beside(warehouse, 700, 500)])
const door = way.at(Infinity)

interface Row extends Spot {
  kind: string
  fix_time_ms: number
  device_time_ms: number
  seq: number
  mark: string
}

let scene: Scene
let traffic: Simulation
let ops: Ops
let rider: Rider
let walk: Walk
/** Who ordered, by the order's id; somebody with a link; and the first one again, whose token is short-lived. */
let own: Customer
let linked: Customer
let brief: Customer
const all = (): Screen[] => [ops, rider, own, linked]

/** A guest whose browser knows nobody yet. */
const guest = (name: string, desk = false): Promise<Guest> => scene.guest(name, desk ? DESK : PHONE)

async function create(order: string, destination: Spot, more: object = {}): Promise<void> {
  await scene.rig.ask('POST', '/v1/orders', {
    id: order, user_id: 'u-1', amount_minor: 8_850, currency: 'CNY', items: 6, destination,
    warehouse: { id: 'w-1', name: '黄浦前置仓', ...warehouse }, contact: { name: '王芳', phone: NUMBER }, address: '南京东路 1 号', ...more,
  })
}

async function fixes(): Promise<Row[]> {
  const { rows } = (await scene.rig.ask('GET', `/v1/orders/${ORDER}/track?format=json&limit=500`)) as unknown as { rows: Row[] }
  return rows.filter(({ kind }) => kind === 'fix')
}

beforeAll(async () => {
  // Tokens end when they say so, and connections soon after.
  scene = await Scene.start({ TRUNKLINE_AUTH__LEEWAY_S: '1', TRUNKLINE_AUTH__EXPIRY_GRACE_S: '2', TRUNKLINE_HTTP__DRAIN_S: '2' })
  const past = await scene.simulate('--scale', '120', '--orders', '8', '--riders', '6', '--prefix', 'past-')
  expect(await past.end(), 'the past went well').toBe(0)
  // At life's pace, as the phone's own clock goes; the cell's is some minutes ahead of it by now.
  traffic = await scene.simulate('--scale', '1', '--orders', '12', '--riders', '6', '--for', '600', '--prefix', 'now-')
  await scene.rules({ off_route: { raise_after_ms: 3_000, clear_after_ms: 2_000 } })
})
let failed = false
afterEach(async ({ task }) => {
  if (task.result?.state !== 'fail' || failed) return
  failed = true
  console.error(`what was seen: ${await scene.evidence(ORDER)}`)
})
afterAll(async () => {
  await walk?.stop()
  await scene?.stop()
})

describe.sequential('an order', () => {
  test('is created, and seen by who ordered it, by who has a link, and in the console', async () => {
    await create(FIRST, way.at(250))
    await create(ORDER, door, { route: way.geoJson })
    ops = await Ops.open(await guest('ops', true), scene.rig.token('operations', 'alice'))
    own = await Customer.open(await guest('own'), ORDER, scene.rig.token('customer', 'u-1'))
    await ops.isLive()
    await ops.openOrder(ORDER)
    await ops.showsStatus(STATUS.unpaid)
    linked = await Customer.open(await guest('linked'), await ops.share())
    rider = await Rider.open(await guest('rider'), scene.rig.token('rider', RIDER), warehouse)
    walk = new Walk(way, rider.guest.context)
    for (const customer of [own, linked]) {
      await customer.showsStatus(STATUS.unpaid)
      await customer.isLive()
    }
    // The rider's first day: nobody knows this rider before.
    await rider.beginShift()
    await until('the rider is on shift', 30_000, async () => (await scene.rig.ask('GET', `/v1/riders/${RIDER}`).catch(() => ({ on_shift: false })))['on_shift'])
    await rider.isLive()
    expect(own.guest.page.url(), 'a token stays in no address').not.toContain('token')
  })

  test('is found in the console by the end of its contact’s number', async () => {
    await ops.openOrder(FIRST)
    await ops.openByPhone(NUMBER.slice(-4), ORDER)
    await ops.showsStatus(STATUS.unpaid)
  })

  test('is paid and picked: stages and arrival are told', async () => {
    for (const order of [FIRST, ORDER]) await scene.rig.pay(order)
    for (const screen of [own, linked, ops]) await screen.showsStatus(STATUS.paid)
    const stage = (order: string, stage: string): Promise<unknown> => scene.rig.ask('POST', `/v1/warehouses/w-1/orders/${order}/stages/${stage}`, {})
    for (const customer of [own, linked]) await customer.shows('what comes next', async () => (await customer.step('paid')) === 'done')
    await stage(ORDER, 'picking')
    for (const customer of [own, linked]) await customer.shows('picking', async () => (await customer.step('picking')) === 'now' && (await customer.text('stage-picking')).includes('拣货中'))
    await stage(ORDER, 'packed')
    await stage(FIRST, 'packed')
    for (const customer of [own, linked]) await customer.shows('picked', async () => (await customer.step('picking')) === 'done' && (await customer.step('handed_over')) === 'now')
    for (const customer of [own, linked]) await customer.shows('an arrival', async () => /\d\d:\d\d/.test(await customer.eta()))
  })

  test('leaves with a rider who has another stop before it', async () => {
    for (const order of [FIRST, ORDER]) await scene.rig.ask('POST', `/v1/orders/${order}/assign`, { rider: RIDER })
    for (const screen of [own, linked, ops]) await screen.showsStatus(STATUS.delivering)
    await rider.shows('both stops, in order', async () => (await rider.stops()).join() === [FIRST, ORDER].join())
    for (const customer of [own, linked]) await customer.shows('one stop before', async () => (await customer.stopsAhead()).includes('1'))
    walk.pace = 12
    await own.shows('the rider on the map', async () => (await own.marker()) !== undefined)
    await linked.shows('the rider on the map', async () => (await linked.marker()) !== undefined)
  })

  test('comes nearer: the marker moves, without jumps', async () => {
    const from = (await own.marker()) as Spot
    await own.watchSteps()
    await own.shows('the marker moving', async () => apart_m((await own.marker()) ?? from, from) > 80)
    const { moves, longest_m } = await own.steps()
    expect(moves, 'it glides').toBeGreaterThan(20)
    // Fixes are 60 m apart.
    expect(longest_m).toBeLessThan(30)
    walk.pace = 4
    await rider.deliverByKey()
    for (const customer of [own, linked]) await customer.shows('no stop before', async () => !(await customer.stopsAhead()).includes('1'))
    await rider.shows('one stop', async () => (await rider.stops()).join() === ORDER)
    expect((await scene.rig.order(FIRST))['state']).toMatchObject({ status: 4 })
  })

  test('goes astray: operations are alerted, and take note by keyboard', async () => {
    walk.pace = 3
    // From another's door one may come by any way, till one is on the planned one.
    const before = (await fixes()).length
    await until('two fixes on the way', 60_000, async () => (await fixes()).length > before + 1)
    // Away at once, and no faster than a rider may.
    walk.aside_m = 110
    await ops.alerted(ORDER)
    await ops.acknowledgeByKey(ORDER, '已联系骑手，修路绕行')
    const alert = await until('the note is taken', 30_000, async () => {
      const { alerts } = (await scene.rig.ask('GET', `/v1/alerts?order=${ORDER}&state=acknowledged`)) as { alerts: Record<string, unknown>[] }
      return alerts[0]
    })
    expect(alert).toMatchObject({ kind: 'off_route', acknowledged_by: 'alice', acknowledged_note: '已联系骑手，修路绕行' })
    await ops.shows('the note', async () => (await ops.text('acknowledged-note')).includes('修路绕行'))
    await ops.openOrder(ORDER)
    walk.aside_m = 0
  })

  test('is followed though networks are cut: the screens say so, and each fix arrives once, in its place', async () => {
    const before = await fixes()
    walk.pace = 6
    const began = Date.now()
    linked.guest.cable.silence()
    rider.guest.cable.cut()
    own.guest.cable.cut()
    await own.shows('a lost connection', async () => ['reconnecting', 'old'].includes(await own.connection()))
    await rider.shows('a lost connection', async () => !['live', 'connecting'].includes(await rider.connection()))
    await linked.shows('old data, though nothing was reset', async () => ['old', 'reconnecting'].includes(await linked.connection()), 60_000)
    await rider.shows('fixes that wait', async () => (await rider.waiting()) >= 4, 60_000)
    expect(Math.max(...(await fixes()).map(({ seq }) => seq)), 'none came').toBeLessThanOrEqual(Math.max(...before.map(({ seq }) => seq)) + 1)
    const waiting = await rider.waiting()
    for (const { guest } of [linked, rider, own]) guest.cable.mend()
    const ended = Date.now()
    for (const screen of [own, linked, rider]) await screen.isLive(60_000)
    await rider.shows('nothing waits', async () => (await rider.waiting()) === 0, 60_000)
    const rows = (await fixes()).sort((a, b) => a.fix_time_ms - b.fix_time_ms)
    const late = rows.filter(({ device_time_ms }) => device_time_ms > began && device_time_ms < ended)
    expect(late.length).toBeGreaterThanOrEqual(waiting)
    // None is missing, none is there twice, and by their times they are in the order in which they were taken.
    const seqs = rows.map(({ seq }) => seq)
    expect(seqs).toEqual(seqs.map((_, n) => (seqs[0] as number) + n))
    expect(rows.map(({ device_time_ms }) => device_time_ms)).toEqual(rows.map(({ device_time_ms }) => device_time_ms).sort((a, b) => a - b))
    expect(new Set(rows.map(({ device_time_ms }) => device_time_ms)).size).toBe(rows.length)
    // Where the rider was then: the way's metres grow with time.
    expect(late.every((row, n) => n === 0 || apart_m(row, door) <= apart_m(late[n - 1] as Row, door) + 1)).toBe(true)
  })

  test.each(['SIGTERM', 'SIGKILL'] as const)('outlives its server (%s)', async (signal) => {
    walk.pace = 2
    await scene.rig.stopServer(signal)
    for (const screen of all()) await screen.shows('a lost connection', async () => (await screen.connection()) !== 'live')
    await scene.rig.startServer()
    for (const screen of all()) await screen.isLive(60_000)
    // What happens now arrives too.
    const seen = await own.marker()
    walk.pace = 10
    await own.shows('the marker moving', async () => apart_m((await own.marker()) ?? door, seen ?? door) > 30)
    for (const { guest } of all()) expect(await guest.isUnreloaded(), `${guest.name} is the same page`).toBe(true)
  })

  test('is followed with a newer token when one has expired', async () => {
    brief = await Customer.open(await guest('brief'), ORDER, scene.rig.token('customer', 'u-1', '4s'))
    await brief.showsStatus(STATUS.delivering)
    await brief.shows('an expired sign-in', async () => (await brief.signedOut()) === 'token_expired', 60_000)
    expect(await brief.status(), 'what was shown stays').toContain(STATUS.delivering)
    await brief.signIn(scene.rig.token('customer', 'u-1'))
    await brief.isLive()
    expect(await brief.signedOut()).toBe('')
    expect(await brief.guest.isUnreloaded()).toBe(true)
    await scene.leave(brief.guest)
  })

  test('is hidden from who had a link that is revoked in the console', async () => {
    await ops.revokeShare()
    await linked.shows('a revoked link', async () => (await linked.gone()) === 'revoked')
    expect(await linked.marker(), 'the rider isn’t shown any more').toBeUndefined()
    await own.isLive()
  })

  test('is delivered by a swipe, and seen as such by all', async () => {
    walk.pace = 25
    await until('the rider is at the door', 60_000, async () => {
      const last = (await fixes()).sort((a, b) => a.fix_time_ms - b.fix_time_ms).at(-1)
      return last !== undefined && apart_m(last, door) < 60
    })
    await rider.deliverBySwipe()
    await own.showsStatus(STATUS.completed)
    await ops.showsStatus(STATUS.completed)
    await rider.shows('no stops', async () => (await rider.stops()).length === 0)
    expect((await scene.rig.order(ORDER))['state']).toMatchObject({ status: 4 })
  })

  test('is replayed, back and forth', async () => {
    await ops.openReplay()
    await ops.seek(0)
    await ops.shows('the beginning', async () => (await ops.status()).includes(STATUS.unpaid))
    await ops.seek(1)
    await ops.shows('the end', async () => (await ops.status()).includes(STATUS.completed))
    await ops.seek(0.6)
    await ops.shows('the way', async () => (await ops.status()).includes(STATUS.delivering))
    await ops.seek(0)
    await ops.shows('the beginning again', async () => (await ops.status()).includes(STATUS.unpaid))
  })

  test('wasn’t alone, and no page went wrong', async () => {
    const { orders } = (await scene.rig.ask('GET', '/v1/orders?limit=100')) as unknown as { orders: { state: { id: string } }[] }
    expect(orders.filter(({ state }) => state.id.startsWith('now-')).length, 'orders of others meanwhile').toBeGreaterThan(0)
    expect(await traffic.stop(), 'nothing of the other traffic was refused').toBe(0)
    for (const { guest } of all()) expect(guest.wrong, guest.name).toEqual([])
  })
})
