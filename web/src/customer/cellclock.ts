/**
 * The time in the order's cell. In life it is the time of day; in a simulated or replayed city it runs ahead of it or days behind, and
 * "in 12 minutes" must go by it. What the server last said is the only measure: from there this clock goes on as fast as any. Pure.
 */

/** So much ahead is a skewed clock or a simulation, either way the cell's is right; so far behind is a replay. */
const AHEAD_MS = 5_000
const BEHIND_MS = 12 * 3_600_000

export class CellClock {
  /** By how much the cell was ahead of us at most: messages take time, so the most is the nearest. */
  #ahead_ms: number | undefined

  /** The server named a time of its cell, which was then at the latest. */
  seen(cell_ms: number | undefined, now_ms: number): void {
    if (cell_ms === undefined || cell_ms <= 0) return
    this.#ahead_ms = Math.max(this.#ahead_ms ?? -Infinity, cell_ms - now_ms)
  }

  /** An order that nothing has happened to for hours looks like a cell that is behind; it is only quiet. */
  now(now_ms: number): number {
    const ahead = this.#ahead_ms
    return ahead !== undefined && (ahead > AHEAD_MS || ahead < -BEHIND_MS) ? now_ms + ahead : now_ms
  }
}
