/**
 * Sends what waits, one request at a time, until nothing does. After a failure it waits with jittered backoff, no less than the
 * server asks; once nobody is signed in it waits for that. What is sent, and what an answer means, is the queue's to say.
 */

import type { Clock, Problem } from '@trunkline/client'
import { RestError } from '@trunkline/client/rest'

/** What became of one request. */
export type Step =
  /** There may be more. */
  | { is: 'more' }
  | { is: 'empty' }
  /** It may be answered another way later. */
  | { is: 'later'; problem: Problem }
  /** Not without a good token. */
  | { is: 'signed_out' }

export interface SenderState {
  name: 'idle' | 'sending' | 'waiting' | 'signed_out'
  /** Why the last request failed. */
  problem?: Problem
}

export interface SenderOptions {
  step: () => Promise<Step>
  clock: Clock
  /** In [0, 1). */
  random: () => number
  onState?: (state: SenderState) => void
}

const WAIT_MS = 1_000
const WAIT_MAX_MS = 30_000
/** Whoever asks for longer is misread. */
const DELAY_MAX_MS = 600_000

export class Sender {
  state: SenderState = { name: 'idle' }
  #options: SenderOptions
  #attempt = 0
  #timer: unknown
  /** Not before this time, as the server asked. */
  #notBefore = 0
  #again = false
  #over = false

  constructor(options: SenderOptions) {
    this.#options = options
  }

  /** Something waits. `urgent`: the network is back, or the page is seen again: no backoff is waited for. */
  wake(urgent = false): void {
    const { name } = this.state
    if (this.#over || name === 'signed_out') return
    if (name === 'sending') this.#again = true
    else if (name === 'idle') void this.#run()
    else if (urgent && this.#options.clock.now() >= this.#notBefore) {
      this.#options.clock.clearTimeout(this.#timer)
      void this.#run()
    }
  }

  /** There is a new token. */
  signedIn(): void {
    if (this.state.name === 'signed_out') this.#become({ name: 'idle' })
    this.wake(true)
  }

  stop(): void {
    this.#over = true
    this.#options.clock.clearTimeout(this.#timer)
  }

  async #run(): Promise<void> {
    this.#become({ name: 'sending', ...(this.state.problem && { problem: this.state.problem }) })
    for (;;) {
      this.#again = false
      const step = await this.#options.step().catch((error: unknown): Step => ({ is: 'later', problem: problemOf(error) }))
      if (this.#over) return
      if (step.is === 'more' || (step.is === 'empty' && this.#again)) {
        if (step.is === 'more') this.#attempt = 0
        continue
      }
      if (step.is === 'later') return this.#wait(step.problem)
      this.#attempt = 0
      return this.#become({ name: step.is === 'signed_out' ? 'signed_out' : 'idle' })
    }
  }

  #wait(problem: Problem): void {
    const { clock, random } = this.#options
    const backoff = (0.5 + random() / 2) * Math.min(WAIT_MS * 2 ** Math.min(this.#attempt, 10), WAIT_MAX_MS)
    const asked = Math.min(problem.retry_after_ms ?? 0, DELAY_MAX_MS)
    this.#attempt += 1
    this.#notBefore = clock.now() + asked
    this.#timer = clock.setTimeout(() => void this.#run(), Math.max(backoff, asked))
    this.#become({ name: 'waiting', problem })
  }

  #become(state: SenderState): void {
    this.state = state
    this.#options.onState?.(state)
  }
}

/** What an answer that is an error asks for. An answer that isn't the server's own (of a hotel's portal, or a proxy) decides nothing. */
export function verdictOf(error: unknown): Step | { is: 'refused'; problem: Problem } {
  const problem = problemOf(error)
  if (problem.type === 'about:blank') return { is: 'later', problem }
  if (problem.status === 401) return { is: 'signed_out' }
  const passes = !(error instanceof RestError) || error.passes
  // The server can't make sense of it, and will not later.
  if (passes && problem.type !== 'set_aside') return { is: 'later', problem }
  return { is: 'refused', problem }
}

/** An answer without what every answer has isn't the server's. */
export const NOT_OURS: Problem = { type: 'about:blank', title: 'The answer isn’t the server’s', status: 0 }

function problemOf(error: unknown): Problem {
  if (error instanceof RestError) return error.problem
  return { type: 'about:blank', title: 'No answer that can be read', status: 0, detail: String(error) }
}

/** One at a time over all of the browser's tabs; over this one alone where the browser has no locks. */
export function exclusively<T>(name: string, run: () => Promise<T>): Promise<T> {
  const locks = globalThis.navigator?.locks as LockManager | undefined
  return locks ? (locks.request(name, run) as Promise<T>) : run()
}
