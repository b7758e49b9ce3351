/**
 * REST: what a page asks for or does once, beside what it follows. One function per route that screens need; each gives the
 * body or throws what the server said is wrong.
 *
 * Commands carry an idempotency key. Where the caller keeps the key (an outbox that survives a reload), a repetition has the
 * effect and the answer of once; without one a key is made here, and the request isn't repeated.
 */

import type { Box, Json, Problem } from './frames.js'
import type { Alert, Order, Place, Status } from './order.js'

export interface RestOptions {
  /** As of the client: where the server is; the page's own origin without it. A query goes with every request. */
  url?: string
  /** A token, or where to have one. Without it: the server's cookie. */
  token?: string | (() => Promise<string | undefined>)
  fetch?: typeof globalThis.fetch
  /** What positions refer to: `wgs84` without it. */
  datum?: 'wgs84' | 'gcj02' | 'bd09'
  /** An answer that takes longer isn't waited for: 30 s without it. What was asked may have happened all the same. */
  timeoutMs?: number
}

const TIMEOUT_MS = 30_000

/** What the server refused, or `status` 0 where nobody answered. */
export class RestError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail ?? problem.title)
    this.name = 'RestError'
  }

  get status(): number {
    return this.problem.status
  }

  /** Whether the same request may be answered another way later. */
  get passes(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500
  }
}

/** An order with its version; its id is in the state. */
export interface OrderSnapshot {
  epoch: number
  version: number
  at_ms: number
  state: Order
}

/** One line of an order's history. */
export interface TrackRow {
  id: number
  kind: string
  version: number
  rev: number
  status: Status
  at_ms: number
  operator_id: string
  operator_type: number
  stage?: string
  lat?: number
  lon?: number
  fix_time_ms?: number
  accuracy_m?: number
  mark?: 'good' | 'inaccurate' | 'jump'
  note?: string
  speed_mps?: number
  heading_deg?: number
  battery_pct?: number
  eta_p10_ms?: number
  eta_p50_ms?: number
  eta_p90_ms?: number
}

export interface Evidence {
  measure: number
  threshold: number
  unit: string
  about?: string
  fixes: (Place & { fix_time_ms?: number })[]
}

/** An alert as the topic `alerts` and `GET /v1/alerts` have it. */
export interface AlertRecord extends Alert {
  alert: string
  order: string
  cell: string
  change: number
  at_ms: number
  detected_at_ms: number
  due_at_ms?: number
  rider?: string
  evidence: Evidence
  acknowledged_at_ms?: number
  acknowledged_by?: string
  acknowledged_note?: string
  cleared_at_ms?: number
  cleared_because?: string
}

export interface OrderFilter {
  status?: readonly Status[]
  rider?: string
  warehouse?: string
  user?: string
  phone_tail?: string
  created_from_ms?: number
  created_to_ms?: number
  box?: Box
  cursor?: string
  limit?: number
}

export interface AlertFilter {
  order?: string
  kind?: string
  severity?: string
  state?: string
  cursor?: string
  limit?: number
}

/** A link to one order, without its token. */
export interface Share {
  share: string
  expires_at_ms: number
  revoked_at_ms?: number
  [more: string]: unknown
}

/** A fix as a phone sends it. */
export interface Fix extends Place {
  fix_time_ms: number
  seq?: number
  accuracy_m?: number
  speed_mps?: number
  heading_deg?: number
  battery_pct?: number
}

/** What became of a batch's fixes, by verdict. */
export type FixTally = Record<string, number>

/** What a page needs to know before it shows anything. */
export interface Screens {
  cell: string
  insecure: boolean
  sign_in_url?: string
  base_map: {
    pmtiles?: string
    ground?: string
    tiles?: { url: string; datum: 'wgs84' | 'gcj02' | 'bd09'; max_zoom: number }
    attribution?: string
  }
}

/** How a cell does. */
export interface Figures {
  cell: string
  at_ms: number
  orders: Record<string, number>
  late: { open: number; completed: number; completed_late: number }
  eta: { orders: number; mae_ms?: number; bias_ms?: number; within?: number }
  backlog: number
  connections: Record<string, number>
  riders: { on_shift: number }
}

type Query = Record<string, string | number | readonly (string | number)[] | undefined>

export class Rest {
  #base: URL
  #options: RestOptions
  #fetch: typeof globalThis.fetch

  constructor(options: RestOptions = {}) {
    this.#options = options
    this.#base = new URL(options.url ?? globalThis.location.href)
    if (options.url === undefined) this.#base = new URL(this.#base.origin)
    this.#fetch = options.fetch ?? ((...asked) => globalThis.fetch(...asked))
  }

  screens(): Promise<Screens> {
    return this.get('/v1/screens')
  }

  figures(): Promise<Figures> {
    return this.get('/v1/figures')
  }

  order(order: string): Promise<OrderSnapshot> {
    return this.get(`/v1/orders/${id(order)}`)
  }

  /** Orders, the newest first. */
  orders(filter: OrderFilter = {}): Promise<{ orders: OrderSnapshot[]; next?: string }> {
    return this.get('/v1/orders', { ...filter })
  }

  /** A page of an order's history; `next` is the `after` of the next one. */
  track(order: string, page: { after?: number; limit?: number } = {}): Promise<{ rows: TrackRow[]; next?: number }> {
    return this.get(`/v1/orders/${id(order)}/track`, { format: 'json', ...page })
  }

  /** An order's history, up to so many lines. */
  async wholeTrack(order: string, max = 20_000): Promise<TrackRow[]> {
    const rows: TrackRow[] = []
    let after: number | undefined
    do {
      const page = await this.track(order, after === undefined ? {} : { after })
      rows.push(...page.rows)
      after = page.next
    } while (after !== undefined && rows.length < max)
    return rows
  }

  alerts(filter: AlertFilter = {}): Promise<{ alerts: AlertRecord[]; next?: string }> {
    return this.get('/v1/alerts', { ...filter })
  }

  alert(alert: string): Promise<AlertRecord> {
    return this.get(`/v1/alerts/${id(alert)}`)
  }

  acknowledge(alert: string, note?: string, key?: string): Promise<Json> {
    return this.post(`/v1/alerts/${id(alert)}/acknowledge`, note ? { note } : {}, key)
  }

  async shares(order: string): Promise<Share[]> {
    return (await this.get<{ shares: Share[] }>(`/v1/orders/${id(order)}/shares`)).shares
  }

  /** A new link: whoever holds its token sees the order. */
  share(order: string, expires_in_s?: number, key?: string): Promise<{ share: string; token: string; expires_at_ms: number }> {
    return this.post(`/v1/orders/${id(order)}/shares`, expires_in_s === undefined ? {} : { expires_in_s }, key)
  }

  async revokeShare(order: string, share: string): Promise<void> {
    await this.ask('DELETE', `/v1/orders/${id(order)}/shares/${id(share)}`)
  }

  /** A rider with the orders in hand. */
  rider(rider: string): Promise<{ [field: string]: Json }> {
    return this.get(`/v1/riders/${id(rider)}`)
  }

  shift(rider: string, on: boolean, key?: string): Promise<Json> {
    return this.post(`/v1/riders/${id(rider)}/shift`, { on }, key)
  }

  /** 1 to 1,000 fixes. Answered when they are stored; the same fixes again count once. */
  fixes(rider: string, fixes: readonly Fix[], sent_time_ms: number): Promise<FixTally> {
    return this.post(`/v1/riders/${id(rider)}/fixes`, { fixes: fixes as unknown as Json, sent_time_ms })
  }

  /** What the rider did at the door; `body` as the route takes it. */
  report(rider: string, verb: 'delivered' | 'failed' | 'returned', body: { [field: string]: Json }, key: string): Promise<Json> {
    return this.post(`/v1/riders/${id(rider)}/${verb}`, body, key)
  }

  /** The token as the server's HttpOnly cookie, for pages that are opened later. */
  async begin(): Promise<void> {
    await this.ask('POST', '/v1/session')
  }

  /** Takes the cookie away. */
  async end(): Promise<void> {
    await this.ask('DELETE', '/v1/session')
  }

  get<T>(path: string, query: Query = {}): Promise<T> {
    return this.ask('GET', path, { query }) as Promise<T>
  }

  post<T>(path: string, body: Json, key: string = newKey()): Promise<T> {
    return this.ask('POST', path, { body, key }) as Promise<T>
  }

  /** Any request; `undefined` where the answer has no body. */
  async ask(method: string, path: string, { query = {}, body, key }: { query?: Query; body?: Json; key?: string } = {}): Promise<unknown> {
    const url = new URL(this.#base)
    url.pathname = url.pathname.replace(/\/$/, '') + path
    url.hash = ''
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, Array.isArray(value) ? value.join(',') : String(value))
    }
    if (this.#options.datum) url.searchParams.set('datum', this.#options.datum)
    const headers: Record<string, string> = { Accept: 'application/json' }
    const token = typeof this.#options.token === 'function' ? await this.#options.token() : this.#options.token
    if (token !== undefined) headers['Authorization'] = `Bearer ${token}`
    if (key !== undefined) headers['Idempotency-Key'] = key
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const signal = AbortSignal.timeout(this.#options.timeoutMs ?? TIMEOUT_MS)
    let answer: Response
    let text: string
    try {
      answer = await this.#fetch(url, { method, headers, cache: 'no-store', signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
      // An answer that breaks off is none.
      text = await answer.text()
    } catch (error) {
      throw new RestError({ type: 'unreachable', title: 'Nobody answered', status: 0, detail: String(error) })
    }
    if (answer.ok) return text === '' ? undefined : parsed(text)
    throw new RestError(problemOf(answer, text))
  }
}

/** Of a hotel's portal or a proxy, which decides nothing: as if nobody had answered. */
const NOT_OURS: Problem = { type: 'about:blank', title: 'The answer isn’t the server’s', status: 0 }

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new RestError(NOT_OURS)
  }
}

function problemOf(answer: Response, text: string): Problem {
  if ((answer.headers.get('content-type') ?? '').includes('problem+json')) {
    const problem = parsed(text) as Partial<Problem> | null
    return typeof problem?.type === 'string' && typeof problem.status === 'number' ? (problem as Problem) : NOT_OURS
  }
  return { type: 'about:blank', title: answer.statusText || `HTTP ${answer.status}`, status: answer.status }
}

const id = (text: string): string => encodeURIComponent(text)

/** 122 random bits. `crypto.randomUUID` is there in secure contexts only. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
