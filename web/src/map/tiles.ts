/**
 * Whether the tiles come. They are hidden after three errors with no success, or when none has come in 4 s; the ground beneath
 * them then shows. Pure: told what happens and when.
 */

const ERRORS = 3
const WAIT_MS = 4_000
/** Hidden ones are tried again after so long, then after twice as long each time. */
const REST_MS = 30_000
const REST_MAX_MS = 480_000

export class TileWatch {
  #errors = 0
  #came = false
  #since: number | undefined
  #restMs = REST_MS

  /** The first tiles are asked for. */
  begin(now: number): void {
    this.#errors = 0
    this.#came = false
    this.#since = now
  }

  came(): void {
    this.#came = true
    this.#restMs = REST_MS
  }

  failed(): void {
    this.#errors += 1
  }

  /** Whether to show them. */
  shown(now: number): boolean {
    if (this.#came) return true
    return this.#errors < ERRORS && (this.#since === undefined || now - this.#since < WAIT_MS)
  }

  /** For how long to leave hidden ones alone, in ms: longer each time, until some come. */
  rest(): number {
    const ms = this.#restMs
    this.#restMs = Math.min(ms * 2, REST_MAX_MS)
    return ms
  }

  /** When to look again, in ms; `undefined` once it is decided. */
  due(now: number): number | undefined {
    return this.#came || this.#since === undefined || !this.shown(now) ? undefined : this.#since + WAIT_MS - now
  }
}
