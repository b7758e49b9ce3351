/**
 * A process full of clients, each following one order, that answers its parent: how it stands, and whether each client
 * ended where the server is.
 */

import { Client } from '../src/index.js'
import { parseFrame } from '../src/frames.js'
import type { ClientFrame } from '../src/frames.js'
import type { Order, SocketFactory, SocketLike, Subscription } from '../src/index.js'
import { nodeSocket } from './socket.js'
import { text } from './text.js'
import { sleep } from './wait.js'

export interface Begin {
  do: 'begin'
  url: string
  token: string
  orders: string[]
  clients: number
}
/** What REST has, by order. */
export interface Compare {
  do: 'compare'
  expected: Record<string, { version: number; state: unknown }>
}
export interface Standing {
  open: number
  followed: number
  states: Record<string, number>
}
export interface Findings {
  /** Of each client, when it dialled, and when it was greeted. */
  dialled: number[][]
  greeted: number[][]
  /** How connections ended, by close code. */
  codes: Record<string, number>
  /** Client states that aren't `open`. */
  lost: string[]
  different: string[]
  /** Statuses that came after one that isn't their neighbour, with no gap told. */
  skipped: string[]
  gaps: number
  /** Clients that were told of any. */
  gapped: number
  /** How the latest connection of each client began its topic. */
  resumed: number
  missed: number
  /** Those that asked for what comes after a version and got a whole state: `epoch.version` of both. */
  resets: Reset[]
  /** Resets after which the page heard of no gap. */
  untold: string[]
  states: number
}
/** Versions as `epoch.version`. */
export interface Reset {
  order: string
  asked: string
  got: string
  atMs: number
}

interface One {
  client: Client
  order: Subscription<Order>
  id: string
  dialled: number[]
  greeted: number[]
  statuses: number[]
  skipped: string[]
  gaps: number
  states: number
  resets: Reset[]
  untold: string[]
}

const all: One[] = []
const codes: Record<string, number> = {}

const counted = (one: Pick<One, 'id' | 'dialled' | 'resets' | 'untold'>, gaps: () => number): SocketFactory => (url) => {
  one.dialled.push(Date.now())
  const socket = nodeSocket(url)
  watchResets(socket, one, gaps)
  let onclose: typeof socket.onclose = null
  Object.defineProperty(socket, 'onclose', {
    get: () => (onclose === null ? null : (end: { code: number; reason: string; retryAfterMs?: number }) => {
      codes[end.code] = (codes[end.code] ?? 0) + 1
      onclose?.(end)
    }),
    set: (listener: typeof onclose) => (onclose = listener),
  })
  return socket
}

/** Reads along, at the wire: who asked for what comes after a version and got a whole state, and whether the page heard of it. */
function watchResets(socket: SocketLike, { id, resets, untold }: Pick<One, 'id' | 'resets' | 'untold'>, gaps: () => number): void {
  let [asked, isReset] = ['', false]
  const send = socket.send
  socket.send = (text) => {
    const frame = JSON.parse(text) as ClientFrame
    if (frame.type === 'subscribe') asked = `${frame.epoch}.${frame.version}`
    send(text)
  }
  let onmessage: typeof socket.onmessage = null
  const look = (message: { data: unknown }): void => {
    const before = gaps()
    onmessage?.(message)
    // Most are deltas, thousands a second.
    const mayMatter = isReset || String(message.data).includes('"subscribed"')
    const frame = mayMatter ? parseFrame(String(message.data)) : undefined
    if (frame?.type === 'subscribed') isReset = frame.recovery === 'reset'
    else if (frame?.type === 'snapshot' && isReset) {
      isReset = false
      const got = `${frame.epoch}.${frame.version}`
      resets.push({ order: id, asked, got, atMs: Date.now() })
      if (gaps() === before) untold.push(`${id}: ${asked} to ${got}`)
    }
  }
  Object.defineProperty(socket, 'onmessage', { get: () => onmessage && look, set: (listener: typeof onmessage) => (onmessage = listener) })
}

async function begin({ url, token, orders, clients }: Begin): Promise<void> {
  for (let i = 0; i < clients; i++) {
    const id = orders[i % orders.length] as string
    const [dialled, greeted]: [number[], number[]] = [[], []]
    const one: Partial<One> & Pick<One, 'id' | 'dialled' | 'resets' | 'untold'> = { id, dialled, greeted, statuses: [], skipped: [], gaps: 0, states: 0, resets: [], untold: [] }
    const client = new Client({
      url,
      token,
      transports: ['ws'],
      socket: counted(one, () => one.gaps ?? 0),
      onState: (state) => {
        if (state.name === 'open') greeted.push(Date.now())
      },
    })
    one.client = client
    all.push(one as One)
    one.order = client.order(id, {
      onState: (state, info) => {
        const { statuses, skipped } = one as One
        const last = statuses.at(-1)
        one.states = (one.states ?? 0) + 1
        if (info.gap) one.gaps = (one.gaps ?? 0) + 1
        else if (last !== undefined && Math.abs(state.status - last) > 1) skipped.push(`${id}: ${last} to ${state.status} at version ${info.version}`)
        if (last !== state.status) statuses.push(state.status)
      },
    })
    // Not all at once: this process has to answer them all.
    if (i % 50 === 49) await sleep(60)
  }
}

function standing(): Standing {
  const states: Record<string, number> = {}
  for (const { client } of all) states[client.state.name] = (states[client.state.name] ?? 0) + 1
  return { open: states['open'] ?? 0, followed: all.filter(({ order }) => order.state !== undefined).length, states }
}

function compare({ expected }: Compare): Findings {
  const found: Findings = { dialled: [], greeted: [], codes, lost: [], different: [], skipped: [], gaps: 0, gapped: 0, resumed: 0, missed: 0, resets: [], untold: [], states: 0 }
  for (const one of all) {
    const wanted = expected[one.id]
    const { client, order } = one
    found.dialled.push(one.dialled)
    found.greeted.push(one.greeted)
    if (client.state.name !== 'open' || order.freshness !== 'confirmed') found.lost.push(`${one.id}: ${JSON.stringify(client.state)}, ${order.freshness}`)
    if (order.version !== wanted?.version || text(order.state) !== text(wanted?.state)) {
      found.different.push(`${one.id}: version ${order.version}, the server's ${wanted?.version}`)
    }
    found.skipped.push(...one.skipped)
    found.gaps += one.gaps
    if (one.gaps > 0) found.gapped += 1
    found.resets.push(...one.resets)
    found.untold.push(...one.untold)
    found.states += one.states
    if (order.recovered?.how === 'resumed') found.resumed += 1
    found.missed += order.recovered?.missed ?? 0
  }
  return found
}

process.on('message', (message: Begin | Compare | { do: 'standing' } | { do: 'end' }) => {
  switch (message.do) {
    case 'begin':
      void begin(message).then(() => process.send?.({ begun: all.length }))
      break
    case 'standing':
      process.send?.(standing())
      break
    case 'compare':
      process.send?.(compare(message))
      break
    case 'end':
      for (const { client } of all) client.close()
      process.disconnect?.()
      setTimeout(() => process.exit(0), 500).unref()
      break
  }
})
