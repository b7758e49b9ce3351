import { expect, test } from 'vitest'
import type { Json } from '../src/frames.js'
import { merge } from '../src/merge.js'

// RFC 7396, appendix A.
test.each<[string, string, string]>([
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', '{}'],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['["a","b"]', '["c","d"]', '["c","d"]'],
  ['{"a":"b"}', '["c"]', '["c"]'],
  ['{"a":"foo"}', 'null', 'null'],
  ['{"a":"foo"}', '"bar"', '"bar"'],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
  ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ['{}', '{"__proto__":{"x":1},"constructor":2}', '{"__proto__":{"x":1},"constructor":2}'],
])('%s and %s give %s', (target, patch, expected) => {
  const before = JSON.parse(target) as Json
  expect(JSON.stringify(merge(before, JSON.parse(patch) as Json))).toBe(expected)
  expect(JSON.stringify(before)).toBe(target)
  expect(({} as { x?: number }).x).toBeUndefined()
})

test('what a patch doesn’t touch is the same object', () => {
  const before = { kept: { a: 1 }, changed: { b: 1 } }
  const after = merge(before, { changed: { b: 2 } }) as typeof before
  expect(after.kept).toBe(before.kept)
  expect(after.changed).not.toBe(before.changed)
})
