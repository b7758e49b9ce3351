import type { AlertRecord } from '@trunkline/client/rest'
import { describe, expect, it } from 'vitest'
import { evidenceWords, quantity } from '@/ops/inbox/evidence.js'
import { Herald, counts, filtered, kept, troubleOf } from '@/ops/inbox/inbox.js'
import type { InboxFilter } from '@/ops/inbox/inbox.js'
import en from '@/ops/locale/en.js'
import zhCN from '@/ops/locale/zh-CN.js'
import { ALERT, LATE } from '@/ops/stage/fleet.js'

const alert = (id: string, severity: string, since_ms: number, more: Partial<AlertRecord> = {}): AlertRecord => ({
  alert: id, order: id.split('.')[0]!, cell: 'default', kind: 'off_route', severity, state: 'raised', change: 1, at_ms: since_ms, since_ms, detected_at_ms: since_ms + 1_000,
  evidence: { measure: 132.4, threshold: 80, unit: 'm', about: 'route', fixes: [] }, ...more,
})
const all: InboxFilter = { tab: 'all', severity: '', kind: '', text: '' }
const ids = (list: AlertRecord[]): string[] => list.map(({ alert }) => alert)

describe('the inbox', () => {
  const list = [alert('a.1', 'info', 1), alert('b.1', 'critical', 9), alert('c.1', 'warning', 3), alert('d.1', 'critical', 5), alert('e.1', 'warning', 2, { state: 'acknowledged', rider: 'R-7', kind: 'late' })]

  it('has the severe first, and of those who waits longest', () => expect(ids(filtered(list, all))).toEqual(['d.1', 'b.1', 'e.1', 'c.1', 'a.1']))

  it('is the same whatever order they come in', () => expect(ids(filtered([...list].reverse(), all))).toEqual(ids(filtered(list, all))))

  it('filters by state, severity, kind, and part of an id', () => {
    expect(ids(filtered(list, { ...all, tab: 'raised' }))).toEqual(['d.1', 'b.1', 'c.1', 'a.1'])
    expect(ids(filtered(list, { ...all, tab: 'acknowledged' }))).toEqual(['e.1'])
    expect(ids(filtered(list, { ...all, severity: 'critical' }))).toEqual(['d.1', 'b.1'])
    expect(ids(filtered(list, { ...all, kind: 'late' }))).toEqual(['e.1'])
    expect(ids(filtered(list, { ...all, text: ' r-7' }))).toEqual(['e.1'])
  })

  it('leaves what it is given as it is', () => {
    const before = ids(list)
    filtered(list, all)
    expect(ids(list)).toEqual(before)
  })

  it('counts what wants a hand', () => expect(counts(list)).toEqual({ critical: 2, warning: 1, info: 1 }))

  it('keeps the chosen row, or its place when it is gone', () => {
    const shown = filtered(list, all)
    expect(kept(shown, 'c.1', 0)).toBe(3)
    expect(kept(shown, 'gone.1', 2)).toBe(2)
    expect(kept(shown, 'gone.1', 40)).toBe(4)
    expect(kept([], undefined, 0)).toBe(-1)
  })

  it('colours lateness amber, the rest red, and what somebody sees to amber', () => {
    const { orders, riders } = troubleOf([
      alert('a.1', 'warning', 1, { rider: 'r1' }),
      alert('b.1', 'critical', 1, { kind: 'late' }),
      alert('c.1', 'warning', 1, { state: 'acknowledged' }),
      alert('d.1', 'warning', 1, { state: 'cleared' }),
      alert('e.1', 'info', 1),
    ])
    expect([...orders]).toEqual([['a', ALERT], ['b', LATE], ['c', LATE]])
    expect([...riders]).toEqual([['r1', ALERT]])
  })
})

describe('what is said aloud', () => {
  it('is what is new and critical, all of some seconds at once', () => {
    const herald = new Herald(10_000)
    const one = alert('a.1', 'critical', 1)
    const [two, three, four] = [alert('b.1', 'critical', 2), alert('c.1', 'critical', 3), alert('d.1', 'warning', 4)]
    expect(herald.hear([one], 0)).toBeUndefined()
    expect(ids(herald.hear([one, two], 1_000) ?? [])).toEqual(['b.1'])
    expect(herald.hear([one, two, three, four], 2_000)).toBeUndefined()
    expect(ids(herald.hear([one, two, three, four], 11_500) ?? [])).toEqual(['c.1'])
    expect(herald.hear([one, two, three, four], 30_000)).toBeUndefined()
  })
})

describe('evidence in words', () => {
  const text = (texts: object, key: string): string => key.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], texts) as string
  const filled = (texts: object, words: { key: string; params: Record<string, string> }): string => text(texts, words.key).replace(/\{(\w+)\}/g, (_, name: string) => words.params[name] ?? `{${name}}`)

  it('says measure, threshold and how long', () => {
    const off = alert('a.1', 'warning', 10_000)
    off.evidence.fixes = [{ lat: 31, lon: 121, fix_time_ms: 10_000 }, { lat: 31, lon: 121, fix_time_ms: 55_000 }]
    expect(filled(en, evidenceWords(off, 'en'))).toBe('132 m off the route (threshold 80 m) for 45 sec')
    expect(filled(zhCN, evidenceWords(off, 'zh-CN'))).toContain('偏离路线 132')
  })

  it('tells a route from a way that leads away', () => {
    const away = alert('a.1', 'warning', 0)
    away.evidence.about = 'destination'
    expect(evidenceWords(away, 'en').key).toBe('evidence.away')
  })

  it('names the stage after which nothing came', () => {
    const overdue = alert('a.1', 'warning', 0, { kind: 'stage_overdue', evidence: { measure: 400_000, threshold: 300_000, unit: 'ms', about: 'since pay', fixes: [] } })
    expect(evidenceWords(overdue, 'en').params['stage']).toBe('pay')
  })

  it('has a text for each kind, in both languages, with nothing left open', () => {
    for (const kind of Object.keys(en.kind)) {
      const words = evidenceWords(alert('a.1', 'warning', 0, { kind }), 'en')
      for (const texts of [en, zhCN]) expect(filled(texts, { ...words, params: { stage: 'x', ...words.params } })).not.toMatch(/[{}]/)
    }
    expect(evidenceWords(alert('a.1', 'warning', 0, { kind: 'of_tomorrow' }), 'en').key).toBe('evidence.other')
  })

  it('has each unit', () => {
    expect(quantity(132.4, 'm', 'en')).toBe('132 m')
    expect(quantity(90_000, 'ms', 'en')).toBe('2 min')
    expect(quantity(12, 'pct', 'en')).toBe('12%')
  })
})

describe('the texts', () => {
  const names = (texts: object, at = ''): string[] => Object.entries(texts).flatMap(([name, text]) => (typeof text === 'string' ? [`${at}${name}:${[...text.matchAll(/\{(\w+)\}/g)].map(([, p]) => p).sort().join()}`] : names(text as object, `${at}${name}.`)))

  it('are the same in both languages, with the same parameters', () => expect(names(zhCN).sort()).toEqual(names(en).sort()))
})
