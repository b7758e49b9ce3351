/** A replay: what is asked of the server, and what is shown, also over a connection that breaks. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Replay } from '../src/replay.js'
import type { ReplayOptions, ReplayState } from '../src/replay.js'
import type { SocketLike } from '../src/socket.js'

class Socket implements SocketLike {
  onopen: SocketLike['onopen'] = null
  onmessage: SocketLike['onmessage'] = null
  onclose: SocketLike['onclose'] = null
  onerror: SocketLike['onerror'] = null
  sent: Record<string, unknown>[] = []
  constructor(readonly url: string) {}
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>)
  }
  close(): void {}
  say(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) })
  }
}

const sockets: Socket[] = []
let states: ReplayState[]

beforeEach(() => {
  vi.useFakeTimers()
  sockets.length = 0
  states = []
})
afterEach(() => vi.useRealTimers())

async function begin(options: Partial<ReplayOptions> = {}): Promise<{ replay: Replay; socket: Socket }> {
  const socket = (url: string): Socket => {
    sockets.push(new Socket(url))
    return sockets.at(-1)!
  }
  const replay = new Replay('o', { url: 'http://h:1', token: 't', socket, onChange: (state) => states.push(state), ...options })
  await greeted()
  return { replay, socket: sockets[0]! }
}

async function greeted(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0)
  sockets.at(-1)!.onopen?.()
  sockets.at(-1)!.say({ type: 'hello' })
}

const started = { type: 'replay_started', replay: 1, order: 'o', first_ms: 100, last_ms: 900, events: [] }

test('it begins as asked, and shows states and changes', async () => {
  const { replay, socket } = await begin({ speed: 10, paused: true, fromMs: 200.4 })
  expect(socket.url).toBe('ws://h:1/v1/ws')
  expect(socket.sent).toEqual([
    { type: 'authenticate', token: 't' },
    { type: 'replay', replay: 1, order: 'o', speed: 10, paused: true, from_ms: 200 },
  ])
  socket.say(started)
  expect(replay.state).toMatchObject({ name: 'paused', firstMs: 100, lastMs: 900 })
  socket.say({ type: 'replay_state', replay: 1, at_ms: 200, version: 2, state: { status: 2, stage: 'picking' } })
  socket.say({ type: 'replay_delta', replay: 1, at_ms: 300, from: 2, to: 4, patch: { stage: 'packed' } })
  expect(replay.state).toMatchObject({ atMs: 300, version: 4, order: { status: 2, stage: 'packed' } })
  replay.play()
  replay.speed(60)
  replay.seek(250)
  expect(socket.sent.slice(2)).toEqual([
    { type: 'replay_control', replay: 1, paused: false },
    { type: 'replay_control', replay: 1, speed: 60 },
    { type: 'replay_control', replay: 1, seek_ms: 250 },
  ])
  socket.say({ type: 'replay_position', replay: 1, at_ms: 250, version: 2, speed: 60, paused: false })
  expect(replay.state).toMatchObject({ name: 'playing', speed: 60, atMs: 250 })
  expect(states.at(-1)).toBe(replay.state)
})

test('at its end it plays from the beginning', async () => {
  const { replay, socket } = await begin()
  socket.say(started)
  socket.say({ type: 'replay_ended', replay: 1, at_ms: 900, version: 9 })
  expect(replay.state.name).toBe('ended')
  replay.play()
  expect(socket.sent.at(-1)).toEqual({ type: 'replay_control', replay: 1, paused: false, seek_ms: 100 })
  socket.say({ type: 'replay_state', replay: 1, at_ms: 100, version: 1, state: {} })
  expect(replay.state.name).toBe('playing')
})

test('a connection that breaks is made again where the replay was, with what was wanted meanwhile', async () => {
  const { replay, socket } = await begin()
  socket.say(started)
  socket.say({ type: 'replay_position', replay: 1, at_ms: 400, version: 3, speed: 1, paused: false })
  socket.onclose?.({ code: 1006 })
  expect(replay.state.name).toBe('connecting')
  replay.speed(30)
  await vi.advanceTimersByTimeAsync(500)
  await greeted()
  expect(sockets[1]!.sent.at(-1)).toEqual({ type: 'replay', replay: 1, order: 'o', speed: 30, paused: false, from_ms: 400 })
})

test('it ends where it can’t be: refused, revoked, or out of reach', async () => {
  const refused = await begin()
  refused.socket.say({ type: 'replay_failed', replay: 1, problem: { type: 'unknown_order', title: 'No such order', status: 404 } })
  expect(refused.replay.state).toMatchObject({ name: 'failed', problem: { status: 404 } })
  const revoked = await begin()
  sockets.at(-1)!.onclose?.({ code: 4204, reason: 'revoked' })
  expect(revoked.replay.state.name).toBe('failed')
  const tries = sockets.length
  const lost = await begin()
  for (let i = 0; i < 10; i += 1) {
    sockets.at(-1)!.onclose?.({ code: 1006 })
    await vi.advanceTimersByTimeAsync(60_000)
  }
  expect(lost.replay.state.name).toBe('failed')
  expect(sockets.length - tries).toBe(7)
})

test('closed, it says nothing more', async () => {
  const { replay, socket } = await begin()
  socket.say(started)
  const told = states.length
  replay.close()
  socket.onclose?.({ code: 1000 })
  await vi.advanceTimersByTimeAsync(60_000)
  expect([states.length, sockets.length]).toEqual([told, 1])
})
