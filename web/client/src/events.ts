/** What the core is told and what it says: the seam between the state machine and the world. */

import type { Box, ClientFrame, Json, Problem, ServerFrame } from './frames.js'
import type { Freshness, StateInfo } from './topic.js'

export type Transport = 'ws' | 'sse' | 'poll'

export type ClientState =
  | { name: 'idle' }
  | { name: 'connecting' }
  | { name: 'open'; transport: Transport }
  /** `retryAt` is a time of the clock. */
  | { name: 'reconnecting'; attempt: number; retryAt: number }
  /** Nothing is tried any more: `start()` or a new token does. */
  | { name: 'stopped'; reason: string; code?: number; problem?: Problem }

export type Event =
  | { on: 'start' }
  | { on: 'stop' }
  | { on: 'follow'; topic: string; box?: Box }
  | { on: 'unfollow'; topic: string }
  /** The answer to `token`; without a token there is none, with an error it couldn't be had. */
  | { on: 'token'; token?: string; error?: string }
  | { on: 'opened'; link: number }
  | { on: 'frame'; link: number; frame: ServerFrame | undefined }
  | { on: 'closed'; link: number; end: End }
  /** The page has come into sight, or the network is back. */
  | { on: 'wake' }
  | { on: 'tick' }

/** How a link ended. `code` is WebSocket's, `status` HTTP's (0: nobody answered). */
export interface End {
  code?: number
  reason?: string
  status?: number
  retryAfterMs?: number
  problem?: Problem
}

export type Action =
  | { do: 'token' }
  | { do: 'connect'; link: number; by: 'ws' }
  | { do: 'connect'; link: number; by: 'sse' | 'poll'; topic: string; since?: { version: number; epoch: number }; waitS: number; token?: string }
  | { do: 'send'; link: number; frame: ClientFrame }
  | { do: 'close'; link: number }
  | { do: 'state'; topic: string; state: Json; before: Json | undefined; info: StateInfo }
  | { do: 'freshness'; topic: string; freshness: Freshness }
  | { do: 'problem'; topic: string; problem: Problem }
  | { do: 'client'; state: ClientState }

export interface CoreOptions {
  transports: readonly Transport[]
  /** In [0, 1). */
  random: () => number
  /** Whether tokens can be had anew. */
  refreshes: boolean
}
