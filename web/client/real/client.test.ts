/** The client against the real server, nats-server and a proxy that breaks things. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { Client } from '../src/index.js'
import type { ClientOptions, Order, StateInfo, Subscription, Transport } from '../src/index.js'
import { Proxy } from '../rig/proxy.js'
import { Rig } from '../rig/server.js'
import { nodeSocket } from '../rig/socket.js'
import { until } from '../rig/wait.js'

let rig: Rig
let proxy: Proxy
let clients: Client[]
let nth = 0

beforeAll(async () => {
  rig = await Rig.start({ env: { TRUNKLINE_BRIDGE__HEARTBEAT_S: '1' } })
})
afterAll(async () => {
  await rig?.stop()
})
beforeEach(async () => {
  clients = []
  proxy = await Proxy.start(rig.httpPort)
})
afterEach(async () => {
  for (const client of clients) client.close()
  await proxy.stop()
})

function connect(options: ClientOptions = {}): Client {
  const client = new Client({ url: proxy.url, token: rig.token('customer', 'u-1'), socket: nodeSocket, ...options })
  clients.push(client)
  return client
}

interface Heard {
  status: number
  info: StateInfo
}

function follow(client: Client, id: string): { order: Subscription<Order>; heard: Heard[] } {
  const heard: Heard[] = []
  const order = client.order(id, { onState: (state, info) => heard.push({ status: state.status, info }) })
  return { order, heard }
}

async function agrees(order: Subscription<Order>, id: string, token: string): Promise<void> {
  const rest = await rig.order(id, token)
  await until(`${id} as REST has it`, 15_000, async () => order.version === (await rig.order(id, token))['version'])
  expect(order.state).toEqual((rest['state'] ?? rest) as object)
}

test.each<[Transport, (proxy: Proxy) => void]>([
  ['ws', () => {}],
  ['sse', (proxy) => (proxy.blockUpgrades = true)],
  ['poll', (proxy) => ((proxy.blockUpgrades = true), (proxy.refuse = (path) => path.includes('/events')))],
])('an order from its creation to its end through cuts: %s', async (transport, spoil) => {
  spoil(proxy)
  const [id, rider] = [`real-${(nth += 1)}`, `r-${nth}`]
  await rig.create(id)
  const token = rig.token('customer', 'u-1')
  const client = connect({ token })
  const { order, heard } = follow(client, id)
  await until('the first state', 30_000, () => order.state?.status === 1)
  expect(client.state).toEqual({ name: 'open', transport })
  await rig.pay(id)
  await until('paid', 10_000, () => order.state?.status === 2)
  expect(proxy.cut()).toBeGreaterThan(0)
  await rig.depart(id, rider)
  await until('delivering', 20_000, () => order.state?.status === 3)
  for (let i = 0; i < 5; i++) await rig.fix(rider, 31.2 + i * 0.001, 121.4)
  expect(proxy.cut()).toBeGreaterThan(0)
  await rig.fix(rider, 31.209, 121.449)
  await rig.deliver(id)
  await until('completed', 20_000, () => order.state?.status === 4)
  expect(client.state).toEqual({ name: 'open', transport })
  await agrees(order, id, token)
  const statuses = heard.map(({ status }) => status)
  for (let i = 1; i < heard.length; i++) {
    expect(heard[i]!.info.gap || statuses[i]! - statuses[i - 1]! <= 1, `a status was skipped without a word: ${statuses.join()}`).toBe(true)
  }
  await until('a confirmation', 10_000, () => order.freshness === 'confirmed')
})

test('a blocked WebSocket is tried again, and taken where it works', async () => {
  proxy.blockUpgrades = true
  const id = `real-${(nth += 1)}`
  await rig.create(id)
  const client = connect()
  const { order } = follow(client, id)
  await until('a stream', 30_000, () => client.state.name === 'open' && client.state.transport === 'sse')
  proxy.blockUpgrades = false
  client.wake()
  await until('a WebSocket', 10_000, () => client.state.name === 'open' && client.state.transport === 'ws')
  await rig.pay(id)
  await until('paid', 10_000, () => order.state?.status === 2)
  await until('no stream besides', 5_000, () => proxy.busy === 1)
})

test('a token is renewed on the open connection', async () => {
  const id = `real-${(nth += 1)}`
  await rig.create(id)
  let tokens = 0
  const states: string[] = []
  const client = connect({
    token: () => Promise.resolve(((tokens += 1), rig.token('customer', 'u-1', '3s'))),
    onState: (state) => states.push(state.name),
  })
  const { order } = follow(client, id)
  await until('three tokens', 20_000, () => tokens >= 3)
  await rig.pay(id)
  await until('paid', 10_000, () => order.state?.status === 2)
  expect(states).toEqual(['connecting', 'open'])
})

test('what may not be seen is a problem, and a bad token stops', async () => {
  const id = `real-${(nth += 1)}`
  await rig.create(id, 'somebody-else')
  const { order } = follow(connect(), id)
  await until('the problem', 10_000, () => order.problem)
  expect(order.problem?.status).toBe(404)
  const stranger = connect({ token: 'no.token.atall' })
  stranger.order(id)
  await until('the stop', 10_000, () => stranger.state.name === 'stopped')
  expect(stranger.state).toMatchObject({ code: 4203 })
})

test('the server is killed, and comes back', async () => {
  const id = `real-${(nth += 1)}`
  await rig.create(id)
  const client = connect()
  const { order } = follow(client, id)
  await until('the first state', 10_000, () => order.state?.status === 1)
  await rig.stopServer('SIGKILL')
  await until('silence', 10_000, () => order.freshness === 'silent')
  await rig.startServer()
  await rig.pay(id)
  await until('paid', 40_000, () => order.state?.status === 2)
  await agrees(order, id, rig.token('customer', 'u-1'))
})

test('operations follow the cell and alerts', async () => {
  const client = connect({ token: rig.token('operations', 'alice') })
  const cell = client.follow<{ orders: Record<string, unknown> }>('cell', {}, [121, 31, 122, 32])
  const alerts = client.follow<{ alerts: object }>('alerts')
  const id = `real-${(nth += 1)}`
  await until('the cell', 10_000, () => cell.state?.orders)
  await until('alerts', 10_000, () => alerts.state?.alerts)
  await rig.create(id)
  await until('the new order', 10_000, () => cell.state?.orders[id])
})
