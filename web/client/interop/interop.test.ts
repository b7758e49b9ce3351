/**
 * Pages as they are written: sockjs-client 1.6.1 with stompjs 2.3.3, and @stomp/stompjs 7, in a real Chromium and in Node, by
 * every transport that the client has there. Each follows an order from its creation to its end and is cut off twice meanwhile.
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import WebSocket from 'ws'
import { Proxy } from '../rig/proxy.js'
import { Rig } from '../rig/server.js'
import { until } from '../rig/wait.js'
import { launch } from './browser.js'

const require = createRequire(import.meta.url)

interface Seen {
  transports: string[]
  statuses: number[]
  versions: number[]
  bodies: number
  connects: number
  problems: string[]
  last: { orderId: string; status: number; statusText: string; version: number } | null
}
interface Options {
  client: string
  transport: string
  base: string
  order: string
  token: string
}
/** Someone who follows: what was seen so far, and the end of it. */
interface Follower {
  seen: () => Promise<Seen>
  stop: () => Promise<void>
}

const CLIENTS = ['stompjs', '@stomp/stompjs']
/** All that sockjs-client 1.6.1 has. The two `xdr-` are Internet Explorer's. */
const SOCKJS = [
  'websocket', 'xhr-streaming', 'xdr-streaming', 'eventsource', 'iframe-eventsource', 'htmlfile', 'iframe-htmlfile',
  'xhr-polling', 'xdr-polling', 'iframe-xhr-polling', 'jsonp-polling',
]
const IN_CHROMIUM = SOCKJS.filter((name) => !name.startsWith('xdr-'))
const IN_NODE = ['websocket', 'xhr-streaming', 'eventsource', 'xhr-polling']

let rig: Rig
let proxy: Proxy
let browser: Browser
let token: string
let nth = 0

beforeAll(async () => {
  rig = await Rig.start({ env: { TRUNKLINE_HTTP__SOCKJS_CLIENT_URL: '/pages/sockjs.js' } })
  token = rig.token('customer', 'u-1')
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await rig?.stop()
})
beforeEach(async () => {
  proxy = await Proxy.start(rig.httpPort)
  const script = (path: string): { type: string; body: Buffer } => ({ type: 'text/javascript; charset=utf-8', body: readFileSync(path) })
  const bundle = require.resolve('@stomp/stompjs').replace(/\/(bundles|esm6)\/.*$/, '/bundles/stomp.umd.min.js')
  proxy.pages.set('/pages/sockjs.js', script(require.resolve('sockjs-client/dist/sockjs.min.js')))
  proxy.pages.set('/pages/stompjs.js', script(require.resolve('stompjs/lib/stomp.min.js')))
  proxy.pages.set('/pages/stompjs7.js', script(bundle))
  proxy.pages.set('/pages/follow.js', script(new URL('follow.cjs', import.meta.url).pathname))
  const page = (stomp: string): string =>
    `<!doctype html><meta charset="utf-8"><title>An order</title><body>${['sockjs', stomp, 'follow'].map((name) => `<script src="/pages/${name}.js"></script>`).join('')}`
  proxy.pages.set('/pages/stompjs', { type: 'text/html', body: page('stompjs') })
  proxy.pages.set('/pages/@stomp/stompjs', { type: 'text/html', body: page('stompjs7') })
})
afterEach(async () => {
  await proxy.stop()
})

async function inChromium(options: Options): Promise<Follower> {
  const page = await browser.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(`${proxy.url}/pages/${options.client}`)
  await page.evaluate((options) => {
    const here = globalThis as unknown as Record<string, unknown> & { follow: (...all: unknown[]) => () => void }
    here['seen'] = {}
    here['stop'] = here.follow({ SockJS: here['SockJS'], Stomp: here['Stomp'], StompJs: here['StompJs'], WebSocket: here['WebSocket'] }, options, here['seen'])
  }, options)
  return {
    seen: async () => {
      const seen = await page.evaluate(() => (globalThis as unknown as { seen: Seen }).seen)
      return { ...seen, problems: [...(seen.problems ?? []), ...errors] }
    },
    stop: () => page.close(),
  }
}

function inNode(options: Options): Promise<Follower> {
  const { follow } = require('./follow.cjs') as { follow: (...all: unknown[]) => () => void }
  const StompJs = require('@stomp/stompjs') as object
  const seen = {} as Seen
  const stop = follow({ SockJS: require('sockjs-client'), Stomp: require('stompjs'), StompJs, WebSocket }, options, seen)
  return Promise.resolve({ seen: () => Promise.resolve(seen), stop: () => Promise.resolve(stop()) })
}

async function play(where: (options: Options) => Promise<Follower>, client: string, transport: string): Promise<void> {
  const order = `page-${(nth += 1)}`
  const rider = `rider-${nth}`
  await rig.create(order)
  const follower = await where({ client, transport, base: proxy.url, order, token })
  const sees = async (what: string, look: (seen: Seen) => boolean): Promise<void> => {
    try {
      await until(what, 30_000, async () => look(await follower.seen()))
    } catch (error) {
      throw new Error(`${String(error)}; seen: ${JSON.stringify(await follower.seen())}; asked: ${proxy.asked.slice(-12).join(', ')}`)
    }
  }
  try {
    await sees('the order as created', ({ statuses }) => statuses.at(-1) === 1)
    await rig.pay(order)
    await sees('paid', ({ statuses }) => statuses.at(-1) === 2)
    expect(await proxy.cutFor(500), 'something to cut').toBeGreaterThan(0)
    await rig.depart(order, rider)
    await sees('a second connection', ({ connects }) => connects >= 2)
    await sees('delivering', ({ statuses }) => statuses.at(-1) === 3)
    const before = (await follower.seen()).bodies
    await rig.fix(rider, 31.203, 121.41)
    await rig.fix(rider, 31.206, 121.43)
    await sees('the rider under way', ({ bodies }) => bodies > before)
    expect(await proxy.cutFor(500), 'something to cut').toBeGreaterThan(0)
    await rig.fix(rider, 31.21, 121.45)
    await rig.deliver(order)
    await sees('a third connection', ({ connects }) => connects >= 3)
    await sees('completed', ({ statuses }) => statuses.at(-1) === 4)
    const { version } = (await rig.order(order, token)) as { version: number }
    await sees(`version ${version}, which REST has`, ({ last }) => last?.version === version)
    const seen = await follower.seen()
    expect(seen.statuses).toEqual([1, 2, 3, 4])
    expect(seen.last).toMatchObject({ orderId: order, status: 4, version })
    expect(new Set(seen.transports)).toEqual(new Set([transport]))
    // Each connection begins with the order as it is; within one, versions only grow.
    expect(seen.versions).toEqual([...seen.versions].sort((a, b) => a - b))
  } finally {
    await follower.stop()
  }
}

describe.each(CLIENTS)('%s', (client) => {
  describe.each(['Chromium', 'Node'])('in %s', (where) => {
    const run = where === 'Node' ? inNode : inChromium
    const transports = [...(where === 'Node' ? IN_NODE : IN_CHROMIUM), ...(client === 'stompjs' ? [] : ['plain'])]
    test.each(transports)('%s', async (transport) => {
      await play(run, client, transport)
    })
  })
})

test('these are all transports that sockjs-client has: the others say so', async () => {
  const order = `page-${(nth += 1)}`
  for (const [where, present] of [[inChromium, IN_CHROMIUM], [inNode, IN_NODE]] as const) {
    for (const transport of SOCKJS.filter((name) => !present.includes(name))) {
      const follower = await where({ client: '@stomp/stompjs', transport, base: proxy.url, order, token })
      await until(`${transport} is refused`, 10_000, async () => (await follower.seen()).problems.includes('2000 All transports failed'))
      await follower.stop()
    }
  }
})
