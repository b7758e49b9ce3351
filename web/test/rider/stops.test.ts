import { expect, test } from 'vitest'
import type { Report } from '@/rider/db.js'
import { contactOf, isOnShift, keepable, mapLink, openStops, telephone } from '@/rider/stops.js'
import type { Board } from '@/rider/stops.js'
import en from '@/rider/locale/en.js'
import zhCN from '@/rider/locale/zh-CN.js'
import { problem } from './world.js'

const stop = (order: string) => ({ order, status: 3 as const, address: `${order} Road`, contact: { phone: '138' }, notes: 'ring', destination: { lat: 1, lon: 2 }, items: 2 })
const board: Board = { id: 'r1', on_shift: false, stops: [stop('a'), stop('b'), stop('c')] }
const report = (kind: Report['kind'], order?: string, more: Partial<Report> = {}): Report => ({ rider: 'r1', kind, body: {}, key: `${kind} ${order}`, at_ms: 1, ...(order ? { order } : {}), ...more })
const refused = problem(409).problem
const NONE = new Set<string>()

test('a stop ends with its report, comes back when that is refused, and stays gone when the server took it', () => {
  const orders = (reports: Report[], taken = NONE): string[] => openStops(board, reports, taken).map(({ order }) => order)
  expect(orders([])).toEqual(['a', 'b', 'c'])
  expect(orders([report('delivered', 'a')])).toEqual(['b', 'c'])
  expect(orders([report('delivered', 'a', { refused })])).toEqual(['a', 'b', 'c'])
  expect(orders([report('returned', 'b')], new Set(['a']))).toEqual(['c'])
})

test('an attempt that failed leaves the stop, and says what waits', () => {
  const [first, second] = openStops(board, [report('failed', 'a')], NONE)
  expect([first?.order, first?.pending?.kind, second?.pending]).toEqual(['a', 'failed', undefined])
})

test('the shift is what the rider said last, unless the server refused it', () => {
  const said = (on: boolean, more: Partial<Report> = {}): Report => report('shift', undefined, { body: { on }, ...more })
  expect(isOnShift(undefined, [])).toBe(false)
  expect(isOnShift(board, [said(true), said(false), said(true)])).toBe(true)
  expect(isOnShift({ ...board, on_shift: true }, [said(false, { refused })])).toBe(true)
})

test('what is kept of a stop that ended names nobody and no place', () => {
  const kept = keepable(board, [report('delivered', 'a')], new Set(['b']))
  expect(kept.stops).toEqual([{ order: 'a', status: 3, items: 2 }, { order: 'b', status: 3, items: 2 }, stop('c')])
})

test('contacts are read in the shapes that they come in', () => {
  expect(contactOf({ name: '王芳', phone: '138', more: 1 })).toEqual({ name: '王芳', phone: '138' })
  expect(contactOf('13812345678')).toEqual({ phone: '13812345678' })
  for (const none of [undefined, null, 7, { phone: 7 }]) expect(contactOf(none)).toEqual({})
  expect(telephone('+86 １38-1234 5678')).toBe('tel:+8613812345678')
})

test('a place opens in the phone’s own maps', () => {
  const at = { lat: 31.2, lon: 121.4 }
  expect(mapLink(at, '南京东路 1 (后门)', 'Mozilla/5.0 (Linux; Android 14)')).toBe(`geo:31.2,121.4?q=31.2,121.4(${encodeURIComponent('南京东路 1 (后门)')})`)
  expect(mapLink(at, 'x&y', 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0)')).toBe('maps://?daddr=31.2,121.4&q=x%26y')
})

test('each text is there in both languages', () => {
  const names = (texts: object, at = ''): string[] =>
    Object.entries(texts).flatMap(([name, text]) => (typeof text === 'string' ? [at + name] : names(text as object, `${at}${name}.`)))
  expect(names(en)).toEqual(names(zhCN))
})
