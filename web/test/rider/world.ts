/** A rider's phone in a test: a clock that is moved, a store of its own, and a server that says what the test wants. */

import 'fake-indexeddb/auto'
import type { Clock, Json, Problem } from '@trunkline/client'
import { RestError } from '@trunkline/client/rest'
import type { Fix, FixTally } from '@trunkline/client/rest'
import { openRiderDb } from '@/rider/db.js'
import type { RiderDb } from '@/rider/db.js'

let databases = 0
/** A name that no other test has. */
export const newName = (): string => `rider-${(databases += 1)}`
export const newDb = (): Promise<RiderDb> => openRiderDb(newName())

/** Time that stands until it is moved. */
export class TestClock implements Clock {
  #now = 1_700_000_000_000
  #timers = new Map<number, { at: number; run: () => void }>()
  #ids = 0

  now = (): number => this.#now

  setTimeout(run: () => void, ms: number): unknown {
    this.#timers.set((this.#ids += 1), { at: this.#now + ms, run })
    return this.#ids
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  /** When the next timer is due, from now. */
  get dueIn(): number | undefined {
    const due = Math.min(...[...this.#timers.values()].map(({ at }) => at))
    return Number.isFinite(due) ? due - this.#now : undefined
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      const [id, next] = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? []
      if (id === undefined || !next) break
      this.#timers.delete(id)
      this.#now = Math.max(this.#now, next.at)
      next.run()
      await settle()
    }
    this.#now = end
    await settle()
  }
}

/** Lets everything that is under way come to rest: fake-indexeddb takes some turns of the loop per request. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 200; i += 1) await new Promise((done) => setImmediate(done))
}

export const problem = (status: number, type = 'transition', more: Partial<Problem> = {}): RestError => new RestError({ type, title: type, status, ...more })
export const OFFLINE = new RestError({ type: 'unreachable', title: 'Nobody answered', status: 0 })

/** A server: it counts what it has, by identity, as the real one does. */
export class TestServer {
  /** What each request does before it is answered: throws, or waits. */
  before: () => Promise<void> | void = () => {}
  /** What each does after the server has it: an answer that is lost. */
  after: () => Promise<void> | void = () => {}
  readonly batches: { fixes: Fix[]; sent: number }[] = []
  readonly fixesSeen = new Map<string, number>()
  readonly reports: { rider: string; verb: string; body: { [field: string]: Json }; key: string }[] = []
  readonly effects = new Map<string, Json>()
  open = 0
  mostOpen = 0
  /** The field of a fix that it refuses. */
  bad: (fix: Fix) => boolean = () => false
  refuse: (verb: string, body: { [field: string]: Json }) => RestError | undefined = () => undefined

  fixes = async (rider: string, fixes: readonly Fix[], sent: number): Promise<FixTally> => {
    return await this.#asked(() => {
      this.batches.push({ fixes: [...fixes], sent })
      const bad = fixes.findIndex(this.bad)
      if (bad >= 0) throw problem(400, 'bad_input', { field: `fixes[${bad}].lat`, detail: 'is out of range' })
      let duplicate = 0
      for (const fix of fixes) {
        const id = `${rider} ${fix.fix_time_ms} ${fix.seq}`
        const times = this.fixesSeen.get(id) ?? 0
        this.fixesSeen.set(id, times + 1)
        if (times > 0) duplicate += 1
      }
      return { good: fixes.length - duplicate, duplicate }
    })
  }

  shift = async (rider: string, on: boolean, key = ''): Promise<Json> => await this.#report(rider, 'shift', { on }, key)

  report = async (rider: string, verb: 'delivered' | 'failed' | 'returned', body: { [field: string]: Json }, key: string): Promise<Json> =>
    await this.#report(rider, verb, body, key)

  async #report(rider: string, verb: string, body: { [field: string]: Json }, key: string): Promise<Json> {
    return await this.#asked(() => {
      this.reports.push({ rider, verb, body, key })
      const refusal = this.refuse(verb, body)
      if (refusal) throw refusal
      const answer = this.effects.get(key) ?? { version: this.effects.size + 1, rev: 1 }
      this.effects.set(key, answer)
      return answer
    })
  }

  async #asked<T>(run: () => T): Promise<T> {
    this.open += 1
    this.mostOpen = Math.max(this.mostOpen, this.open)
    try {
      await this.before()
      const answer = run()
      await this.after()
      return answer
    } finally {
      this.open -= 1
    }
  }
}

/** Web Locks, as far as two tabs need them. */
export function testLocks(): { request: <T>(name: string, run: () => Promise<T>) => Promise<T> } {
  const last = new Map<string, Promise<unknown>>()
  return {
    request: (name, run) => {
      const mine = (last.get(name) ?? Promise.resolve()).then(run, run)
      last.set(name, mine)
      return mine
    },
  }
}
