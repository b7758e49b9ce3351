import { afterEach, expect, test, vi } from 'vitest'
import { FixQueue, isNews } from '@/rider/fixes.js'
import type { FixQueueOptions } from '@/rider/fixes.js'
import { openRiderDb } from '@/rider/db.js'
import { Sender, exclusively } from '@/rider/sender.js'
import { OFFLINE, TestClock, TestServer, newDb, newName, problem, settle, testLocks } from './world.js'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

const fix = (ms: number, more: object = {}) => ({ lat: 31.2 + (ms % 1e7) / 1e9, lon: 121.4, fix_time_ms: ms, speed_mps: 5, ...more })

async function rider(server: TestServer, clock: TestClock, more: Partial<FixQueueOptions> = {}) {
  const db = more.db ?? (await newDb())
  const queue = new FixQueue({ rest: server, rider: 'r1', now: clock.now, ...more, db })
  const sender = new Sender({ step: () => exclusively('test.fixes', () => queue.step()), clock, random: () => 0.5 })
  return { db, queue, sender }
}

test('an offline spell arrives whole, in order, each once, in batches', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { queue, sender } = await rider(server, clock, { batch: 20 })
  server.before = () => {
    throw OFFLINE
  }
  const began = clock.now()
  for (let i = 0; i < 50; i += 1) {
    expect(await queue.add(fix(began + i * 5_000))).toBe('stored')
    sender.wake()
    await clock.pass(5_000)
  }
  expect((await queue.stats()).waiting).toBe(50)
  server.before = () => {}
  sender.wake(true)
  await settle()
  await settle()
  const { waiting, acked, acked_at_ms } = await queue.stats()
  expect({ waiting, acked, acked_at_ms }).toEqual({ waiting: 0, acked: 50, acked_at_ms: clock.now() })
  expect(server.batches.map(({ fixes }) => fixes.length)).toEqual([20, 20, 10])
  const sent = server.batches.flatMap(({ fixes }) => fixes)
  expect(sent.map((one) => one.seq)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
  expect(sent.map((one) => one.fix_time_ms)).toEqual(Array.from({ length: 50 }, (_, i) => began + i * 5_000))
  expect(server.batches[0]?.sent).toBe(clock.now())
})

test('an answer that is lost, and a page that dies with it, send the same fixes again and none twice', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const name = newName()
  const first = await rider(server, clock, { db: await openRiderDb(name) })
  for (let i = 0; i < 3; i += 1) await first.queue.add(fix(clock.now() + i * 5_000))
  server.after = () => {
    throw OFFLINE
  }
  first.sender.wake()
  await settle()
  expect(first.sender.state.name).toBe('waiting')
  first.sender.stop()
  first.db.close()
  // The page is opened again.
  server.after = () => {}
  const second = await rider(server, clock, { db: await openRiderDb(name) })
  await second.queue.add(fix(clock.now() + 15_000))
  second.sender.wake()
  await settle()
  expect((await second.queue.stats()).waiting).toBe(0)
  expect([...server.fixesSeen.values()]).toEqual([2, 2, 2, 1])
  expect(server.batches[0]?.fixes).toEqual(server.batches[1]?.fixes.slice(0, 3))
})

test('a fix that the server can’t read stands aside, and the others go on', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { db, queue, sender } = await rider(server, clock)
  for (let i = 0; i < 5; i += 1) await queue.add(fix(clock.now() + i * 5_000, i === 3 ? { lat: 99 } : {}))
  server.bad = ({ lat }) => lat > 90
  sender.wake()
  await settle()
  const { waiting, aside, acked } = await queue.stats()
  expect({ waiting, aside, acked }).toEqual({ waiting: 0, aside: 1, acked: 4 })
  expect((await db.getAll('aside')).map(({ fix, reason }) => [fix.seq, reason])).toEqual([[4, 'fixes[3].lat: is out of range']])
})

test('without a good token all stays, and goes with the next one', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { queue, sender } = await rider(server, clock)
  await queue.add(fix(clock.now()))
  server.before = () => {
    throw problem(401, 'unauthorized')
  }
  sender.wake()
  await settle()
  expect(sender.state.name).toBe('signed_out')
  sender.wake(true)
  await clock.pass(60_000)
  expect([server.mostOpen, server.batches.length, (await queue.stats()).waiting]).toEqual([1, 0, 1])
  server.before = () => {}
  sender.signedIn()
  await settle()
  expect((await queue.stats()).waiting).toBe(0)
})

test('an answer that isn’t the server’s deletes nothing', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const portal = { fixes: async () => undefined as never }
  const { queue, sender } = await rider(server, clock, { rest: portal })
  await queue.add(fix(clock.now()))
  sender.wake()
  await settle()
  expect([sender.state.name, (await queue.stats()).waiting]).toEqual(['waiting', 1])
})

test('what is refused for its size goes in smaller batches', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const sizes: number[] = []
  const small: FixQueueOptions['rest'] = {
    fixes: async (who, fixes, sent) => {
      sizes.push(fixes.length)
      if (fixes.length > 3) throw problem(413, 'too_large')
      return await server.fixes(who, fixes, sent)
    },
  }
  const { queue, sender } = await rider(server, clock, { rest: small, batch: 8 })
  for (let i = 0; i < 8; i += 1) await queue.add(fix(clock.now() + i * 5_000))
  sender.wake()
  await settle()
  expect(sizes).toEqual([8, 4, 2, 6, 3, 3])
  expect([...server.fixesSeen.values()]).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
})

test('backoff grows with jitter, a server’s delay is kept, and the network’s return cuts the rest short', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { queue, sender } = await rider(server, clock)
  await queue.add(fix(clock.now()))
  let asked = 0
  server.before = () => {
    asked += 1
    throw OFFLINE
  }
  const waits: (number | undefined)[] = []
  sender.wake()
  for (let i = 0; i < 7; i += 1) {
    await settle()
    waits.push(clock.dueIn)
    await clock.pass(clock.dueIn ?? 0)
  }
  expect(waits).toEqual([750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500])
  const before = asked
  sender.wake(false)
  await settle()
  expect(asked).toBe(before)
  server.before = () => {
    throw problem(429, 'too_many_requests', { retry_after_ms: 40_000 })
  }
  sender.wake(true)
  await settle()
  expect(clock.dueIn).toBe(40_000)
  server.before = () => {}
  sender.wake(true)
  await settle()
  expect((await queue.stats()).waiting).toBe(1)
  await clock.pass(40_000)
  expect((await queue.stats()).waiting).toBe(0)
})

test('two tabs store each reading once and send nothing twice', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  vi.stubGlobal('navigator', { locks: testLocks() })
  const name = newName()
  const tabs = [await rider(server, clock, { db: await openRiderDb(name) }), await rider(server, clock, { db: await openRiderDb(name) })]
  server.before = settle
  for (let i = 0; i < 4; i += 1) {
    const reading = fix(clock.now())
    const kept = await Promise.all(tabs.map(({ queue }) => queue.add(reading)))
    expect(kept.sort()).toEqual(['stored', 'too_soon'])
    for (const { sender } of tabs) sender.wake()
    await clock.pass(5_000)
  }
  for (let i = 0; i < 10; i += 1) await settle()
  expect([...server.fixesSeen.values()]).toEqual([1, 1, 1, 1])
  expect(server.mostOpen).toBe(1)
  expect((await tabs[1]?.queue.stats())?.waiting).toBe(0)
})

test('a store that is full is thinned in its older half, and says so', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { db, queue } = await rider(server, clock, { max: 8 })
  for (let i = 0; i < 9; i += 1) expect(await queue.add(fix(clock.now() + i * 5_000))).toBe('stored')
  const { waiting, thinned } = await queue.stats()
  expect({ waiting, thinned }).toEqual({ waiting: 7, thinned: 2 })
  expect((await db.getAll('fixes')).map(({ seq }) => seq)).toEqual([1, 3, 5, 6, 7, 8, 9])
})

test('a device without room makes some, or says what it couldn’t keep', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const { queue } = await rider(server, clock)
  for (let i = 0; i < 4; i += 1) await queue.add(fix(clock.now() + i * 5_000))
  const put = IDBObjectStore.prototype.put
  let full = 1
  vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (this: IDBObjectStore, ...given) {
    if (this.name === 'fixes' && full > 0) {
      full -= 1
      this.transaction.abort()
      throw new DOMException('no room', 'QuotaExceededError')
    }
    return put.apply(this, given)
  })
  expect(await queue.add(fix(clock.now() + 20_000))).toBe('stored')
  expect(await queue.stats()).toMatchObject({ waiting: 4, thinned: 1, lost: 0 })
  full = Infinity
  expect(await queue.add(fix(clock.now() + 25_000))).toBe('lost')
  expect(await queue.stats()).toMatchObject({ lost: 1 })
  full = 0
  // The sequence has no gap: what wasn't stored took no number.
  expect(await queue.add(fix(clock.now() + 30_000))).toBe('stored')
  const { last } = await queue.stats()
  expect(last?.fix_time_ms).toBe(clock.now() + 30_000)
})

test('one rider’s positions are never sent as another', async () => {
  const [server, clock] = [new TestServer(), new TestClock()]
  const first = await rider(server, clock)
  await first.queue.add(fix(clock.now()))
  const other = await rider(server, clock, { db: first.db, rider: 'r2' })
  await other.queue.add(fix(clock.now()))
  other.sender.wake()
  await settle()
  expect([...server.fixesSeen.keys()]).toEqual([`r2 ${clock.now()} 2`])
  expect([(await first.queue.stats()).waiting, (await other.queue.stats()).waiting]).toEqual([1, 0])
})

test('readings are kept each 5 s, each 15 s by someone who stands', () => {
  const last = fix(1_000_000, { speed_mps: 0 })
  expect(isNews(last, fix(1_004_000))).toBe(false)
  expect(isNews(last, fix(1_004_800, { lat: 31.21 }))).toBe(true)
  const standing = { lat: last.lat + 0.00005, speed_mps: 0.2, accuracy_m: 20 }
  expect(isNews(last, fix(1_010_000, standing))).toBe(false)
  expect(isNews(last, fix(1_015_000, standing))).toBe(true)
  // A device that tells no speed: by the place.
  expect(isNews(last, { lat: last.lat + 0.001, lon: last.lon, fix_time_ms: 1_005_000 })).toBe(true)
  // An older reading says nothing new; a clock that was set back does.
  expect(isNews(last, fix(990_000))).toBe(false)
  expect(isNews(last, fix(900_000))).toBe(true)
})
