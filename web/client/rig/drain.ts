/**
 * A server is told to end and started again while thousands of clients follow orders that go on moving. Started by
 * `scripts/fault drain`, which explains it.
 */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { parseArgs } from 'node:util'
import { Client } from '../src/index.js'
import type { Begin, Compare, Findings, Standing } from './followers.js'
import { Publisher } from './nats.js'
import { seeded } from './seeded.js'
import { Rig } from './server.js'
import { nodeSocket } from './socket.js'
import { text } from './text.js'
import { sleep, until } from './wait.js'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '5000' },
    orders: { type: 'string', default: '500' },
    rate: { type: 'string', default: '40' },
    window: { type: 'string', default: '10' },
    processes: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    keep: { type: 'boolean', default: false },
  },
})
const [CLIENTS, ORDERS, RATE, WINDOW_S, PROCESSES] = [values.clients, values.orders, values.rate, values.window, values.processes].map(Number) as [number, number, number, number, number]
/** The share of clients that may get a whole state where they asked for changes. Versions mean the same to the next owner, so
 * all could resume; but a shard of the bridge has only so many questions to the owner's history in flight, and whose
 * question is beyond that gets a snapshot. Where epochs are taken for new lines, or the history isn't asked, it is most. */
const RESETS_MAX = 0.1
/** Orders of one rider. */
const CARRIED = 5
const CELL = 'default'

const say = (text: string): void => console.log(`[${new Date().toISOString().slice(11, 19)}] ${text}`)

const random = seeded(Number(values.seed))

function ask<T>(child: ChildProcess, message: object): Promise<T> {
  return new Promise((done, fail) => {
    const ended = (code: number | null): void => fail(new Error(`a process of clients ended with ${code}`))
    child.once('exit', ended)
    child.once('message', (answer) => {
      child.off('exit', ended)
      done(answer as T)
    })
    child.send(message)
  })
}

const order = (n: number): string => `drain-${n}`
const rider = (n: number): string => `dr-${Math.floor(n / CARRIED)}`

/** Orders that are paid and packed, with riders on shift. */
async function populate(rig: Rig): Promise<void> {
  const next = [...Array(ORDERS).keys()]
  const work = async (): Promise<void> => {
    for (let n = next.shift(); n !== undefined; n = next.shift()) {
      await rig.create(order(n))
      await rig.pay(order(n))
      if (n % CARRIED === 0) await rig.ask('POST', `/v1/riders/${rider(n)}/shift`, { on: true })
      await rig.ask('POST', `/v1/warehouses/w-1/orders/${order(n)}/stages/packed`, {})
    }
  }
  await Promise.all(Array.from({ length: 32 }, work))
}

/** What happens in the city, over NATS: it doesn't stop because a server does. */
class City {
  #timer: ReturnType<typeof setInterval> | undefined
  #began = Date.now()
  /** By order, after which seconds it leaves and arrives. */
  #leaves: number[] = []
  #arrives: number[] = []
  #left = new Set<number>()
  #arrived = new Set<number>()
  #n = 0
  published = 0
  statuses = 0

  constructor(
    readonly nats: Publisher,
    seconds: number,
  ) {
    for (let n = 0; n < ORDERS; n++) {
      const leaves = random() * seconds * 0.7
      this.#leaves.push(leaves)
      this.#arrives.push(random() < 0.7 ? leaves + 2 + random() * (seconds - leaves) : Infinity)
    }
  }

  start(): void {
    this.#began = Date.now()
    this.#timer = setInterval(() => this.#step(), 1_000 / RATE)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #step(): void {
    const seconds = (Date.now() - this.#began) / 1_000
    for (let n = 0; n < ORDERS; n++) {
      if (seconds >= (this.#leaves[n] ?? Infinity) && !this.#left.has(n)) {
        this.#left.add(n)
        this.#say(`order.${CELL}.${order(n)}.assign`, { rider: rider(n) })
      } else if (seconds >= (this.#arrives[n] ?? Infinity) && !this.#arrived.has(n)) {
        this.#arrived.add(n)
        this.#say(`order.${CELL}.${order(n)}.deliver`, {})
      }
    }
    const riders = Math.ceil(ORDERS / CARRIED)
    const who = (this.#n += 1) % riders
    const turn = this.#n / riders
    this.published += 1
    this.nats.publish(`rider.${CELL}.dr-${who}.fix`, { lat: 31.2 + 0.0002 * turn, lon: 121.4 + 0.0003 * turn, fix_time_ms: Date.now() })
  }

  #say(subject: string, body: object): void {
    this.statuses += 1
    this.nats.publish(subject, body, { 'Trunkline-Publisher': 'operations.city' })
  }
}

/** Counts by second, drawn. */
function histogram(times: number[], from: number): number[] {
  const counts: number[] = []
  for (const time of times) {
    const second = Math.max(Math.floor((time - from) / 1_000), 0)
    counts[second] = (counts[second] ?? 0) + 1
  }
  const full = Array.from(counts, (count) => count ?? 0)
  const most = Math.max(...full)
  for (const [second, count] of full.entries()) {
    if (count > 0) console.log(`  ${String(second).padStart(3)} s ${String(count).padStart(5)} ${'#'.repeat(Math.ceil((count / most) * 60))}`)
  }
  return full
}

const failures: string[] = []
function check(what: string, isSo: boolean, more: string[] = []): void {
  say(`${isSo ? 'ok    ' : 'FAILED'} ${what}`)
  for (const line of more.slice(0, 10)) console.log(`         ${line}`)
  if (!isSo) failures.push(what)
}

const rig = await Rig.start({ env: { TRUNKLINE_HTTP__DRAIN_S: String(WINDOW_S) }, keep: values.keep })
const children: ChildProcess[] = []
try {
  say(`${rig.url}; ${ORDERS} orders, ${CLIENTS} clients in ${PROCESSES} processes, ${RATE} fixes/s, window ${WINDOW_S} s`)
  await populate(rig)
  const orders = [...Array(ORDERS).keys()].map(order)
  const token = rig.token('customer', 'u-1')
  const program = new URL('followers.mjs', import.meta.url)
  for (let i = 0; i < PROCESSES; i++) children.push(fork(program, { stdio: 'inherit' }))
  const clients = Math.floor(CLIENTS / PROCESSES)
  await Promise.all(children.map((child) => ask(child, { do: 'begin', url: rig.url, token, orders, clients } satisfies Begin)))
  const standing = async (): Promise<Standing> => {
    const each = await Promise.all(children.map((child) => ask<Standing>(child, { do: 'standing' })))
    const states: Record<string, number> = {}
    for (const one of each) for (const [name, count] of Object.entries(one.states)) states[name] = (states[name] ?? 0) + count
    return { open: sum(each.map((one) => one.open)), followed: sum(each.map((one) => one.followed)), states }
  }
  const total = clients * PROCESSES
  await until('all clients are there', 120_000, async () => (await standing()).followed === total)
  say(`${total} clients are there`)

  const nats = await Publisher.open(rig.natsPort)
  const city = new City(nats, 3 * WINDOW_S + 25)
  city.start()
  await sleep(5_000)
  const told = Date.now()
  say('SIGTERM')
  const took = await rig.stopServer('SIGTERM', 120_000)
  const ended = Date.now()
  say(`the server ended after ${(took / 1_000).toFixed(1)} s`)
  await rig.startServer()
  const ready = Date.now()
  say(`another is ready ${((ready - ended) / 1_000).toFixed(1)} s later`)
  await until('all clients are back', 120_000, async () => {
    const now = await standing()
    if (now.open === total) return true
    await sleep(500)
    return false
  })
  const back = Date.now()
  say(`all are back ${((back - ready) / 1_000).toFixed(1)} s after that`)
  await sleep(5_000)
  city.stop()
  await nats.flush()

  // What the server has when nothing moves any more: as REST says it, and as somebody sees it who follows from now on. Its version
  // may lie behind REST's, which counts changes too that a customer's view doesn't show.
  const read = async (): Promise<Compare['expected']> => {
    const found: Compare['expected'] = {}
    const next = [...orders]
    const work = async (): Promise<void> => {
      for (let id = next.shift(); id !== undefined; id = next.shift()) {
        const { version, state } = (await rig.order(id, token)) as { version: number; state: unknown }
        found[id] = { version, state }
      }
    }
    await Promise.all(Array.from({ length: 16 }, work))
    return found
  }
  let rest = await read()
  const versions = (): string => orders.map((id) => rest[id]?.version).join()
  await until('the server is at rest', 60_000, async () => {
    const before = versions()
    await sleep(1_000)
    rest = await read()
    return versions() === before
  })
  const expected: Compare['expected'] = {}
  const fresh = new Client({ url: rig.url, token, transports: ['ws'], socket: nodeSocket })
  const followed = orders.map((id) => [id, fresh.order(id)] as const)
  await until('a newcomer sees all', 30_000, () => followed.every(([, one]) => one.state !== undefined))
  for (const [id, one] of followed) expected[id] = { version: one.version ?? 0, state: one.state }
  fresh.close()
  const otherwise = orders.filter((id) => text(expected[id]?.state) !== text(rest[id]?.state) || (expected[id]?.version ?? Infinity) > (rest[id]?.version ?? 0))
  let found: Findings[] = []
  // What is on its way, and the heartbeat that confirms it.
  await until('clients and server are at rest', 30_000, async () => {
    found = await Promise.all(children.map((child) => ask<Findings>(child, { do: 'compare', expected })))
    if (found.every(({ lost, different }) => lost.length + different.length === 0)) return true
    await sleep(1_000)
    return false
  }).catch(() => say('they don’t come to rest'))
  nats.close()

  const later = (all: number[][]): number[][] => all.map((times) => times.filter((time) => time > told))
  const again = later(found.flatMap((one) => one.dialled))
  const greeted = later(found.flatMap((one) => one.greeted))
  const codes: Record<string, number> = {}
  for (const one of found) for (const [code, count] of Object.entries(one.codes)) codes[code] = (codes[code] ?? 0) + count
  const status: Record<string, number> = {}
  for (const { state } of Object.values(expected)) {
    const name = String((state as { status: number }).status)
    status[name] = (status[name] ?? 0) + 1
  }
  say(`${city.published} fixes and ${city.statuses} changes of status were published; orders by status: ${JSON.stringify(status)}`)
  const resets = found.flatMap((one) => one.resets).sort((a, b) => a.atMs - b.atMs)
  const gapped = sum(found.map((one) => one.gapped))
  const missed = sum(found.map((one) => one.missed))
  say(`states shown ${sum(found.map((one) => one.states))}; last recoveries: ${sum(found.map((one) => one.resumed))} resumed with ${missed} changes, ${resets.length} resets; gaps told ${sum(found.map((one) => one.gaps))}`)
  say(`connections ended with ${JSON.stringify(codes)}`)
  say('dialled again, by seconds after SIGTERM:')
  histogram(again.flat(), told)
  say('were greeted:')
  histogram(greeted.flat(), told)
  const first = again.map((times) => times[0] ?? Infinity).filter(Number.isFinite).sort((a, b) => a - b)
  const [early, late] = [first[Math.floor(first.length * 0.01)] ?? 0, first[Math.floor(first.length * 0.99)] ?? 0]
  const busiest = Math.max(...seconds(first))
  const once = again.filter((times) => times.length === 1).length
  say(`98 of 100 dialled within ${((late - early) / 1_000).toFixed(1)} s of each other; most in one second: ${busiest}; ${once} of ${total} dialled once, ${total - once} more often`)

  const lost = found.flatMap((one) => one.lost)
  const different = found.flatMap((one) => one.different)
  const skipped = found.flatMap((one) => one.skipped)
  check(`no client is lost: ${total - lost.length} of ${total} are connected and confirmed`, lost.length === 0 && greeted.every((times) => times.length > 0), lost)
  check(`reconnects are spread over the window of ${WINDOW_S} s`, late - early >= WINDOW_S * 1_000 * 0.8)
  // Spread evenly, each second of the window has its share; half as many again is still no storm.
  const share = total / WINDOW_S
  check(`no second sees more than half as many again as its share (${busiest}; ${share.toFixed(0)} each)`, busiest <= share * 1.5)
  check('a newcomer sees what REST says', otherwise.length === 0, otherwise)
  check('each ends with the server’s state and version', different.length === 0, different)
  check('no change of status was skipped without a word', skipped.length === 0, skipped)
  const untold = found.flatMap((one) => one.untold)
  check('each reset was told to the page as a gap', untold.length === 0, untold)
  const examples = resets.map(({ order, asked, got, atMs }) => `${order}: ${asked} to ${got}, ${((atMs - ready) / 1_000).toFixed(1)} s after the server was ready`)
  check(`the rest saw every change: ${resets.length} resets, ${gapped} clients told of a gap, at most ${RESETS_MAX * 100} of 100`, Math.max(resets.length, gapped) <= total * RESETS_MAX, examples)
  check('those who resumed caught up with changes', missed > 0)
  check('orders moved meanwhile', (status['3'] ?? 0) > 0 && (status['4'] ?? 0) > 0)
} finally {
  for (const child of children) if (child.connected) child.send({ do: 'end' })
  if (failures.length > 0) console.log(rig.log())
  await rig.stop()
}
if (failures.length > 0) {
  console.error(`FAILED: ${failures.join('; ')}`)
  process.exit(1)
}
say('drain: passed')
process.exit(0)

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}

function seconds(times: number[]): number[] {
  const counts = new Map<number, number>()
  for (const time of times) counts.set(Math.floor(time / 1_000), (counts.get(Math.floor(time / 1_000)) ?? 0) + 1)
  return [...counts.values()]
}
