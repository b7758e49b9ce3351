/** REST and replay against the real server. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { Replay } from '../src/replay.js'
import type { ReplayState } from '../src/replay.js'
import { Rest } from '../src/rest.js'
import { Rig } from '../rig/server.js'
import { nodeSocket } from '../rig/socket.js'
import { until } from '../rig/wait.js'

let rig: Rig

beforeAll(async () => {
  rig = await Rig.start()
})
afterAll(async () => {
  await rig?.stop()
})

const as = (role: string, sub: string): Rest => new Rest({ url: rig.url, token: rig.token(role, sub) })

test('a rider’s batch counts once, and what happened is in the history, the list and a replay', async () => {
  const [rider, operations] = [as('rider', 'r-1'), as('operations', 'alice')]
  await rig.create('rest-1')
  await rig.pay('rest-1')
  await rider.shift('r-1', true)
  await rig.ask('POST', '/v1/warehouses/w-1/orders/rest-1/stages/packed', {})
  await rig.ask('POST', '/v1/orders/rest-1/assign', { rider: 'r-1' })
  const now = Date.now()
  const fixes = [1, 2, 3].map((n) => ({ lat: 31.2 + n / 10_000, lon: 121.4, fix_time_ms: now + n, seq: n, accuracy_m: 5 }))
  await rider.fixes('r-1', fixes, now + 10)
  await rider.fixes('r-1', fixes, now + 20)
  const key = 'door-1'
  const delivered = { order: 'rest-1', proof: { code: '1234' } }
  expect(await rider.report('r-1', 'delivered', delivered, key)).toEqual(await rider.report('r-1', 'delivered', delivered, key))

  const { state, version } = await operations.order('rest-1')
  expect([state.status, state.proof]).toEqual([4, { code: '1234' }])
  const track = await operations.wholeTrack('rest-1')
  expect(track.filter((row) => row.kind === 'fix').map((row) => row.fix_time_ms)).toEqual(fixes.map((fix) => fix.fix_time_ms))
  expect((await operations.orders({ status: [4], rider: 'r-1' })).orders.map((one) => one.state.id)).toEqual(['rest-1'])

  const seen: ReplayState[] = []
  const replay = new Replay('rest-1', { url: rig.url, token: rig.token('operations', 'alice'), socket: nodeSocket, speed: 60, onChange: (state) => seen.push(state) })
  await until('the end', 20_000, () => replay.state.name === 'ended')
  expect([replay.state.version, replay.state.order?.status]).toEqual([version, 4])
  replay.pause()
  replay.seek(replay.state.firstMs)
  await until('the beginning', 5_000, () => replay.state.order?.status === 1)
  replay.seek(replay.state.lastMs)
  await until('the end again', 5_000, () => replay.state.order?.status === 4)
  replay.close()
})

test('a share link is made, listed and revoked; what a role may not is a refusal that says so', async () => {
  await rig.create('rest-2')
  const operations = as('operations', 'alice')
  const { share, token } = await operations.share('rest-2', 600)
  const guest = new Rest({ url: rig.url, token })
  expect((await guest.order('rest-2')).state).not.toHaveProperty('address')
  expect((await operations.shares('rest-2')).map((one) => one.share)).toEqual([share])
  await operations.revokeShare('rest-2', share)
  await expect(guest.order('rest-2')).rejects.toMatchObject({ status: 401 })
  await expect(as('customer', 'u-2').order('rest-2')).rejects.toMatchObject({ status: 404, passes: false })
  await expect(as('rider', 'r-2').shift('r-1', true)).rejects.toMatchObject({ status: 403 })
})
