/** The shell: what pages hold, and what the core's actions become. */

import { expect, test, vi } from 'vitest'
import { Client } from '../src/client.js'
import type { ClientOptions } from '../src/client.js'
import type { SocketLike } from '../src/socket.js'
import { TopicError } from '../src/subscription.js'
import type { StateInfo } from '../src/topic.js'
import { FakeClock } from './clock.js'

class Socket implements SocketLike {
  onopen: SocketLike['onopen'] = null
  onmessage: SocketLike['onmessage'] = null
  onclose: SocketLike['onclose'] = null
  onerror: SocketLike['onerror'] = null
  sent: { type: string; [member: string]: unknown }[] = []
  isClosed = false
  constructor(readonly url: string) {}
  send(text: string): void {
    this.sent.push(JSON.parse(text) as { type: string })
  }
  close(): void {
    this.isClosed = true
  }
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) })
  }
  open(): void {
    this.onopen?.()
    this.say({ type: 'hello', session: 's', view: 'operations', heartbeat_ms: 10_000 })
  }
}

function rig(options: ClientOptions = {}): { client: Client; sockets: Socket[]; clock: FakeClock; errors: unknown[] } {
  const sockets: Socket[] = []
  const errors: unknown[] = []
  const clock = new FakeClock()
  const socket = (url: string): Socket => {
    const made = new Socket(url)
    sockets.push(made)
    return made
  }
  const client = new Client({ url: 'http://h:1/', token: 't', transports: ['ws'], socket, clock, random: () => 0.5, onError: (e) => errors.push(e), ...options })
  return { client, sockets, clock, errors }
}

const shown = (socket: Socket, version: number, state: object): void => {
  if (version === 1) socket.say({ type: 'subscribed', topic: 'order/a', recovery: 'fresh' })
  socket.say({ type: 'snapshot', topic: 'order/a', epoch: 1, version, at_ms: 7, state })
}
const delta = (socket: Socket, to: number, patch: object): void =>
  socket.say({ type: 'delta', topic: 'order/a', epoch: 1, from: to - 1, to, at_ms: 8, patch })

test('listeners hear states in turn; late ones what is there', () => {
  const { client, sockets } = rig()
  const heard: [number | undefined, StateInfo][] = []
  const order = client.order('a', { onState: (state, info) => heard.push([state.status, info]) })
  const [socket] = sockets as [Socket]
  expect(socket.url).toBe('ws://h:1/v1/ws')
  socket.open()
  shown(socket, 1, { status: 1 })
  delta(socket, 2, { status: 2 })
  expect(heard).toEqual([
    [1, { version: 1, epoch: 1, atMs: 7, gap: false }],
    [2, { version: 2, epoch: 1, atMs: 8, gap: false, patch: { status: 2 } }],
  ])
  const late = vi.fn()
  const off = order.listen({ onState: late })
  expect(late).toHaveBeenCalledTimes(1)
  off()
  delta(socket, 3, { status: 3 })
  expect(late).toHaveBeenCalledTimes(1)
  expect(order).toMatchObject({ version: 3, epoch: 1, freshness: 'confirmed', state: { status: 3 }, ageMs: 0 })
  // A second one shares the topic.
  const other = client.order('a')
  expect(other.version).toBe(3)
  order.unfollow()
  expect(socket.sent.at(-1)?.type).toBe('subscribe')
  other.unfollow()
  expect(socket.sent.at(-1)).toEqual({ type: 'unsubscribe', topic: 'order/a' })
})

test('the age of data is told, and silence', () => {
  const { client, sockets, clock } = rig()
  const freshness: string[] = []
  const order = client.order('a', { onFreshness: (now) => freshness.push(now) })
  sockets[0]?.open()
  shown(sockets[0] as Socket, 1, { status: 1 })
  clock.run(9_000)
  expect(order.ageMs).toBe(9_000)
  sockets[0]?.say({ type: 'heartbeat', orders: {}, unconfirmed: ['a'] })
  sockets[0]?.say({ type: 'heartbeat', orders: { a: 1 } })
  clock.run(24_000)
  expect(freshness).toEqual(['confirmed', 'unconfirmed', 'confirmed'])
  clock.run(1_000)
  expect(freshness.at(-1)).toBe('silent')
  expect(sockets[0]?.isClosed).toBe(true)
})

test('a wall clock that is put back stops nothing', () => {
  const { client, sockets, clock } = rig()
  client.order('a')
  sockets[0]?.open()
  clock.jump(-3_600_000)
  // What passed until it was noticed counts for nothing.
  clock.run(50_000)
  expect(sockets[0]?.isClosed).toBe(true)
})

test('iterators see the newest, and end with the subscription', async () => {
  const { client, sockets } = rig()
  const order = client.order('a')
  const seen: number[] = []
  const run = (async () => {
    for await (const state of order) seen.push(state.status)
  })()
  sockets[0]?.open()
  shown(sockets[0] as Socket, 1, { status: 1 })
  await Promise.resolve()
  delta(sockets[0] as Socket, 2, { status: 2 })
  delta(sockets[0] as Socket, 3, { status: 3 })
  await new Promise((done) => setTimeout(done, 5))
  expect(seen.at(-1)).toBe(3)
  order.unfollow()
  await run
})

test('iterators fail where the topic is refused', async () => {
  const { client, sockets } = rig()
  const order = client.order('a')
  const next = order[Symbol.asyncIterator]().next()
  sockets[0]?.open()
  sockets[0]?.say({ type: 'error', topic: 'order/a', problem: { type: 'unknown_order', title: 'There is no such order', status: 404 } })
  await expect(next).rejects.toThrow(TopicError)
  expect(order).toMatchObject({ freshness: 'ended', problem: { status: 404 } })
})

test('alerts are told as they come, change and go', () => {
  const { client, sockets } = rig()
  const heard: unknown[] = []
  client.order('a', { onAlert: (alert, id) => heard.push([id, alert?.state]) })
  const [socket] = sockets as [Socket]
  socket.open()
  shown(socket, 1, { status: 3, alerts: { 1: { kind: 'stalled', state: 'raised' } } })
  delta(socket, 2, { alerts: { 1: { state: 'acknowledged' }, 2: { kind: 'late', state: 'raised' } } })
  delta(socket, 3, { position: {} })
  delta(socket, 4, { alerts: { 1: null } })
  expect(heard).toEqual([['1', 'raised'], ['1', 'acknowledged'], ['2', 'raised'], ['1', undefined]])
})

test('what a page throws, and frames that are none, stop nothing', () => {
  const { client, sockets, errors } = rig()
  const order = client.order('a', {
    onState: () => {
      throw new Error('the page’s')
    },
  })
  const [socket] = sockets as [Socket]
  socket.open()
  socket.onmessage?.({ data: '{' })
  socket.onmessage?.({ data: '7' })
  socket.say({ type: 'heartbeat' })
  socket.say({ type: 'of tomorrow' })
  shown(socket, 1, { status: 1 })
  expect(order.state?.status).toBe(1)
  expect(errors.map(String)).toContain('Error: the page’s')
})

test('a token that comes late is the last one asked for; one that never comes is given up', async () => {
  const asked: ((token: string) => void)[] = []
  const { client, sockets, clock } = rig({ token: () => new Promise((resolve) => asked.push(resolve)) })
  client.order('a')
  expect(asked).toHaveLength(1)
  clock.run(30_000)
  expect(client.state.name).toBe('reconnecting')
  clock.run(2_000)
  expect(asked).toHaveLength(2)
  asked[0]?.('old')
  asked[1]?.('new')
  await new Promise((done) => setTimeout(done))
  expect(sockets).toHaveLength(1)
  sockets[0]?.open()
  expect(sockets[0]?.sent[0]).toEqual({ type: 'authenticate', token: 'new' })
})

test('a newer token given by hand starts a client that was stopped', () => {
  const states: string[] = []
  const { client, sockets } = rig({ onState: (state) => states.push(state.name) })
  client.order('a')
  sockets[0]?.open()
  sockets[0]?.onclose?.({ code: 4202, reason: 'token_expired' })
  expect(client.state).toEqual({ name: 'stopped', reason: 'token_expired', code: 4202 })
  client.authenticate('t2')
  sockets[1]?.open()
  expect(sockets[1]?.sent).toEqual([{ type: 'authenticate', token: 't2' }, { type: 'subscribe', topic: 'order/a' }])
  expect(states).toEqual(['connecting', 'open', 'stopped', 'connecting', 'open'])
})

/** An answer of the server's, whose body comes when it is told to. */
function body(): { answer: Response; say: (text: string) => void } {
  let control: ReadableStreamDefaultController<Uint8Array> | undefined
  const stream = new ReadableStream<Uint8Array>({ start: (given) => void (control = given) })
  const answer = new Response(stream, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } })
  return { answer, say: (text) => control?.enqueue(new TextEncoder().encode(text)) }
}

test('streams carry the token and the version in headers; polls in the address', async () => {
  const asked: { url: string; headers: Record<string, string> }[] = []
  const streams = [body(), body()]
  const fetch = (url: URL, { headers }: { headers: Record<string, string> }): Promise<Response> => {
    asked.push({ url: String(url), headers })
    return Promise.resolve(streams[asked.length - 1]?.answer ?? Response.json({ frames: [] }))
  }
  const { client, clock } = rig({ url: 'https://h/base/?role=customer', transports: ['sse'], fetch: fetch as never, datum: 'bd09' })
  const order = client.order('a')
  await vi.waitFor(() => expect(asked).toHaveLength(1))
  streams[0]?.say('event: snapshot\nid: 4.7\ndata: {"type":"snapshot","topic":"order/a","epoch":4,"version":7,"at_ms":1,"state":{"status":2}}\n\n')
  await vi.waitFor(() => expect(order.state?.status).toBe(2))
  expect(client.state).toEqual({ name: 'open', transport: 'sse' })
  // It falls silent, and begins again.
  clock.run(26_000)
  await vi.waitFor(() => expect(asked).toHaveLength(2))
  expect(asked[0]).toEqual({ url: 'https://h/base/v1/orders/a/events?role=customer&datum=bd09', headers: { Accept: 'text/event-stream', Authorization: 'Bearer t' } })
  expect(asked[1]?.headers['Last-Event-ID']).toBe('4.7')
  client.close()
})

test('polls', async () => {
  const asked: string[] = []
  const answers = [
    { frames: [{ type: 'snapshot', topic: 'order/a', epoch: 4, version: 7, at_ms: 1, state: { status: 2 } }] },
    { frames: [{ type: 'delta', topic: 'order/a', epoch: 4, from: 7, to: 9, at_ms: 1, patch: { status: 3 } }] },
  ]
  const fetch = (url: URL): Promise<Response> => {
    asked.push(url.search)
    const next = answers.shift()
    return next ? Promise.resolve(Response.json(next)) : new Promise(() => {})
  }
  const { client, clock } = rig({ transports: ['poll'], fetch: fetch as never })
  const order = client.order('a')
  await vi.waitFor(() => {
    clock.run(1)
    expect(order.version).toBe(9)
  })
  expect(asked).toEqual(['?wait=0', '?wait=20&since=7&epoch=4', '?wait=20&since=9&epoch=4'])
  client.close()
})
