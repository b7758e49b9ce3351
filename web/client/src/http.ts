/** Streams and polls over `fetch`. Each is one request that says frames until it ends, once. */

import type { End } from './events.js'
import { parseFrame } from './frames.js'
import type { Problem, ServerFrame } from './frames.js'
import { EventStream } from './sse.js'

export interface Asked {
  url: URL
  headers: Record<string, string>
  /** Tells of a frame; of `undefined` where something came that is none. */
  onFrame: (frame: ServerFrame | undefined) => void
  onEnd: (end: End) => void
}

/** Longer lines aren't the server's. */
const EVENT_MAX = 4 << 20

/** Begins a request; returns what ends it without a word. */
export function request(by: 'sse' | 'poll', fetch: typeof globalThis.fetch, asked: Asked): () => void {
  const abort = new AbortController()
  let over = false
  const read = by === 'sse' ? readStream : readPoll
  const end = (how: End): void => {
    if (!over) asked.onEnd(how)
    over = true
  }
  const frames: Asked['onFrame'] = (frame) => {
    if (!over) asked.onFrame(frame)
  }
  const run = async (): Promise<End> => {
    const headers = { Accept: by === 'sse' ? 'text/event-stream' : 'application/json', ...asked.headers }
    const answer = await fetch(asked.url, { headers, signal: abort.signal, cache: 'no-store' })
    if (answer.ok) return { status: answer.status, ...(await read(answer, frames)) }
    const how: End = { status: answer.status, ...retryAfter(answer) }
    if ((answer.headers.get('content-type') ?? '').includes('problem+json')) {
      how.problem = (await answer.json()) as Problem
      if (how.problem.retry_after_ms !== undefined) how.retryAfterMs = how.problem.retry_after_ms
    } else await answer.body?.cancel()
    return how
  }
  run().then(end, () => end({ status: 0 }))
  return () => {
    over = true
    abort.abort()
  }
}

/** Seconds; a date is rare enough to be left to the backoff. */
function retryAfter(answer: Response): End {
  const text = answer.headers.get('retry-after') ?? ''
  return /^\d+$/.test(text) ? { retryAfterMs: Number(text) * 1_000 } : {}
}

async function readPoll(answer: Response, onFrame: Asked['onFrame']): Promise<End> {
  const body = (await answer.json()) as { frames: ServerFrame[] }
  for (const frame of body.frames) onFrame(frame)
  return {}
}

async function readStream(answer: Response, onFrame: Asked['onFrame']): Promise<End> {
  if (!(answer.headers.get('content-type') ?? '').startsWith('text/event-stream') || !answer.body) {
    await answer.body?.cancel()
    return { status: 0 }
  }
  const events = new EventStream()
  const reader = answer.body.getReader()
  const text = new TextDecoder()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return events.retryMs === undefined ? {} : { retryAfterMs: events.retryMs }
    const found = events.push(text.decode(value, { stream: true }))
    if (events.pending > EVENT_MAX) throw new RangeError('an event that has no end')
    // Whatever comes shows that somebody is there.
    if (found.length === 0) onFrame(undefined)
    for (const data of found) onFrame(parseFrame(data))
  }
}
