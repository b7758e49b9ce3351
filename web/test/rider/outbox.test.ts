import { afterEach, expect, test, vi } from 'vitest'
import { forgetRider, openRiderDb } from '@/rider/db.js'
import { Outbox } from '@/rider/outbox.js'
import type { OutboxOptions } from '@/rider/outbox.js'
import { Sender, exclusively } from '@/rider/sender.js'
import { OFFLINE, TestClock, TestServer, newDb, newName, problem, settle, testLocks } from './world.js'

afterEach(() => vi.unstubAllGlobals())

async function rider(server: TestServer, clock: TestClock, more: Partial<OutboxOptions> = {}) {
  const db = more.db ?? (await newDb())
  const outbox = new Outbox({ rest: server, rider: 'r1', now: clock.now, ...more, db })
  const sender = new Sender({ step: () => exclusively('test.outbox', () => outbox.step()), clock, random: () => 0.5 })
  return { db, outbox, sender }
}

test('reports go in order, with their own time, when the network is back', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { outbox, sender } = await rider(server, clock)
  server.before = () => {
    throw OFFLINE
  }
  const began = clock.now()
  await outbox.put('shift', undefined, { on: true })
  sender.wake()
  await clock.pass(60_000)
  await outbox.put('delivered', 'o1', { proof: { code: '42' } })
  await clock.pass(60_000)
  await outbox.put('failed', 'o2', { reason: 'nobody' })
  await outbox.put('shift', undefined, { on: false })
  server.before = () => {}
  sender.wake(true)
  await settle()
  await settle()
  expect(await outbox.list()).toEqual([])
  const now = clock.now()
  expect(server.reports.map(({ verb, body }) => [verb, body])).toEqual([
    ['shift', { on: true }],
    ['delivered', { order: 'o1', proof: { code: '42' }, at_ms: began + 60_000, sent_time_ms: now }],
    ['failed', { order: 'o2', reason: 'nobody', at_ms: began + 120_000, sent_time_ms: now }],
    ['shift', { on: false }],
  ])
  expect(new Set(server.reports.map(({ key }) => key)).size).toBe(4)
})

test('an answer that is lost with the page: the same key again, and the effect of once', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const name = newName()
  const first = await rider(server, clock, { db: await openRiderDb(name) })
  await first.outbox.put('delivered', 'o1', {})
  server.after = () => {
    throw OFFLINE
  }
  first.sender.wake()
  await settle()
  first.sender.stop()
  first.db.close()
  server.after = () => {}
  const second = await rider(server, clock, { db: await openRiderDb(name) })
  second.sender.wake()
  await settle()
  expect(await second.outbox.list()).toEqual([])
  expect(server.reports.map(({ key, body }) => [key, body['at_ms']])).toEqual([
    [server.reports[0]?.key, clock.now()],
    [server.reports[0]?.key, clock.now()],
  ])
  expect(server.effects.size).toBe(1)
})

test('what is refused stands with its reason, the others go on, and it goes when it is dismissed', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const taken: string[] = []
  const { outbox, sender } = await rider(server, clock, { onTaken: ({ order }) => taken.push(order ?? '') })
  server.refuse = (_, { order }) => (order === 'o1' ? problem(409, 'mismatch', { detail: 'the order is another rider’s' }) : undefined)
  for (const order of ['o1', 'o2']) await outbox.put('delivered', order, {})
  sender.wake()
  await settle()
  const left = await outbox.list()
  expect(left.map(({ order, refused }) => [order, refused?.detail])).toEqual([['o1', 'the order is another rider’s']])
  expect(taken).toEqual(['o2'])
  sender.wake(true)
  await settle()
  expect(server.reports.length).toBe(2)
  await outbox.dismiss(left[0]?.id ?? 0)
  expect(await outbox.list()).toEqual([])
})

test('what waits can’t be dismissed, nor can another rider’s', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { db, outbox } = await rider(server, clock)
  await outbox.put('delivered', 'o1', {})
  const [report] = await outbox.list()
  await outbox.dismiss(report?.id ?? 0)
  const other = await rider(server, clock, { db, rider: 'r2' })
  await other.outbox.dismiss(report?.id ?? 0)
  expect((await outbox.list()).length).toBe(1)
  expect(await other.outbox.list()).toEqual([])
  other.sender.wake()
  await settle()
  expect(server.reports).toEqual([])
})

test.each([
  ['an unknown outcome', problem(504, 'outcome_unknown'), 'waiting', false],
  ['too many requests', problem(429, 'too_many_requests'), 'waiting', false],
  ['a hotel’s portal', problem(403, 'about:blank'), 'waiting', false],
  ['an input that was set aside', problem(500, 'set_aside'), 'idle', true],
  ['orders in hand', problem(409, 'orders_in_hand'), 'idle', true],
  ['no token', problem(401, 'unauthorized'), 'signed_out', false],
])('%s', async (_, error, state, refused) => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { outbox, sender } = await rider(server, clock)
  await outbox.put('shift', undefined, { on: false })
  server.before = () => {
    throw error
  }
  sender.wake()
  await settle()
  expect(sender.state.name).toBe(state)
  expect((await outbox.list()).map((report) => report.refused !== undefined)).toEqual([refused])
})

test('two tabs send a report once, and each after the one before', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  vi.stubGlobal('navigator', { locks: testLocks() })
  const name = newName()
  const tabs = [await rider(server, clock, { db: await openRiderDb(name) }), await rider(server, clock, { db: await openRiderDb(name) })]
  server.before = settle
  for (const order of ['o1', 'o2', 'o3']) await tabs[0]?.outbox.put('delivered', order, {})
  for (const { sender } of tabs) sender.wake()
  for (let i = 0; i < 20; i += 1) await settle()
  expect(server.reports.map(({ body }) => body['order'])).toEqual(['o1', 'o2', 'o3'])
  expect(server.mostOpen).toBe(1)
})

test('it is bounded, and says so', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { outbox } = await rider(server, clock, { max: 2 })
  await outbox.put('delivered', 'o1', {})
  await outbox.put('delivered', 'o2', {})
  await expect(outbox.put('delivered', 'o3', {})).rejects.toThrow('2 reports wait')
  expect((await outbox.list()).length).toBe(2)
})

test('signing out leaves nothing of the rider on the device, and all of others', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { db, outbox } = await rider(server, clock)
  await outbox.put('delivered', 'o1', {})
  await (await rider(server, clock, { db, rider: 'r2' })).outbox.put('delivered', 'o2', {})
  for (const one of ['r1', 'r2']) {
    await db.put('board', { rider: one, board: { id: one, on_shift: true, stops: [] }, at_ms: 1 })
    await db.put('fixes', { rider: one, seq: 1, fix: { lat: 1, lon: 1, fix_time_ms: 1 } })
  }
  await forgetRider(db, 'r1')
  const left = await Promise.all([db.getAll('outbox'), db.getAll('board'), db.getAll('fixes')])
  expect(left.map((rows) => rows.map((row) => row.rider))).toEqual([['r2'], ['r2'], ['r2']])
})
