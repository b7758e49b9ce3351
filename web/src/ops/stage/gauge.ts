/**
 * Whether the base map is to be drawn coarser while it moves. Where a processor draws in place of a graphics card, a frame's cost is its
 * pixels: a quarter of them for the time of a drag keeps hand and map together, and at rest all is sharp again.
 */

/** Frames of a move that are judged at a time. */
const FRAMES = 6
/** On average longer than this is too slow for 30 a second, with room for what else a frame holds. */
const SLOW_MS = 28
/** So long what was found is believed: other programs end too. */
const BELIEVED_MS = 600_000

export class Gauge {
  #last: number | undefined
  #sum = 0
  #count = 0
  #slowUntil = -Infinity

  /** A move begins. */
  begin(): void {
    this.#last = undefined
    this.#sum = this.#count = 0
  }

  /** A frame of a move was drawn. Gives whether the rest of the move is to be drawn coarse. */
  frame(now: number): boolean {
    if (this.#last !== undefined) {
      this.#sum += now - this.#last
      this.#count += 1
    }
    this.#last = now
    if (this.#count < FRAMES) return now < this.#slowUntil
    if (this.#sum / this.#count > SLOW_MS) this.#slowUntil = now + BELIEVED_MS
    this.#sum = this.#count = 0
    return now < this.#slowUntil
  }
}
