/**
 * What the customer's page costs: bytes until status, stages and ETA are painted, bytes with the map, and, on a throttled 4G
 * line, when the first text and the marker are there. The page is the binary's own; nothing is cached; no base map is set up, so all bytes
 * are the program's. Started by scripts/budgets, which explains it.
 */

import { parseArgs } from 'node:util'
import type { CDPSession } from 'playwright-core'
import { until } from '../client/rig/wait.js'
import { PHONE } from './rig/browser.js'
import { Scene } from './rig/scene.js'
import type { Guest } from './rig/scene.js'
import { Way, beside } from './rig/way.js'


const KB = 1_000
const TEXT_BYTES = 120 * KB
const ALL_BYTES = 560 * KB
const TEXT_MS = 1_000
const MARKER_MS = 3_000
/** WebPageTest's and Lighthouse's "4G": 9 Mbit/s both ways, 170 ms there and back. */
const FOUR_G = { offline: false, latency: 170, downloadThroughput: (9 * 1e6) / 8, uploadThroughput: (9 * 1e6) / 8 }

/** What the page itself noted, in milliseconds since it was asked for. */
interface Noted {
  /** By what was seen: `text`, `status`, `stages`, `eta`, `marker`, and `painted`, when status, stages and ETA are on the screen. */
  [what: string]: number
}

/** Runs in the page before anything else: notes when what is there first. */
function note(): void {
  const noted: Record<string, number> = {}
  let waits = false
  Object.assign(globalThis, { noted })
  const filled = (selector: string): boolean => [...document.querySelectorAll(selector)].some((element) => /\S/.test(element.textContent ?? ''))
  const wanted: Record<string, () => boolean> = {
    text: () => /\S/.test(document.body?.innerText ?? ''),
    status: () => filled('[data-testid="status"]'),
    stages: () => filled('[data-testid^="stage-"]'),
    eta: () => filled('[data-testid="eta"]'),
    marker: () => document.querySelector('[data-testid="rider-marker"][data-lat]') !== null,
  }
  const look = (): void => {
    for (const [what, there] of Object.entries(wanted)) if (!(what in noted) && there()) noted[what] = performance.now()
    if (!waits && ['status', 'stages', 'eta'].every((what) => what in noted)) {
      waits = true
      // A message sent from a frame's callback comes when that frame has been painted.
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = () => (noted['painted'] = performance.now())
      requestAnimationFrame(() => port2.postMessage(0))
    }
  }
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
}

interface Piece {
  url: string
  /** Milliseconds since the page was asked for. */
  asked_ms: number
  bytes: number
  encoding: string
}

/** Requests of the page with what each took from the network, headers and all, and what its WebSocket got. */
class Ledger {
  readonly pieces = new Map<string, Piece>()
  readonly frames: { at: number; bytes: number }[] = []
  #began: number | undefined

  constructor(cdp: CDPSession) {
    cdp.on('Network.requestWillBeSent', ({ requestId, request, timestamp }) => {
      this.#began ??= timestamp
      this.pieces.set(requestId, { url: request.url, asked_ms: (timestamp - this.#began) * 1_000, bytes: 0, encoding: '' })
    })
    cdp.on('Network.responseReceived', ({ requestId, response }) => {
      const piece = this.pieces.get(requestId)
      if (piece) piece.encoding = response.headers['content-encoding'] ?? ''
    })
    cdp.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      const piece = this.pieces.get(requestId)
      if (piece) piece.bytes = encodedDataLength
    })
    cdp.on('Network.webSocketFrameReceived', ({ timestamp, response }) => {
      this.frames.push({ at: (timestamp - (this.#began ?? timestamp)) * 1_000, bytes: response.payloadData.length })
    })
  }

  /** Bytes of all that was asked for until then, whether it had come or not, and of frames until then. */
  until(ms: number): number {
    const pieces = [...this.pieces.values()].filter(({ asked_ms }) => asked_ms <= ms)
    const frames = this.frames.filter(({ at }) => at <= ms)
    return [...pieces, ...frames].reduce((sum, { bytes }) => sum + bytes, 0)
  }
}

const warehouse = { lat: 31.248, lon: 121.48 }
const corner = beside(warehouse, 600, 0)
const door = beside(corner, 0, 700)
const way = new Way([warehouse, corner, door])

/** An order that is being delivered; its customer's token. */
async function order({ rig }: Scene, id: string): Promise<string> {
  await rig.ask('POST', '/v1/orders', {
    id, user_id: 'u-1', amount_minor: 8_850, currency: 'CNY', items: 6,
    warehouse: { id: 'w-1', name: '黄浦前置仓', ...warehouse }, destination: door, contact: { name: 'Wang', phone: '13812345678' },
    address: '1 Road', route: way.geoJson,
  })
  await rig.pay(id)
  await rig.depart(id, 'r-1')
  await rig.fix('r-1', way.at(300).lat, way.at(300).lon)
  return rig.token('customer', 'u-1')
}

async function visit(scene: Scene, path: string, prepare: (cdp: CDPSession) => Promise<void>): Promise<{ guest: Guest; ledger: Ledger; noted: Noted }> {
  const guest = await scene.guest('customer', PHONE)
  await guest.page.addInitScript(note)
  const cdp = await guest.context.newCDPSession(guest.page)
  await cdp.send('Network.enable')
  await prepare(cdp)
  const ledger = new Ledger(cdp)
  await guest.open(path)
  const noted = async (): Promise<Noted> => await guest.page.evaluate(() => (globalThis as unknown as { noted: Noted }).noted)
  await until('status, stages, ETA and the marker', 60_000, async () => {
    const now = await noted()
    return 'painted' in now && 'marker' in now
  }).catch(async (error: unknown) => {
    throw new Error(`${String(error)}; seen: ${JSON.stringify(await noted())}; ${guest.wrong.join('; ')}; see ${await scene.evidence()}`)
  })
  return { guest, ledger, noted: await noted() }
}

/** Nothing was asked for and nothing came for a second. */
async function quiet(guest: Guest, ledger: Ledger): Promise<void> {
  let before = -1
  await until('the page has all that it loads', 60_000, async () => {
    const now = guest.cable.down + ledger.pieces.size
    const still = now - before < 2 * KB
    before = now
    await new Promise((done) => setTimeout(done, 1_000))
    return still
  })
}

/** Whether a figure is within its limit, or doesn't count; says so. */
function check(what: string, figure: number, limit: number, unit: 'kB' | 'ms', counts = true): boolean {
  const shown = unit === 'kB' ? `${(figure / KB).toFixed(1)} kB` : `${figure.toFixed(0)} ms`
  const most = unit === 'kB' ? `${limit / KB} kB` : `${limit} ms`
  const ok = figure < limit
  console.log(`${ok ? 'ok    ' : counts ? 'FAILED' : 'above '} ${what}: ${shown} (limit ${most})`)
  return ok || !counts
}

const median = (numbers: number[]): number => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN

/** No brotli, as the budget counts gzip. */
async function gzip(cdp: CDPSession): Promise<void> {
  await cdp.send('Network.setExtraHTTPHeaders', { headers: { 'Accept-Encoding': 'gzip' } })
}

export async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { 'no-times': { type: 'boolean', default: false }, runs: { type: 'string', default: '5' } } })
  const scene = await Scene.start()
  try {
    const path = `/t/budget#token=${await order(scene, 'budget')}`
    const { guest, ledger, noted } = await visit(scene, path, gzip)
    await quiet(guest, ledger)
    const painted = noted['painted'] ?? NaN
    for (const { url, asked_ms, bytes, encoding } of ledger.pieces.values()) {
      console.log(`       ${asked_ms <= painted ? 'before' : 'after '} ${(bytes / KB).toFixed(1).padStart(7)} kB ${encoding.padEnd(5)} ${url.replace(guest.cable.url, '').slice(0, 80)}`)
    }
    const within = [check('gzip, asked for until status, stages and ETA were painted', ledger.until(painted), TEXT_BYTES, 'kB')]
    // As it crossed the wire, headers, WebSocket and all.
    within.push(check('gzip, all with the map, over the wire', guest.cable.down, ALL_BYTES, 'kB'))
    await scene.leave(guest)

    const runs: Noted[] = []
    for (let run = 0; run < Number(values.runs); run++) {
      const slow = await visit(scene, path, async (cdp) => {
        await gzip(cdp)
        await cdp.send('Network.emulateNetworkConditions', FOUR_G)
      })
      runs.push(slow.noted)
      await scene.leave(slow.guest)
    }
    const of = (what: string): number => median(runs.map((noted) => noted[what] ?? NaN))
    console.log(`       4G: 9 Mbit/s, 170 ms; median of ${runs.length}; status, stages and ETA painted after ${of('painted').toFixed(0)} ms`)
    within.push(check('first text on 4G', of('text'), TEXT_MS, 'ms', !values['no-times']))
    within.push(check('marker on 4G', of('marker'), MARKER_MS, 'ms', !values['no-times']))
    return within.every(Boolean) ? 0 : 1
  } finally {
    await scene.stop()
  }
}
