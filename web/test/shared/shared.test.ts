import { expect, test } from 'vitest'
import { preferred } from '@/shared/i18n.js'
import en from '@/shared/locale/en.js'
import zhCN from '@/shared/locale/zh-CN.js'
import { claimsOf } from '@/shared/session.js'
import { clock, distance, money, range, span } from '@/shared/time.js'

test('the first wish that is a language of ours counts, and Chinese without one', () => {
  expect(preferred(null, 'fr', 'EN-gb')).toBe('en')
  expect(preferred('zh-TW', 'en')).toBe('zh-CN')
  expect(preferred(undefined, 'fr')).toBe('zh-CN')
})

test('each text is there in both languages', () => {
  const names = (texts: object, at = ''): string[] =>
    Object.entries(texts).flatMap(([name, text]) => (typeof text === 'string' ? [at + name] : names(text as object, `${at}${name}.`)))
  expect(names(en)).toEqual(names(zhCN))
})

test('a token is read where it is one', () => {
  const part = (json: object): string => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(json)))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
  expect(claimsOf(`${part({})}.${part({ role: 'rider', sub: 'r1', name: '王' })}.x`)).toEqual({ role: 'rider', sub: 'r1', name: '王' })
  for (const none of ['', 'a.b.c', 'o-1', `${part({})}.${part({ sub: 'r1' })}.x`]) expect(claimsOf(none)).toBeUndefined()
})

test('spans and distances are short', () => {
  expect([span(38_400, 'en'), span(250_000, 'en'), span(7_500_000, 'en')]).toEqual(['38 sec', '4 min', '2 hr 5 min'])
  expect([distance(854, 'en'), distance(2_440, 'en'), distance(12_400, 'en')]).toEqual(['850 m', '2.4 km', '12 km'])
  expect(money(4990, 'CNY', 'zh-CN')).toBe('¥49.90')
  expect(money(500, 'JPY', 'en')).toBe('¥500')
})

test('a window that is one minute is one time', () => {
  const noon = new Date(2026, 10, 21, 12, 0).getTime()
  expect(clock(noon, 'en', noon)).toBe('12:00')
  expect(clock(noon, 'en', noon + 86_400_000)).toContain('11/21')
  expect(range(noon, noon + 30_000, 'en').split('–')).toHaveLength(1)
})
