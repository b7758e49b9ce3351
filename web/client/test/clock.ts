import type { Clock } from '../src/client.js'

/** Time that stands until it is told to run. */
export class FakeClock implements Clock {
  #now = 1_700_000_000_000
  #next = 1
  #timers = new Map<number, { at: number; run: () => void }>()

  now(): number {
    return this.#now
  }

  /** The clock is put back or forward; timers go on as they were. */
  jump(ms: number): void {
    this.#now += ms
    for (const timer of this.#timers.values()) timer.at += ms
  }

  setTimeout(run: () => void, ms: number): number {
    this.#timers.set(this.#next, { at: this.#now + ms, run })
    return this.#next++
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as number)
  }

  run(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a[1].at - b[1].at)[0]
      if (!next || next[1].at > end) break
      this.#timers.delete(next[0])
      this.#now = Math.max(next[1].at, this.#now)
      next[1].run()
    }
    this.#now = end
  }
}
