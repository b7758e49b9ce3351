/**
 * The console with a whole cell on its map: riders who move each second, orders, and somebody who moves the map for a part of each
 * minute. Frames are counted in the page by `requestAnimationFrame`, second by second; every 30 s the garbage is collected and the
 * heap and the renderer's resident memory are read. Server, nats-server, loader and browser share the machine: figures are of all of
 * it together.
 *
 * Started by `scripts/bench screens`. Exits with 1 when fewer than 30 frames a second were shown, or when memory isn't flat.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import type { CDPSession, Page } from 'playwright-core'
import { launch } from '../e2e/rig/browser.js'
import { Rig } from '../client/rig/server.js'
import { sleep, until } from '../client/rig/wait.js'

const FPS_MIN = 30
/** Of all seconds at most this part may have fewer: a machine that is shared hiccups. */
const SLOW_MAX = 0.05
/** The last quarter's mean may be so many times the second's. */
const GROWTH_MAX = 1.1
const READ_MS = 30_000
/** The map is moved during so many seconds of each minute. */
const MOVED_S = 20

interface Second {
  frames: number
  moved: boolean
}

interface Memory {
  atS: number
  heapMb: number
  rssMb: number
}

const mean = (list: readonly number[]): number => (list.length === 0 ? NaN : list.reduce((a, b) => a + b, 0) / list.length)
const quantile = (list: readonly number[], q: number): number => [...list].sort((a, b) => a - b)[Math.min(Math.floor(list.length * q), list.length - 1)] ?? NaN
const say = (text: string): void => console.log(text)

export async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: 'string', default: '10' },
      riders: { type: 'string', default: '5000' },
      orders: { type: 'string', default: '1000' },
      streets: { type: 'string' },
      /** Where the pages come from, when not from the server itself. */
      pages: { type: 'string' },
      shot: { type: 'string' },
    },
  })
  const [minutes, riders, orders] = [Number(values.minutes), Number(values.riders), Number(values.orders)]
  const rig = await Rig.start()
  const children: ChildProcess[] = []
  const browser = await launch()
  try {
    say(`${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB; Chromium ${browser.version()}, drawn in software; load before: ${loadavg().map((n) => n.toFixed(1)).join(' ')}`)
    await place(rig, orders)
    const more = values.streets === undefined ? [] : ['--streets', values.streets]
    const loader = ['tools/run.mjs', './bench/loader.ts', '--nats', String(rig.natsPort), '--riders', String(riders), '--seconds', String(minutes * 60 + 600), ...more]
    children.push(spawn('nice', ['-n', '10', process.execPath, ...loader], { stdio: 'inherit' }))

    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'zh-CN' })
    const page = await context.newPage()
    page.on('pageerror', (error) => say(`the page: ${error.message}`))
    await page.goto(`${values.pages ?? rig.url}/ops#token=${rig.token('operations', 'bench', '12h')}`)
    const overlay = page.locator('[data-testid="overlay-riders"]')
    const count = async (name: string): Promise<number> => Number(await overlay.getAttribute(`data-${name}`, { timeout: 1_000 }).catch(() => '0'))
    await until('all riders are on the map', 180_000, async () => (await sleep(500), (await count('riders')) >= riders))
    await until('all orders are on the map', 60_000, async () => (await sleep(500), (await count('orders')) >= orders))
    await page.getByTestId('whole').click()
    await sleep(10_000)
    say(`${await count('riders')} riders and ${await count('orders')} orders are on the map`)

    const cdp = await context.newCDPSession(page)
    const pid = await rendererOf(browser)
    await cdp.send('Performance.enable')
    await page.evaluate(countFrames)
    const memory: Memory[] = []
    const drawnBefore = await count('frames')
    const began = Date.now()
    const end = began + minutes * 60_000
    const hand = move(page, () => Date.now() < end)
    const seconds: Second[] = []
    const longest = { still: 0, moved: 0 }
    for (let readAt = began; readAt <= end; readAt += READ_MS) {
      await sleep(readAt - Date.now())
      const counted = await page.evaluate(takeSeconds)
      for (const { frames, moved, longest_ms } of counted) {
        seconds.push({ frames, moved })
        const kind = moved ? 'moved' : 'still'
        longest[kind] = Math.max(longest[kind], longest_ms)
      }
      memory.push({ atS: Math.round((Date.now() - began) / 1_000), ...(await readMemory(cdp, pid)) })
      const last = memory.at(-1)!
      say(`${String(last.atS).padStart(4)} s  ${mean(counted.map((one) => one.frames)).toFixed(1).padStart(5)} frames/s  heap ${last.heapMb.toFixed(1)} MB  renderer ${last.rssMb.toFixed(0)} MB  load ${loadavg()[0]!.toFixed(1)}`)
      // Garbage was collected for the measurement only: its pause isn't the page's.
      await page.evaluate(beginAnew)
    }
    await hand
    const drawn = (await count('frames')) - drawnBefore
    if (values.shot !== undefined) await page.screenshot({ path: values.shot })
    const failures = judge(seconds, memory, longest)
    say(`the overlay painted ${(drawn / (minutes * 60)).toFixed(1)} times a second; the last showed ${await count('shown')} riders`)
    if (drawn < minutes * 60 * FPS_MIN) failures.push('riders weren’t drawn anew 30 times a second')
    for (const failure of failures) say(`FAILED: ${failure}`)
    return failures.length === 0 ? 0 : 1
  } finally {
    for (const child of children) child.kill()
    await browser.close()
    await rig.stop()
  }
}

/** Orders that are packed and wait, over the same ground as the riders. */
async function place(rig: Rig, orders: number): Promise<void> {
  const side = Math.ceil(Math.sqrt(orders))
  const next = [...Array(orders).keys()]
  const work = async (): Promise<void> => {
    for (let n = next.shift(); n !== undefined; n = next.shift()) {
      const [lat, lon] = [31.18 + (0.1 * Math.floor(n / side)) / side, 121.41 + (0.12 * (n % side)) / side]
      const warehouse = { id: `w-${n % 20}`, name: `W ${n % 20}`, lat: 31.23, lon: 121.47 }
      const body = { id: `b-${n}`, user_id: `u-${n}`, amount_minor: 4200, currency: 'CNY', items: 1, warehouse, destination: { lat, lon } }
      await rig.ask('POST', '/v1/orders', { ...body, contact: { name: 'Wang', phone: '13812345678' }, address: `${n} Road` })
      await rig.ask('POST', `/v1/orders/b-${n}/pay`, {})
      // Packed, it waits without being overdue: what grows isn't what is looked at.
      await rig.ask('POST', `/v1/warehouses/w-${n % 20}/orders/b-${n}/stages/packed`, {})
    }
  }
  await Promise.all(Array.from({ length: 32 }, work))
}

/** Drags and zooms the map like somebody who looks for something, for a part of each minute; at the end of it the whole is in sight again. */
async function move(page: Page, goesOn: () => boolean): Promise<void> {
  const isMoving = (now: boolean): Promise<void> => page.evaluate((now) => void Object.assign(globalThis, { benchMoving: now }), now)
  const [x, y] = [800, 500]
  for (let minute = 0; goesOn(); minute++) {
    const next = Date.now() + 60_000
    await sleep(60_000 - MOVED_S * 1_000 - 4_000)
    if (!goesOn()) return
    await isMoving(true)
    const until = Date.now() + MOVED_S * 1_000
    for (let turn = 0; Date.now() < until; turn++) {
      await page.mouse.move(x, y)
      if (turn % 4 === 3) {
        for (let notch = 0; notch < 4; notch++) {
          await page.mouse.wheel(0, turn % 8 === 3 ? -240 : 240)
          await sleep(120)
        }
        continue
      }
      await page.mouse.down()
      await page.mouse.move(x + (turn % 2 ? 260 : -260), y + (turn % 3 ? 140 : -140), { steps: 30 })
      await page.mouse.up()
    }
    await page.getByTestId('whole').click()
    await sleep(2_000)
    await isMoving(false)
    await sleep(Math.max(next - Date.now(), 0))
  }
}

function judge(seconds: Second[], memory: Memory[], longest: { still: number; moved: number }): string[] {
  const failures: string[] = []
  for (const [name, list, worst] of [
    ['all', seconds, Math.max(longest.still, longest.moved)],
    ['map at rest', seconds.filter(({ moved }) => !moved), longest.still],
    ['map moved', seconds.filter(({ moved }) => moved), longest.moved],
  ] as const) {
    const frames = list.map((one) => one.frames)
    if (frames.length === 0) continue
    const slow = frames.filter((n) => n < FPS_MIN).length / frames.length
    say(`${name}: ${frames.length} s, ${mean(frames).toFixed(1)} frames/s on average, 5 % of seconds below ${quantile(frames, 0.05).toFixed(1)}, slowest ${Math.min(...frames).toFixed(1)}; longest frame ${worst.toFixed(0)} ms; ${(slow * 100).toFixed(1)} % of seconds below ${FPS_MIN}`)
    if (mean(frames) < FPS_MIN) failures.push(`${name}: fewer than ${FPS_MIN} frames a second on average`)
    if (slow > SLOW_MAX) failures.push(`${name}: more than ${SLOW_MAX * 100} % of seconds with fewer than ${FPS_MIN} frames`)
  }
  for (const [name, of] of [['heap', ({ heapMb }: Memory) => heapMb], ['renderer', ({ rssMb }: Memory) => rssMb]] as const) {
    const all = memory.map(of)
    const quarter = Math.floor(all.length / 4)
    if (quarter === 0) continue
    const quarters = [0, 1, 2, 3].map((n) => mean(all.slice(n * quarter, n === 3 ? undefined : (n + 1) * quarter)))
    const growth = quarters[3]! / quarters[1]!
    say(`${name}: by quarters ${quarters.map((mb) => mb.toFixed(1)).join(', ')} MB; slope ${(slope(memory.map(({ atS }) => atS / 60), all) * 1_000).toFixed(0)} kB a minute; last to second ${growth.toFixed(3)}`)
    if (growth > GROWTH_MAX) failures.push(`${name} grows: the last quarter is ${growth.toFixed(2)} times the second`)
  }
  return failures
}

function slope(xs: readonly number[], ys: readonly number[]): number {
  const [x, y] = [mean(xs), mean(ys)]
  const over = xs.reduce((sum, at) => sum + (at - x) ** 2, 0)
  return over === 0 ? 0 : xs.reduce((sum, at, i) => sum + (at - x) * (ys[i]! - y), 0) / over
}

async function readMemory(cdp: CDPSession, pid: number): Promise<{ heapMb: number; rssMb: number }> {
  await cdp.send('HeapProfiler.collectGarbage')
  const { metrics } = await cdp.send('Performance.getMetrics')
  const heap = metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? NaN
  const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return { heapMb: heap / 1e6, rssMb: Number(rss) / 1e3 }
}

/** The process that draws the page: the renderer that has used most of the processor. */
async function rendererOf(browser: Awaited<ReturnType<typeof launch>>): Promise<number> {
  const cdp = await browser.newBrowserCDPSession()
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo')
  const renderers = processInfo.filter(({ type }) => type === 'renderer').sort((a, b) => b.cpuTime - a.cpuTime)
  if (!renderers[0]) throw new Error('no renderer is known')
  return renderers[0].id
}

/** What the page keeps for the benchmark: asked for seldom, so that asking isn't what is measured. */
interface Counted {
  benchSeconds: { frames: number; moved: boolean; longest_ms: number }[]
  benchNow: { count: number; longest: number; last: number; since: number; moved: boolean }
  benchMoving: boolean
}

/** In the page: counts frames, second by second. */
function countFrames(): void {
  const page = globalThis as unknown as Counted
  const begun = performance.now()
  page.benchSeconds = []
  page.benchMoving = false
  page.benchNow = { count: 0, longest: 0, last: begun, since: begun, moved: false }
  const tick = (): void => {
    const now = performance.now()
    const counted = page.benchNow
    counted.count += 1
    counted.longest = Math.max(counted.longest, now - counted.last)
    counted.last = now
    counted.moved ||= page.benchMoving
    if (now - counted.since >= 1_000) {
      page.benchSeconds.push({ frames: (counted.count * 1_000) / (now - counted.since), moved: counted.moved, longest_ms: counted.longest })
      page.benchNow = { count: 0, longest: 0, last: now, since: now, moved: page.benchMoving }
    }
    requestAnimationFrame(tick)
  }
  requestAnimationFrame(tick)
}

/** In the page: the seconds since the last time. */
function takeSeconds(): Counted['benchSeconds'] {
  return (globalThis as unknown as Counted).benchSeconds.splice(0)
}

/** In the page: what the last frames took isn't counted. */
function beginAnew(): void {
  const page = globalThis as unknown as Counted
  const now = performance.now()
  page.benchNow = { count: 0, longest: 0, last: now, since: now, moved: page.benchMoving }
}
