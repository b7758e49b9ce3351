import { expect, test } from 'vitest'
import { asked } from '@/customer/address.js'
import { CellClock } from '@/customer/cellclock.js'
import type { Eta, Tracked } from '@/customer/order.js'
import { causeOf, remember } from '@/customer/reason.js'
import type { Told } from '@/customer/reason.js'
import en from '@/shared/locale/en.js'
import zhCN from '@/shared/locale/zh-CN.js'
import { timeline } from '@/customer/timeline.js'
import { REASONS, reasonSent } from '@/shared/trouble.js'

const MIN = 60_000
const T0 = 1_700_000_000_000

const eta = (at_ms: number, picking: number, handover: number, ride: number, door = 1): Eta => {
  const legs = { picking_ms: picking * MIN, handover_ms: handover * MIN, ride_ms: ride * MIN, door_ms: door * MIN }
  const p50_ms = at_ms + (picking + handover + ride + door) * MIN
  return { at_ms, p10_ms: p50_ms - 5 * MIN, p50_ms, p90_ms: p50_ms + 5 * MIN, legs, basis: 'constant_speed', path: 'route' }
}
const order = (more: Partial<Tracked>): Tracked => ({ id: 'o', cell: 'c', status: 2, ...more })

test('an address names an order, or a link that does', () => {
  const part = (json: object): string => btoa(JSON.stringify(json)).replace(/=+$/, '')
  const token = `${part({ alg: 'HS256' })}.${part({ role: 'shared', sub: 's', order: 'o-7' })}.sig`
  expect(asked('/t/o-7')).toEqual({ order: 'o-7', token: undefined })
  expect(asked('/t/o%207/')).toEqual({ order: 'o 7', token: undefined })
  expect(asked(`/t/${token}`)).toEqual({ order: 'o-7', token })
  expect(asked('/t/a.b.c')).toEqual({ order: undefined, token: 'a.b.c' })
  expect(asked('/t/').order).toBeUndefined()
  expect(asked('/t/a/b').order).toBeUndefined()
})

test('an arrival that moves as time goes by has no reason', () => {
  const first = remember({}, order({ eta: eta(T0, 8, 2, 10) }))
  expect(first.reason).toBeUndefined()
  // Five minutes of picking later, all as told.
  expect(remember(first, order({ eta: eta(T0 + 5 * MIN, 3, 2, 10) })).reason).toBeUndefined()
})

test('the leg that grew is the reason, in the words of what is known', () => {
  const first = remember({}, order({ eta: eta(T0, 2, 2, 10) }))
  const waits = remember(first, order({ eta: eta(T0 + 2 * MIN, 3, 2, 10), warehouse_arrived_at_ms: T0 }))
  expect(waits.reason).toEqual({ moved_ms: 3 * MIN, cause: 'rider_waits', at_ms: T0 + 2 * MIN })
  expect(remember(first, order({ eta: eta(T0 + 2 * MIN, 3, 2, 10) })).reason?.cause).toBe('picking_longer')

  const riding = remember({}, order({ status: 3, stops_ahead: 2, eta: eta(T0, 0, 0, 10) }))
  const less = remember(riding, order({ status: 3, stops_ahead: 1, eta: eta(T0 + MIN, 0, 0, 6) }))
  expect(less.reason).toMatchObject({ moved_ms: -3 * MIN, cause: 'stop_less' })
  expect(remember(riding, order({ status: 3, stops_ahead: 3, eta: eta(T0 + MIN, 0, 0, 12) })).reason?.cause).toBe('stop_more')
  expect(remember(riding, order({ status: 3, stops_ahead: 2, eta: eta(T0 + MIN, 0, 0, 12) })).reason?.cause).toBe('ride_longer')
  expect(remember(riding, order({ status: 3, stops_ahead: 2, eta: eta(T0 + MIN, 0, 0, 7) })).reason?.cause).toBe('ride_quicker')
  expect(remember(riding, order({ status: 3, stops_ahead: 2, eta: eta(T0 + MIN, 0, 0, 9, 4) })).reason?.cause).toBe('door_longer')
})

test('small moves add up, and older estimates than the one told count for nothing', () => {
  const riding = (at: number, ride: number): Tracked => order({ status: 3, eta: eta(T0 + at * MIN, 0, 0, ride) })
  let memory = remember({}, riding(0, 10))
  memory = remember(memory, riding(1, 9.6))
  expect(memory.reason).toBeUndefined()
  memory = remember(memory, riding(2, 9.2))
  expect(memory.reason).toMatchObject({ moved_ms: expect.closeTo(1.2 * MIN, -1) as number, cause: 'ride_longer' })
  expect(remember(memory, riding(1, 20))).toBe(memory)
  expect(remember(memory, order({ status: 4 }))).toEqual({})
})

test('a reason of before the rider left doesn’t outlast that', () => {
  const first = remember({}, order({ eta: eta(T0, 2, 2, 10) }))
  const waits = remember(first, order({ eta: eta(T0 + 2 * MIN, 3, 2, 10), warehouse_arrived_at_ms: T0 }))
  expect(waits.reason?.cause).toBe('rider_waits')
  const still = order({ eta: eta(T0 + 3 * MIN, 2, 2, 10), warehouse_arrived_at_ms: T0 })
  expect(remember(waits, still)).toBe(waits)
  const left = remember(waits, order({ status: 3, eta: eta(T0 + 7 * MIN, 0, 0, 10) }))
  expect(left.reason).toBeUndefined()
  // What was told stays what the next move is measured by.
  expect(left.told).toEqual(waits.told)
  const slower = remember(waits, order({ status: 3, eta: eta(T0 + 7 * MIN, 0, 0, 13) }))
  expect(slower.reason?.cause).toBe('ride_longer')
  expect(remember(slower, order({ status: 3, eta: eta(T0 + 8 * MIN, 0, 0, 12) }))).toBe(slower)
})

test('leaving early is its own reason', () => {
  const before: Told = { at_ms: T0, p50_ms: T0 + 20 * MIN, legs: eta(T0, 8, 2, 9).legs, stops_ahead: 0, waiting: false, status: 2 }
  const now: Told = { ...before, at_ms: T0 + MIN, p50_ms: T0 + 11 * MIN, legs: eta(T0, 0, 0, 9).legs, status: 3 }
  expect(causeOf(before, now)).toBe('departed')
})

const states = (of: Partial<Tracked>): string => timeline(order({ created_at_ms: T0, ...of })).map(({ name, state }) => `${name}:${state}`).join(' ')

test('each status has its timeline', () => {
  expect(states({ status: 1 })).toBe('placed:done paid:now picking:next packed:next handed_over:next on_way:next delivered:next')
  expect(states({ status: 2, stage: 'picking' })).toBe('placed:done paid:done picking:now packed:next handed_over:next on_way:next delivered:next')
  expect(states({ status: 2, stage: 'ready' })).toBe('placed:done paid:done picking:done packed:done handed_over:now on_way:next delivered:next')
  expect(states({ status: 3 })).toBe('placed:done paid:done picking:done packed:done handed_over:done on_way:now delivered:next')
  expect(states({ status: 4 })).toBe('placed:done paid:done picking:done packed:done handed_over:done on_way:done delivered:done')
  expect(states({ status: 3, attempts: 1 })).toContain('on_way:now attempted:bad delivered:next')
})

test('a cancelled order tells what happened, and why', () => {
  expect(states({ status: 5 })).toBe('placed:done cancelled:bad')
  expect(states({ status: 5, stage: 'packed', departed_at_ms: T0, attempts: 1, returned: true })).toBe(
    'placed:done paid:done picking:done packed:done handed_over:done attempted:bad returned:bad cancelled:bad',
  )
  const why = (cancel_reason: string) => timeline(order({ status: 5, cancel_reason })).at(-1)?.more
  expect(why('unpaid')).toEqual({ text: 'reason.unpaid' })
  expect(why('changed their mind')).toEqual({ text: 'reason.given', with: { reason: 'changed their mind' } })
})

test('what riders choose as the reason has words in both languages, what they write is shown as it is', () => {
  const why = (attempt_reason: string) => timeline(order({ status: 3, attempts: 2, attempt_reason })).find(({ name }) => name === 'attempted')?.more
  const named = REASONS.filter((reason) => reason !== 'other')
  expect(named.length).toBe(5)
  for (const name of named) {
    expect(why(reasonSent(name, 'rang twice: nothing'))).toEqual({ text: 'step.attempts_because', with: { n: 2 }, trouble: { name, text: 'rang twice: nothing' } })
    expect(why(reasonSent(name, ''))?.trouble).toEqual({ name, text: '' })
    for (const { trouble } of [en, zhCN]) expect(trouble[name]).toMatch(/./)
  }
  expect(why(reasonSent('other', 'bridge: closed'))).toEqual({ text: 'step.attempts_because', with: { n: 2, reason: 'bridge: closed' } })
  expect(timeline(order({ status: 5, returned: true, cancel_reason: 'refused' })).at(-1)?.more).toEqual({ text: 'reason.given', trouble: { name: 'refused', text: '' } })
})

test('a rider who waits at the warehouse is told of', () => {
  const step = timeline(order({ stage: 'picking', warehouse_arrived_at_ms: T0 })).find(({ name }) => name === 'handed_over')
  expect(step?.more).toEqual({ text: 'step.waiting', with: { at_ms: T0 } })
})

test('the cell’s time is the time of day, unless it runs ahead or is a replay', () => {
  const clock = new CellClock()
  expect(clock.now(T0)).toBe(T0)
  clock.seen(T0 - 600_000, T0)
  expect(clock.now(T0 + 1_000)).toBe(T0 + 1_000)
  clock.seen(T0 + 3_600_000, T0)
  // Frames that come late don't turn it back.
  clock.seen(T0 + 3_600_000, T0 + 9_000)
  expect(clock.now(T0 + 1_000)).toBe(T0 + 3_601_000)
  const replay = new CellClock()
  replay.seen(T0 - 30 * 86_400_000, T0)
  expect(replay.now(T0 + 5)).toBe(T0 - 30 * 86_400_000 + 5)
})
