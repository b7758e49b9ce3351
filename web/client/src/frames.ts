/**
 * What goes over the wire, as the server's `docs/topics.md` has it: frames are JSON objects with a `type`. Frames and
 * members that aren't known here are ignored, so that an older client gets on with a newer server.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** RFC 9457, the shape of every error. */
export interface Problem {
  type: string
  title: string
  status: number
  detail?: string
  field?: string
  /** Come again after so long; the header `Retry-After` says it in whole seconds. */
  retry_after_ms?: number
}

/** What a client sends. */
export type ClientFrame =
  | { type: 'subscribe'; topic: string; version?: number; epoch?: number; box?: Box }
  | { type: 'unsubscribe'; topic: string }
  | { type: 'authenticate'; token: string }
  | { type: 'ping'; id?: number }

/** `[west, south, east, north]` in degrees of the connection's datum. */
export type Box = readonly [west: number, south: number, east: number, north: number]

export interface Snapshot {
  type: 'snapshot'
  topic: string
  epoch: number
  version: number
  at_ms: number
  state: Json
}

/** The view changed from version `from`, at which it last changed, to `to`. `patch` is an RFC 7396 merge patch. */
export interface Delta {
  type: 'delta'
  topic: string
  epoch: number
  from: number
  to: number
  at_ms: number
  patch: Json
}

export interface Subscribed {
  type: 'subscribed'
  topic: string
  recovery: 'fresh' | 'resumed' | 'reset'
  /** With `resumed`: so many deltas follow at once; 0 where nothing was missed. */
  missed?: number
}

export interface Heartbeat {
  type: 'heartbeat'
  orders: Record<string, number>
  unconfirmed?: string[]
  topics?: Record<string, number>
  unconfirmed_topics?: string[]
}

export interface ErrorFrame {
  type: 'error'
  topic?: string
  problem: Problem
}

/** What a server sends. */
export type ServerFrame =
  | { type: 'hello'; session: string; view: string; heartbeat_ms: number }
  | { type: 'authenticated'; expires_at_ms?: number }
  | { type: 'expired'; grace_ms: number }
  | { type: 'unsubscribed'; topic: string }
  | { type: 'pong'; id?: number }
  | { type: 'going_away'; reconnect_in_ms: number }
  | Subscribed
  | Snapshot
  | Delta
  | Heartbeat
  | ErrorFrame

/** What a close code asks of a client. */
export type Comeback = 'at_once' | 'after_a_wait' | 'after_a_change' | 'as_usual'

/** The classes of the server's table of close codes; the codes of WebSocket itself say nothing about coming back. */
export function comeback(code: number): Comeback {
  if (code >= 4000 && code < 4100) return 'at_once'
  if (code >= 4100 && code < 4200) return 'after_a_wait'
  if (code >= 4200 && code < 4300) return 'after_a_change'
  return 'as_usual'
}

/** Closes that a newer token may heal. */
export const TOKEN_EXPIRED = 4202
export const UNAUTHORIZED = 4203

/** Reads a frame; `undefined` for what is none. */
export function parseFrame(text: string): ServerFrame | undefined {
  try {
    const frame: unknown = JSON.parse(text)
    return typeof frame === 'object' && frame !== null && 'type' in frame ? (frame as ServerFrame) : undefined
  } catch {
    return undefined
  }
}
