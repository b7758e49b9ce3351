import type { TrackRow } from '@trunkline/client/rest'
import { describe, expect, it } from 'vitest'
import { chart, outcome, ticks, toldOf } from '@/ops/order/chart.js'
import { ticksOf } from '@/ops/order/replay.js'
import { linesOf } from '@/ops/order/timeline.js'
import { commandOf, whereOf } from '@/ops/shell/keys.js'
import { nearest, orderScene, riddenOf } from '@/ops/shell/scene.js'
import { matching, wanted } from '@/ops/shell/search.js'

const row = (id: number, kind: string, more: Partial<TrackRow> = {}): TrackRow => ({ id, kind, version: id, rev: 1, status: 3, at_ms: id * 1_000, operator_id: 'x', operator_type: 4, ...more })
const eta = (p50: number): Partial<TrackRow> => ({ eta_p10_ms: p50 - 60_000, eta_p50_ms: p50, eta_p90_ms: p50 + 120_000 })
const MIN = 60_000

describe('the chart', () => {
  const rows = [row(1, 'pay', eta(30 * MIN)), row(2, 'fix'), row(3, 'stage', eta(30 * MIN)), row(4, 'stage', eta(28 * MIN))]

  it('has a step for each time that was told, and none for the same again', () => {
    expect(toldOf(rows)).toEqual([
      { at: 1_000, p10: 29 * MIN, p50: 30 * MIN, p90: 32 * MIN },
      { at: 4_000, p10: 27 * MIN, p50: 28 * MIN, p90: 30 * MIN },
    ])
  })

  it('has all in sight: band, promise and completion, later ones higher', () => {
    const size = { width: 300, height: 100, left: 40, right: 10, top: 10, bottom: 20 }
    const drawn = chart(toldOf(rows), [20 * MIN, 40 * MIN], 10 * MIN, size)!
    for (const ms of [20 * MIN, 27 * MIN, 40 * MIN]) {
      expect(drawn.y(ms)).toBeGreaterThanOrEqual(10)
      expect(drawn.y(ms)).toBeLessThanOrEqual(80)
    }
    expect(drawn.y(40 * MIN)).toBeLessThan(drawn.y(20 * MIN))
    expect([drawn.x(1_000), drawn.x(10 * MIN)]).toEqual([40, 290])
    expect(drawn.line.startsWith('M')).toBe(true)
    expect(drawn.line).not.toContain('NaN')
    expect(chart([], [], 0, size)).toBeUndefined()
  })

  it('marks round times, few of them', () => {
    expect(ticks(1, 30 * MIN, 5)).toEqual([10, 20, 30].map((n) => n * MIN))
    for (const span of [90_000, 3_600_000, 86_400_000 * 9]) expect(ticks(0, span, 5).length).toBeLessThanOrEqual(6)
  })

  it('judges what was told first on the way', () => {
    const told = toldOf(rows)
    expect(outcome(told, 3_500, 29 * MIN)).toEqual({ errorMs: -1 * MIN, within: true })
    expect(outcome(told, 3_500, 33 * MIN)).toEqual({ errorMs: -5 * MIN, within: false })
    expect(outcome(told, 3_500, undefined)).toBeUndefined()
  })
})

describe('the timeline', () => {
  it('has what happened, the newest first, and no fixes', () => {
    const lines = linesOf([row(1, 'create'), row(2, 'fix'), row(3, 'alert', { note: 'raised off_route 3: 313.8 m, threshold 80 m, route' }), row(4, 'deliver', { note: 'photo 1' })])
    expect(lines.map(({ key, tone }) => [key, tone])).toEqual([['deliver', 'good'], ['alert', 'bad'], ['create', 'plain']])
    expect(lines[1]!.alert).toEqual({ change: 'raised', kind: 'off_route', n: '3' })
    expect(lines[0]!.note).toBe('photo 1')
  })

  it('shows what it doesn’t know', () => expect(linesOf([row(1, 'of_tomorrow')])[0]!.key).toBe('other'))
})

describe('the slider', () => {
  it('has each event where it was', () => {
    const events = [1_000, 3_000, 5_000].map((at_ms, i) => ({ at_ms, kind: ['create', 'stage', 'alert'][i]!, version: i, status: 2 as const, ...(i === 2 ? { note: 'raised late 1: x' } : {}) }))
    expect(ticksOf({ firstMs: 1_000, lastMs: 5_000, events }).map(({ share, tone }) => [share, tone])).toEqual([[0, 'plain'], [0.5, 'stage'], [1, 'bad']])
    expect(ticksOf({ firstMs: 0, lastMs: 0, events: [] })).toEqual([])
  })
})

describe('the search', () => {
  it('takes digits for a phone’s end, and for an id too', () => {
    expect(wanted(' 5678 ')).toEqual({ part: '5678', id: '5678', tail: '5678' })
    expect(wanted('56 78')).toEqual({ part: '56 78', id: undefined, tail: '5678' })
    expect(wanted('12')?.tail).toBeUndefined()
    expect(wanted('123456789')?.tail).toBeUndefined()
    expect(wanted('Order-7')).toEqual({ part: 'order-7', id: 'Order-7', tail: undefined })
    expect(wanted('  ')).toBeUndefined()
  })

  it('has ids that begin or end so first, the short ones first', () => {
    expect(matching(['xx-o10', 'o10', 'a-o10-b', 'o1', 'O100'], 'o10', 3)).toEqual(['o10', 'O100', 'xx-o10'])
    expect(matching(['a', 'b'], 'c', 3)).toEqual([])
  })
})

describe('what is drawn of an order', () => {
  const say = (key: string): string => key

  it('is its ends, its route and where its rider was then', () => {
    const order = { id: 'o', cell: 'c', status: 3 as const, warehouse: { id: 'w', lat: 1, lon: 2 }, destination: { lat: 3, lon: 4 }, position: { lat: 2, lon: 3, fix_time_ms: 1 }, route: { type: 'LineString', coordinates: [[2, 1], [4, 3]] } }
    const scene = orderScene(order, [], say, true)
    expect(scene.pins.map(({ kind }) => kind)).toEqual(['warehouse', 'door', 'rider'])
    expect(scene.route).toEqual([{ lon: 2, lat: 1 }, { lon: 4, lat: 3 }])
    expect(orderScene(order, [], say, false).pins.map(({ kind }) => kind)).toEqual(['warehouse', 'door'])
  })

  it('leaves out fixes that don’t count, and those of later', () => {
    const fix = (id: number, mark: 'good' | 'jump', fix_time_ms: number): TrackRow => row(id, 'fix', { mark, lat: id, lon: 0, fix_time_ms })
    const rows = [fix(1, 'good', 10), fix(2, 'jump', 20), fix(3, 'good', 5), fix(4, 'good', 40)]
    expect(riddenOf(rows).map(({ lat }) => lat)).toEqual([3, 1, 4])
    expect(riddenOf(rows, 3_000).map(({ lat }) => lat)).toEqual([3, 1])
  })

  it('measures to the nearest point of the route', () => {
    const line = [{ lat: 0, lon: 0 }, { lat: 0, lon: 2 }]
    expect(nearest(line, { lat: 1, lon: 0.5 })).toEqual({ lat: 0, lon: 0.5 })
    expect(nearest(line, { lat: 1, lon: 9 })).toEqual({ lat: 0, lon: 2 })
    expect(nearest([], { lat: 1, lon: 9 })).toBeUndefined()
  })
})

describe('keys', () => {
  const press = (key: string, more = {}): Parameters<typeof commandOf>[0] => ({ key, ctrlKey: false, metaKey: false, altKey: false, isComposing: false, ...more })

  it('are the desk’s, unless somebody writes', () => {
    expect(commandOf(press('j'), 'page', false)).toBe('next')
    expect(commandOf(press('j'), 'text', false)).toBeUndefined()
    expect(commandOf(press('a', { ctrlKey: true }), 'page', false)).toBeUndefined()
    expect(commandOf(press('a', { isComposing: true }), 'page', false)).toBeUndefined()
  })

  it('leave a button its own, and the map its arrows', () => {
    expect(commandOf(press('Enter'), 'control', false)).toBeUndefined()
    expect(commandOf(press('Enter'), 'page', false)).toBe('open')
    expect(commandOf(press('ArrowDown'), 'map', false)).toBeUndefined()
    expect(commandOf(press('ArrowDown'), 'control', false)).toBe('next')
  })

  it('leave a panel what scrolls it, on its buttons too; j and k stay the desk’s', () => {
    document.body.innerHTML = '<aside class="right"><h2>x</h2><button>y</button><input id="link"></aside><div class="scroll"><a>z</a></div><button id="row">r</button>'
    const at = (selector: string): ReturnType<typeof whereOf> => whereOf(document.querySelector(selector))
    expect(['.right h2', '.right button', '.scroll', '.scroll a', '#link', '#row', 'body'].map(at)).toEqual(['panel', 'panel', 'panel', 'panel', 'text', 'control', 'page'])
    for (const key of ['ArrowDown', 'ArrowUp', 'ArrowLeft', 'ArrowRight', ' ', 'Enter']) expect(commandOf(press(key), 'panel', true), key).toBeUndefined()
    expect(['j', 'k', 'a', 'Escape'].map((key) => commandOf(press(key), 'panel', false))).toEqual(['next', 'previous', 'acknowledge', 'close'])
  })

  it('steer a replay while there is one', () => {
    expect(commandOf(press(' '), 'page', true)).toBe('toggle')
    expect(commandOf(press(' '), 'control', true)).toBeUndefined()
    expect(commandOf(press(' '), 'page', false)).toBeUndefined()
    expect(commandOf(press('ArrowLeft'), 'page', true)).toBe('back')
    expect(commandOf(press('ArrowLeft'), 'page', false)).toBeUndefined()
  })
})
