/** Bad networks, restarts, new owners and drains, from seeds: what a client ends with is the server's. */

import { expect, test } from 'vitest'
import type { Transport } from '../src/events.js'
import type { Json } from '../src/frames.js'
import { seeded } from '../rig/seeded.js'
import { HEARTBEAT, World } from './world.js'

const SEEDS = Number(process.env['SEEDS'] ?? 300)

function play(seed: number, transports: Transport[]): World {
  const random = seeded(seed)
  const ids = Array.from({ length: 1 + Math.floor(random() * 7) }, (_, i) => 'o' + i)
  const world = new World(random, transports, ids)
  for (const id of ids) world.give({ on: 'follow', topic: 'order/' + id })
  let changing = true
  world.every(400, () => {
    if (changing) world.change()
  })
  for (let phase = 0; phase < 12; phase++) {
    const one = (chance: number): boolean => random() < chance
    world.faults = {
      lose: one(0.5) ? random() * 0.2 : 0,
      cut: one(0.5) ? random() * 0.4 : 0,
      kill: one(0.2) ? random() * 0.2 : 0,
      blockWs: one(0.3),
      blockSse: one(0.3),
      down: one(0.1),
    }
    if (one(0.2)) world.drain()
    if (one(0.2)) world.cut([1006, 4000, 4100, 4203][Math.floor(random() * 4)]!)
    if (one(0.1)) world.deafen()
    if (one(0.2)) world.give({ on: 'wake' })
    if (one(0.2)) {
      const topic = 'order/' + ids[Math.floor(random() * ids.length)]
      world.give({ on: 'unfollow', topic })
      world.shown.delete(topic)
      world.run(world.now + random() * 1_000)
      world.give({ on: 'follow', topic })
    }
    world.run(world.now + random() * 30_000)
    // A token that was refused three times needs a word of the page.
    if (world.core.state.name === 'stopped') world.give({ on: 'start' })
  }
  world.settle()
  changing = false
  // The last cut may have refused its token.
  if (world.core.state.name === 'stopped') world.give({ on: 'start' })
  // The longest backoff, a silent connection found out, the fallbacks' turns.
  world.run(world.now + 120_000)
  world.settle()
  world.run(world.now + 3 * HEARTBEAT)
  return world
}

function check(world: World): void {
  expect(world.core.state.name).toBe('open')
  for (const [id, truth] of world.orders) {
    const topic = world.core.topics.get('order/' + id)!
    expect(topic.state, id).toEqual(truth.now.state)
    expect(topic.version, id).toBe(truth.now.version)
    expect(topic.freshness(world.now, world.core.silence), id).toBe('confirmed')
    // Each status was shown, or a gap was told where it may have been.
    const shown = world.shown.get('order/' + id)!
    for (let i = 1; i < shown.length; i++) {
      const [before, after] = [shown[i - 1]!, shown[i]!]
      if (after.info.gap) continue
      expect(Math.abs(status(after.state) - status(before.state)), `${id}: statuses were skipped without a word`).toBeLessThanOrEqual(1)
    }
  }
}

const status = (state: Json): number => (state as { status: number }).status

test.each<[string, Transport[]]>([
  ['WebSocket alone', ['ws']],
  ['all transports', ['ws', 'sse', 'poll']],
  ['streams alone', ['sse']],
  ['polls alone', ['poll']],
  ['WebSocket and polls', ['ws', 'poll']],
])('ends at the server’s state whatever happens: %s', (_, transports) => {
  let [dials, gaps, resets, silences] = [0, 0, 0, 0]
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      const world = play(seed, transports)
      check(world)
      dials += world.dials.length
      silences += world.silences
      for (const shown of world.shown.values()) {
        gaps += shown.filter(({ info }) => info.gap).length
        resets += shown.length
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
    }
  }
  // The game was worth playing.
  expect(resets).toBeGreaterThan(SEEDS * 10)
  expect(gaps).toBeGreaterThan(0)
  if (transports.includes('ws')) expect(dials).toBeGreaterThan(SEEDS * 2)
  if (transports.includes('poll')) expect(silences).toBeGreaterThan(SEEDS / 10)
}, 120_000)
