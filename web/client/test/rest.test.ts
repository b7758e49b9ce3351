/** REST: what is sent, and what becomes of refusals. */

import { expect, test } from 'vitest'
import { Rest, RestError } from '../src/rest.js'

interface Seen {
  url: string
  init: RequestInit
}

function rig(answer: () => Response, options = {}): { rest: Rest; seen: Seen[] } {
  const seen: Seen[] = []
  const fetch = (async (url: URL, init: RequestInit) => {
    seen.push({ url: url.href, init })
    return answer()
  }) as unknown as typeof globalThis.fetch
  return { rest: new Rest({ url: 'http://h:1/base/?role=operations', token: 't', fetch, ...options }), seen }
}

const ok = (body: unknown) => () => new Response(JSON.stringify(body), { status: 200 })
const headers = (seen: Seen): Record<string, string> => seen.init.headers as Record<string, string>

test('a read has the token, lists by commas, and the query of the address', async () => {
  const { rest, seen } = rig(ok({ orders: [] }), { datum: 'gcj02' })
  await rest.orders({ status: [2, 3], phone_tail: '5678', limit: 20 })
  expect(seen[0]?.url).toBe('http://h:1/base/v1/orders?role=operations&status=2%2C3&phone_tail=5678&limit=20&datum=gcj02')
  expect(headers(seen[0]!)['Authorization']).toBe('Bearer t')
  expect(headers(seen[0]!)['Idempotency-Key']).toBeUndefined()
})

test('a command has a key: its caller’s, or one of its own', async () => {
  const { rest, seen } = rig(ok({}), { token: undefined })
  await rest.acknowledge('o.1', 'called the rider', 'mine')
  await rest.acknowledge('o.1')
  await rest.acknowledge('o.1')
  expect(seen.map((one) => one.init.body)).toEqual(['{"note":"called the rider"}', '{}', '{}'])
  const keys = seen.map((one) => headers(one)['Idempotency-Key'])
  expect(keys[0]).toBe('mine')
  expect(keys[1]).toMatch(/^[0-9a-f]{32}$/)
  expect(keys[1]).not.toBe(keys[2])
  expect(headers(seen[0]!)['Authorization']).toBeUndefined()
})

test('an id is a part of the path, whatever is in it', async () => {
  const { rest, seen } = rig(ok({}))
  await rest.order('../x?y')
  expect(seen[0]?.url).toContain('/base/v1/orders/..%2Fx%3Fy?')
})

test('a refusal is the server’s problem; silence and foreign answers are told as what they are', async () => {
  const problem = { type: 'bad_input', title: 'A field doesn’t fit', status: 400, field: 'note' }
  const refused = rig(() => new Response(JSON.stringify(problem), { status: 400, headers: { 'content-type': 'application/problem+json' } }))
  await expect(refused.rest.order('a')).rejects.toMatchObject({ problem, passes: false })
  const proxy = rig(() => new Response('<html>', { status: 502 }))
  await expect(proxy.rest.order('a')).rejects.toMatchObject({ status: 502, passes: true })
  const silent = rig(() => {
    throw new TypeError('fetch failed')
  })
  const error: unknown = await silent.rest.order('a').catch((error: unknown) => error)
  expect(error).toBeInstanceOf(RestError)
  expect(error).toMatchObject({ status: 0, passes: true })
})

test('a history is read page by page, and no further than asked', async () => {
  const pages = [{ rows: [{ id: 1 }], next: 1 }, { rows: [{ id: 2 }], next: 2 }, { rows: [{ id: 3 }] }]
  const all = rig(() => ok(pages.shift())())
  expect((await all.rest.wholeTrack('o')).map((row) => row.id)).toEqual([1, 2, 3])
  expect(all.seen.map((one) => new URL(one.url).searchParams.get('after'))).toEqual([null, '1', '2'])
  const endless = rig(ok({ rows: [{ id: 1 }, { id: 2 }], next: 2 }))
  expect(await endless.rest.wholeTrack('o', 5)).toHaveLength(6)
  expect(endless.seen).toHaveLength(3)
})

test('an answer that doesn’t come, or breaks off, is nobody’s', async () => {
  const fetch = ((_: URL, { signal }: RequestInit) => new Promise((_, fail) => signal?.addEventListener('abort', () => fail(signal.reason)))) as unknown as typeof globalThis.fetch
  const silent = new Rest({ url: 'http://h:1', fetch, timeoutMs: 20 })
  await expect(silent.shift('r1', true, 'k')).rejects.toMatchObject({ status: 0, passes: true })
  const broken = rig(() => new Response(new ReadableStream({ start: (stream) => stream.error(new TypeError('reset')) })))
  await expect(broken.rest.order('a')).rejects.toMatchObject({ status: 0, passes: true })
})

test('what can’t be read is the answer of somebody else, and decides nothing', async () => {
  const problem = { 'content-type': 'application/problem+json' }
  const answers = [
    () => new Response('<html>Sign in to the hotel', { status: 200 }),
    () => new Response('{"broken', { status: 200, headers: { 'content-type': 'application/json' } }),
    () => new Response('<html>', { status: 403, headers: problem }),
    ...['null', '[]', '{}', '{"type":"x"}'].map((text) => () => new Response(text, { status: 403, headers: problem })),
  ]
  for (const answer of answers) {
    const error: unknown = await rig(answer).rest.order('a').catch((error: unknown) => error)
    expect(error).toBeInstanceOf(RestError)
    expect(error).toMatchObject({ problem: { type: 'about:blank', title: 'The answer isn’t the server’s', status: 0 }, passes: true })
  }
})
