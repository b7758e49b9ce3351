/** The connection, one rule at a time, with a clock of its own. */

import { beforeEach, describe, expect, test } from 'vitest'
import { Core } from '../src/core.js'
import type { Action, Event, Transport } from '../src/events.js'
import type { ServerFrame } from '../src/frames.js'

let core: Core
let now = 0
let random = 0.5

function start(transports: Transport[] = ['ws'], refreshes = true): void {
  core = new Core({ transports, random: () => random, refreshes })
}
const give = (event: Event): Action[] => core.handle(event, now)
const wait = (ms: number): Action[] => {
  now += ms
  return give({ on: 'tick' })
}
const linkOf = (actions: Action[]): number => {
  const found = actions.find((action) => action.do === 'connect')
  if (!found) throw new Error(`no connection in ${JSON.stringify(actions)}`)
  return found.link
}
const did = (actions: Action[], what: Action['do']): boolean => actions.some((action) => action.do === what)
const sent = (actions: Action[]): unknown[] => actions.filter((action) => action.do === 'send').map((action) => action.frame)
const hello: ServerFrame = { type: 'hello', session: 's', view: 'customer', heartbeat_ms: 10_000 }
const snapshot = (version: number, epoch = 1): ServerFrame => ({ type: 'snapshot', topic: 'order/a', epoch, version, at_ms: 5, state: { n: version } })
const delta = (from: number, to: number, epoch = 1): ServerFrame => ({ type: 'delta', topic: 'order/a', epoch, from, to, at_ms: 6, patch: { n: to } })

/** An open WebSocket that follows `order/a` at version 3. */
function open(expiresAt?: number): number {
  give({ on: 'follow', topic: 'order/a' })
  const link = linkOf(give({ on: 'token', token: 't1' }))
  expect(sent(give({ on: 'opened', link }))).toEqual([{ type: 'authenticate', token: 't1' }])
  expect(sent(give({ on: 'frame', link, frame: hello }))).toEqual([{ type: 'subscribe', topic: 'order/a' }])
  if (expiresAt !== undefined) give({ on: 'frame', link, frame: { type: 'authenticated', expires_at_ms: expiresAt } })
  give({ on: 'frame', link, frame: { type: 'subscribed', topic: 'order/a', recovery: 'fresh' } })
  give({ on: 'frame', link, frame: snapshot(3) })
  expect(core.topics.get('order/a')?.version).toBe(3)
  return link
}
/** How long until the next try; 0 where it has begun. */
const reconnecting = (): number => {
  if (core.state.name === 'connecting') return 0
  if (core.state.name !== 'reconnecting') throw new Error(core.state.name)
  return core.state.retryAt - now
}

beforeEach(() => {
  now = 1_000_000
  random = 0.5
  start()
})

describe('coming back', () => {
  test('a lost connection: full jitter under a bound that doubles to 30 s, from the version that is here', () => {
    const link = open()
    now += 20_000
    give({ on: 'closed', link, end: { code: 1006 } })
    const bounds = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
    for (const bound of bounds) {
      expect(reconnecting()).toBe(bound / 2)
      const retry = wait(reconnecting())
      expect(did(retry, 'token')).toBe(true)
      const link = linkOf(give({ on: 'token', token: 't1' }))
      give({ on: 'closed', link, end: { code: 1006 } })
    }
    random = 0
    wait(15_000)
    const again = linkOf(give({ on: 'token', token: 't1' }))
    give({ on: 'opened', link: again })
    const asked = sent(give({ on: 'frame', link: again, frame: hello }))
    expect(asked).toEqual([{ type: 'subscribe', topic: 'order/a', version: 3, epoch: 1 }])
  })

  test.each([
    [4000, 0, 0],
    [4042, 0, 0],
    [4100, 500, 5_500],
    [1001, 0, 1_000],
    [1011, 0, 1_000],
  ])('closed with %i: after %i to %i ms', (code, least, most) => {
    for (const [value, expected] of [
      [0, least],
      [0.999999, most],
    ] as const) {
      start()
      const link = open()
      now += 20_000
      random = value
      give({ on: 'closed', link, end: { code } })
      expect(Math.round(reconnecting())).toBe(expected)
    }
  })

  test('closed at once again and again: not in a circle', () => {
    const link = open()
    give({ on: 'closed', link, end: { code: 4000 } })
    expect(reconnecting()).toBe(0)
    wait(0)
    const again = linkOf(give({ on: 'token', token: 't1' }))
    give({ on: 'frame', link: again, frame: hello })
    give({ on: 'closed', link: again, end: { code: 4000 } })
    expect(reconnecting()).toBeGreaterThan(0)
  })

  test('the server says when', () => {
    const link = open()
    give({ on: 'frame', link, frame: { type: 'going_away', reconnect_in_ms: 7_654 } })
    now += 10
    give({ on: 'closed', link, end: { code: 4100 } })
    expect(reconnecting()).toBe(7_644)
    expect(did(give({ on: 'wake' }), 'token')).toBe(false)
    expect(did(wait(7_643), 'token')).toBe(false)
    expect(did(wait(1), 'token')).toBe(true)
  })

  test('the server says when, and forgets to close', () => {
    const link = open()
    give({ on: 'frame', link, frame: { type: 'going_away', reconnect_in_ms: 2_000 } })
    expect(wait(2_500)).toContainEqual({ do: 'close', link })
    expect(core.state.name).toBe('connecting')
  })

  test('a refusal with Retry-After is heeded, and no reason for another transport', () => {
    start(['ws', 'sse', 'poll'])
    give({ on: 'follow', topic: 'order/a' })
    for (let i = 0; i < 5; i++) {
      const link = linkOf(give({ on: 'token', token: 't1' }))
      give({ on: 'closed', link, end: { code: 1006, retryAfterMs: 20_000 } })
      expect(reconnecting()).toBeGreaterThanOrEqual(20_000)
      expect(reconnecting()).toBeLessThanOrEqual(30_000)
      wait(reconnecting())
    }
    const link = give({ on: 'token', token: 't1' }).find((action) => action.do === 'connect')
    expect(link?.by).toBe('ws')
  })

  test.each([4200, 4201, 4204])('closed with %i: not before somebody says so', (code) => {
    const link = open()
    give({ on: 'closed', link, end: { code, reason: 'why' } })
    expect(core.state).toEqual({ name: 'stopped', reason: 'why', code })
    expect(did(give({ on: 'wake' }), 'token')).toBe(false)
    expect(did(wait(3_600_000), 'token')).toBe(false)
    expect(core.due()).toBeUndefined()
    expect(did(give({ on: 'start' }), 'token')).toBe(true)
  })

  test('the page comes into sight: at once', () => {
    const link = open()
    give({ on: 'closed', link, end: { code: 1006 } })
    expect(did(give({ on: 'wake' }), 'token')).toBe(true)
  })
})

describe('being there', () => {
  test('two and a half silent heartbeats end a connection', () => {
    const link = open()
    expect(core.due()).toBe(now + 25_000)
    expect(did(wait(24_999), 'close')).toBe(false)
    const over = wait(1)
    expect(over).toContainEqual({ do: 'close', link })
    expect(over).toContainEqual({ do: 'freshness', topic: 'order/a', freshness: 'silent' })
    expect(core.state.name).toBe('reconnecting')
  })

  test('a page in sight again looks whether anybody is there, within seconds', () => {
    const link = open()
    now += 2_000
    expect(sent(give({ on: 'wake' }))).toEqual([{ type: 'ping' }])
    give({ on: 'frame', link, frame: { type: 'pong' } })
    expect(did(wait(6_000), 'close')).toBe(false)
    give({ on: 'wake' })
    expect(wait(5_000)).toContainEqual({ do: 'close', link })
  })

  test('no hello in 10 s', () => {
    give({ on: 'follow', topic: 'order/a' })
    const link = linkOf(give({ on: 'token', token: 't1' }))
    give({ on: 'opened', link })
    expect(wait(10_000)).toContainEqual({ do: 'close', link })
  })
})

describe('tokens', () => {
  test('are renewed a minute before they expire, on the open connection', () => {
    const link = open(now + 600_000)
    const beat = (): Action[] => give({ on: 'frame', link, frame: { type: 'heartbeat', orders: { a: 3 } } })
    for (let i = 0; i < 53; i++) {
      expect(did(wait(10_000), 'token')).toBe(false)
      beat()
    }
    expect(did(wait(10_000), 'token')).toBe(true)
    expect(give({ on: 'token', token: 't2' })).toEqual([{ do: 'send', link, frame: { type: 'authenticate', token: 't2' } }])
    expect(core.state.name).toBe('open')
  })

  test('that expired are renewed when the server says so', () => {
    const link = open(now - 1)
    expect(did(give({ on: 'frame', link, frame: { type: 'expired', grace_ms: 30_000 } }), 'token')).toBe(true)
    expect(sent(give({ on: 'token', token: 't2' }))).toEqual([{ type: 'authenticate', token: 't2' }])
  })

  test('that were refused are replaced, not repeated', () => {
    const link = open()
    give({ on: 'closed', link, end: { code: 4203, reason: 'unauthorized' } })
    wait(reconnecting())
    expect(did(give({ on: 'token', token: 't1' }), 'connect')).toBe(false)
    expect(core.state).toMatchObject({ name: 'stopped', code: 4203 })
    give({ on: 'start' })
    const again = linkOf(give({ on: 'token', token: 't2' }))
    give({ on: 'closed', link: again, end: { code: 4202 } })
    wait(reconnecting())
    expect(did(give({ on: 'token', token: 't3' }), 'connect')).toBe(true)
  })

  test('of somebody who only makes bad ones: enough is enough', () => {
    give({ on: 'follow', topic: 'order/a' })
    for (let i = 0; i < 4; i++) {
      const link = linkOf(give({ on: 'token', token: 'bad' + i }))
      give({ on: 'closed', link, end: { code: 4203 } })
      if (i < 3) wait(reconnecting())
    }
    expect(core.state.name).toBe('stopped')
  })

  test('that can’t be had now are asked for again', () => {
    const link = open(now + 600_000)
    give({ on: 'frame', link, frame: { type: 'expired', grace_ms: 30_000 } })
    give({ on: 'token', error: 'offline' })
    expect(core.state.name).toBe('open')
    const due = core.due() ?? Infinity
    expect(due - now).toBeLessThan(10_000)
    expect(did(wait(due - now), 'token')).toBe(true)
  })

  test('without a way to have another, the page is told', () => {
    start(['ws'], false)
    const link = open()
    give({ on: 'closed', link, end: { code: 4202, reason: 'token_expired' } })
    expect(core.state).toEqual({ name: 'stopped', reason: 'token_expired', code: 4202 })
  })
})

describe('versions', () => {
  test('changes in a row are merged; one seen already is left out', () => {
    const link = open()
    give({ on: 'frame', link, frame: delta(3, 5) })
    expect(give({ on: 'frame', link, frame: delta(3, 5) })).toEqual([])
    expect(core.topics.get('order/a')).toMatchObject({ version: 5, state: { n: 5 } })
  })

  test('a gap is asked for, and what comes before the answer is left out', () => {
    const link = open()
    expect(sent(give({ on: 'frame', link, frame: delta(4, 5) }))).toEqual([{ type: 'subscribe', topic: 'order/a', version: 3, epoch: 1 }])
    expect(give({ on: 'frame', link, frame: delta(3, 9) })).toEqual([])
    give({ on: 'frame', link, frame: { type: 'subscribed', topic: 'order/a', recovery: 'resumed', missed: 1 } })
    give({ on: 'frame', link, frame: delta(3, 5) })
    expect(core.topics.get('order/a')).toMatchObject({ version: 5, recovered: { how: 'resumed', missed: 1 } })
  })

  test('a heartbeat that names another version is a gap', () => {
    const link = open()
    expect(give({ on: 'frame', link, frame: { type: 'heartbeat', orders: { a: 3 } } })).toEqual([])
    expect(sent(give({ on: 'frame', link, frame: { type: 'heartbeat', orders: { a: 4 } } }))).toHaveLength(1)
  })

  test('heartbeats that forget a topic: asked again after two', () => {
    const link = open()
    const beat: ServerFrame = { type: 'heartbeat', orders: {} }
    expect(give({ on: 'frame', link, frame: beat })).toEqual([])
    expect(sent(give({ on: 'frame', link, frame: beat }))).toHaveLength(1)
  })

  test('a reset says that something may have been missed', () => {
    const link = open()
    give({ on: 'frame', link, frame: { type: 'subscribed', topic: 'order/a', recovery: 'reset' } })
    const shown = give({ on: 'frame', link, frame: snapshot(9, 2) })
    expect(shown[0]).toMatchObject({ do: 'state', info: { gap: true, version: 9, epoch: 2 }, before: { n: 3 } })
  })

  test('an older owner’s state is asked for again before it is believed', () => {
    const link = open()
    give({ on: 'frame', link, frame: snapshot(9, 3) })
    for (const ms of [1_000, 2_000, 4_000]) {
      expect(give({ on: 'frame', link, frame: snapshot(4, 2) })).toEqual([])
      expect(sent(wait(ms))).toHaveLength(1)
      give({ on: 'frame', link, frame: { type: 'subscribed', topic: 'order/a', recovery: 'reset' } })
    }
    expect(did(give({ on: 'frame', link, frame: snapshot(4, 2) }), 'state')).toBe(true)
  })

  test('a new owner’s change goes on where the last one’s ended; one of an older owner is nobody’s', () => {
    const link = open()
    give({ on: 'frame', link, frame: delta(3, 4, 2) })
    expect(core.topics.get('order/a')).toMatchObject({ version: 4, epoch: 2 })
    expect(give({ on: 'frame', link, frame: delta(4, 5, 1) })).toEqual([])
  })

  test('silence of the owner is told, and its end', () => {
    const link = open()
    const beat = (frame: Partial<Extract<ServerFrame, { type: 'heartbeat' }>>): Action[] =>
      give({ on: 'frame', link, frame: { type: 'heartbeat', orders: {}, ...frame } })
    expect(beat({ unconfirmed: ['a'] })).toEqual([{ do: 'freshness', topic: 'order/a', freshness: 'unconfirmed' }])
    expect(beat({ orders: { a: 3 } })).toEqual([{ do: 'freshness', topic: 'order/a', freshness: 'confirmed' }])
  })
})

describe('refusals of a topic', () => {
  const refuse = (link: number, status: number): Action[] =>
    give({ on: 'frame', link, frame: { type: 'error', topic: 'order/a', problem: { type: 'x', title: 'X', status } } })

  test('for good: told once, and not asked again', () => {
    const link = open()
    expect(refuse(link, 403).map((action) => action.do)).toEqual(['problem', 'freshness'])
    now += 20_000
    give({ on: 'closed', link, end: { code: 1006 } })
    wait(reconnecting())
    const again = linkOf(give({ on: 'token', token: 't1' }))
    expect(sent(give({ on: 'frame', link: again, frame: hello }))).toEqual([])
    expect(sent(give({ on: 'follow', topic: 'order/a' }))).toEqual([{ type: 'subscribe', topic: 'order/a' }])
  })

  test('for now: asked again', () => {
    const link = open()
    expect(refuse(link, 503)).toEqual([])
    const due = core.due() ?? Infinity
    expect(due - now).toBeLessThanOrEqual(1_500)
    expect(sent(wait(due - now))).toHaveLength(1)
  })
})

describe('falling back', () => {
  /** WebSockets that fail; then a stream that works. */
  function fallBack(): number {
    start(['ws', 'sse', 'poll'])
    give({ on: 'follow', topic: 'order/a' })
    for (let i = 0; i < 3; i++) {
      const link = linkOf(give({ on: 'token', token: 't1' }))
      give({ on: 'closed', link, end: { code: 1006 } })
      wait(reconnecting())
    }
    const actions = give({ on: 'token', token: 't1' })
    expect(actions).toMatchObject([{ do: 'connect', by: 'sse', topic: 'order/a', token: 't1' }])
    const stream = linkOf(actions)
    give({ on: 'frame', link: stream, frame: snapshot(3) })
    expect(core.state).toEqual({ name: 'open', transport: 'sse' })
    return stream
  }

  test('to streams after three WebSockets without hello, and back when one has it', () => {
    const stream = fallBack()
    const due = core.due() ?? Infinity
    expect(due - now).toBeGreaterThanOrEqual(7_500)
    const probe = linkOf(wait(due - now))
    give({ on: 'opened', link: probe })
    give({ on: 'frame', link: stream, frame: delta(3, 4) })
    expect(core.topics.get('order/a')?.version).toBe(4)
    const taken = give({ on: 'frame', link: probe, frame: hello })
    expect(taken).toContainEqual({ do: 'close', link: stream })
    expect(sent(taken)).toEqual([{ type: 'subscribe', topic: 'order/a', version: 4, epoch: 1 }])
    expect(core.state).toEqual({ name: 'open', transport: 'ws' })
  })

  test('a try that fails costs the stream nothing, and comes later each time', () => {
    const stream = fallBack()
    let last = 0
    for (let i = 0; i < 3; i++) {
      let probe: Action | undefined
      const begin = now
      while (!probe) {
        const actions = wait(5_000)
        give({ on: 'frame', link: stream, frame: { type: 'heartbeat', orders: { a: 3 } } })
        probe = actions.find((action) => action.do === 'connect')
      }
      expect(now - begin).toBeGreaterThan(last)
      last = now - begin
      give({ on: 'closed', link: linkOf([probe]), end: { code: 1006 } })
      expect(core.state).toEqual({ name: 'open', transport: 'sse' })
    }
  })

  test('a stream that breaks begins again from its version', () => {
    const stream = fallBack()
    give({ on: 'closed', link: stream, end: { status: 200 } })
    expect(wait(500)).toMatchObject([{ do: 'connect', by: 'sse', since: { version: 3, epoch: 1 } }])
  })

  test('where streams don’t work either, to polls; where nothing does, to the beginning', () => {
    start(['ws', 'sse', 'poll'])
    give({ on: 'follow', topic: 'order/a' })
    const tried: string[] = []
    for (let i = 0; i < 7; i++) {
      const action = give({ on: 'token', token: 't1' }).find((action) => action.do === 'connect')
      tried.push(action?.by ?? '')
      give({ on: 'closed', link: action?.link ?? 0, end: { code: 1006, status: 0 } })
      wait(reconnecting())
    }
    expect(tried).toEqual(['ws', 'ws', 'ws', 'sse', 'poll', 'ws', 'ws'])
  })

  test('polls follow each other, and more orders than lanes take turns', () => {
    start(['poll'])
    for (let i = 0; i < 6; i++) give({ on: 'follow', topic: 'order/o' + i })
    let open = give({ on: 'token', token: 't1' }).filter((action) => action.do === 'connect')
    const asked = new Map<string, number>()
    for (let i = 0; i < 60; i++) {
      expect(open.length).toBeLessThanOrEqual(4)
      const next: typeof open = []
      for (const action of open) {
        if (action.by === 'ws') throw new Error('a socket')
        expect(action.waitS).toBe(0)
        asked.set(action.topic, (asked.get(action.topic) ?? 0) + 1)
        next.push(...give({ on: 'closed', link: action.link, end: { status: 200 } }).filter((action) => action.do === 'connect'))
      }
      open = [...next, ...wait(250).filter((action) => action.do === 'connect')]
    }
    expect(asked.size).toBe(6)
    for (const times of asked.values()) expect(times).toBeGreaterThan(8)
  })

  test('an answered poll confirms only what the owner’s heartbeat in it names', () => {
    start(['poll'])
    give({ on: 'follow', topic: 'order/a' })
    let link = linkOf(give({ on: 'token', token: 't1' }))
    const told: unknown[] = []
    const note = (event: Event): Action[] => {
      const actions = give(event)
      for (const action of actions) if (action.do === 'freshness') told.push(action.freshness)
      return actions
    }
    const answer = (frames: ServerFrame[]): void => {
      now += 1_000
      for (const frame of frames) note({ on: 'frame', link, frame })
      link = linkOf([...note({ on: 'closed', link, end: { status: 200 } }), ...wait(0)])
    }
    const topic = core.topics.get('order/a')
    const resumed: ServerFrame = { type: 'subscribed', topic: 'order/a', recovery: 'resumed', missed: 0 }
    const silent: ServerFrame = { type: 'heartbeat', orders: {}, unconfirmed: ['a'] }
    answer([{ type: 'subscribed', topic: 'order/a', recovery: 'fresh' }, snapshot(3), { type: 'heartbeat', orders: { a: 3 } }])
    const confirmedAt = topic?.confirmedAt
    expect(told).toEqual(['confirmed'])
    answer([resumed, silent])
    answer([resumed, silent])
    expect(told).toEqual(['confirmed', 'unconfirmed'])
    expect(topic).toMatchObject({ confirmedAt, heardAt: now, unconfirmed: true })
    answer([resumed, { type: 'heartbeat', orders: { a: 3 } }])
    expect(told).toEqual(['confirmed', 'unconfirmed', 'confirmed'])
    expect(topic?.confirmedAt).toBe(now)
  })

  test('one that isn’t there isn’t asked for again', () => {
    start(['poll'])
    give({ on: 'follow', topic: 'order/a' })
    const link = linkOf(give({ on: 'token', token: 't1' }))
    const problem = { type: 'unknown_order', title: 'There is no such order', status: 404 }
    expect(give({ on: 'closed', link, end: { status: 404, problem } })).toContainEqual({ do: 'problem', topic: 'order/a', problem })
    expect(did(wait(60_000), 'connect')).toBe(false)
  })

  test('401 asks for another token', () => {
    start(['sse'])
    give({ on: 'follow', topic: 'order/a' })
    const link = linkOf(give({ on: 'token', token: 't1' }))
    expect(did(give({ on: 'closed', link, end: { status: 401 } }), 'token')).toBe(true)
    expect(give({ on: 'token', token: 't2' })).toMatchObject([{ do: 'connect', token: 't2' }])
  })
})

test('unfollow: said while connected, and nothing after', () => {
  const link = open()
  expect(sent(give({ on: 'unfollow', topic: 'order/a' }))).toEqual([{ type: 'unsubscribe', topic: 'order/a' }])
  expect(give({ on: 'frame', link, frame: delta(3, 4) })).toEqual([])
})

test('another box begins anew', () => {
  const link = open()
  expect(sent(give({ on: 'follow', topic: 'cell', box: [1, 2, 3, 4] }))).toEqual([{ type: 'subscribe', topic: 'cell', box: [1, 2, 3, 4] }])
  give({ on: 'frame', link, frame: { type: 'subscribed', topic: 'cell', recovery: 'fresh' } })
  give({ on: 'frame', link, frame: { type: 'snapshot', topic: 'cell', epoch: 9, version: 7, at_ms: 0, state: {} } })
  expect(sent(give({ on: 'follow', topic: 'cell', box: [1, 2, 3, 4] }))).toEqual([])
  expect(sent(give({ on: 'follow', topic: 'cell', box: [1, 2, 3, 5] }))).toEqual([{ type: 'subscribe', topic: 'cell', box: [1, 2, 3, 5] }])
})
