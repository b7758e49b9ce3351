/** One order, live, with its history: the topic says that something changed, and the lines after the last known one are asked for. */

import type { Order, Problem, Subscription } from '@trunkline/client'
import type { TrackRow } from '@trunkline/client/rest'
import { ref, shallowRef } from 'vue'
import type { Ref, ShallowRef } from 'vue'
import type { Desk } from '../shell/desk.js'

/** A rider's fix each second needn't ask each second. */
const ASK_MS = 2_000
/** Lines that are kept and asked for; a longer history is replayed, not read. */
const MOST_ROWS = 20_000

export class OrderRecord {
  readonly order: ShallowRef<Order | undefined> = shallowRef()
  readonly rows: ShallowRef<TrackRow[]> = shallowRef([])
  readonly problem: ShallowRef<Problem | undefined> = shallowRef()
  readonly loaded: Ref<boolean> = ref(false)
  readonly id: string
  readonly #desk: Desk
  #subscription: Subscription<Order>
  #timer: ReturnType<typeof setTimeout> | undefined
  #askedAt = -Infinity
  #asking = false
  #again = false
  #over = false

  constructor(desk: Desk, id: string) {
    this.#desk = desk
    this.id = id
    this.#subscription = desk.session.client.order(id, {
      onState: (order) => {
        this.order.value = order
        this.problem.value = undefined
        this.#soon()
      },
      onProblem: (problem) => (this.problem.value = problem),
    })
  }

  close(): void {
    this.#over = true
    clearTimeout(this.#timer)
    this.#subscription.unfollow()
  }

  #soon(): void {
    if (this.#over || this.#timer !== undefined || this.rows.value.length >= MOST_ROWS) return
    const wait = Math.max(this.#askedAt + ASK_MS - performance.now(), 0)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      void this.#ask()
    }, wait)
  }

  async #ask(): Promise<void> {
    if (this.#asking) return void (this.#again = true)
    this.#asking = true
    this.#askedAt = performance.now()
    try {
      const newer: TrackRow[] = []
      let after = this.rows.value.at(-1)?.id
      for (;;) {
        const { rows, next } = await this.#desk.session.rest.track(this.id, after === undefined ? {} : { after })
        newer.push(...rows)
        if (next === undefined || this.rows.value.length + newer.length >= MOST_ROWS) break
        after = next
      }
      if (!this.#over && (newer.length > 0 || !this.loaded.value)) this.rows.value = [...this.rows.value, ...newer].slice(0, MOST_ROWS)
      this.loaded.value = true
    } catch (error) {
      // The next change asks again.
      this.#desk.refused(error)
    } finally {
      this.#asking = false
      if (this.#again) {
        this.#again = false
        this.#soon()
      }
    }
  }
}
