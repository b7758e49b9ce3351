/**
 * What the console knows, live: the cell's riders and orders (for the map), the alerts, the figures, and what time it is in the
 * cell. One per page; screens read it and change nothing in it.
 */

import type { Box, Freshness, Problem, Subscription } from '@trunkline/client'
import { RestError } from '@trunkline/client/rest'
import type { AlertRecord, Figures } from '@trunkline/client/rest'
import { ref, shallowRef } from 'vue'
import type { InjectionKey, Ref, ShallowRef } from 'vue'
import type { Session } from '@/shared/session.js'
import { Herald, troubleOf } from '../inbox/inbox.js'
import { Fleet } from '../stage/fleet.js'
import type { CellState } from '../stage/fleet.js'
import { grown, holds } from '../stage/mercator.js'

const FIGURES_MS = 5_000
/** What is asked for beyond what is in sight, as a share of it: a small move of the map asks for nothing. */
const MARGIN = 0.4
const TOO_BIG = 413

export const DESK: InjectionKey<Desk> = Symbol('desk')

export class Desk {
  readonly fleet = new Fleet()
  readonly alerts: ShallowRef<AlertRecord[]> = shallowRef([])
  /** `false` until the first answer. */
  readonly alertsKnown: Ref<boolean> = ref(false)
  readonly figures: ShallowRef<Figures | undefined> = shallowRef()
  /** The page's time of the last figures. */
  readonly figuresAt: Ref<number> = ref(0)
  readonly freshness: Ref<Freshness> = ref('none')
  /** Counts states of the cell; what is derived from the fleet is made anew with it. */
  readonly cellStates: Ref<number> = ref(0)
  readonly riders: Ref<number> = ref(0)
  readonly orders: Ref<number> = ref(0)
  /** What is on the map is a part of the cell: all of it is too much at once. */
  readonly part: Ref<boolean> = ref(false)
  /** Even the part in sight is too much. */
  readonly tooMuch: Ref<boolean> = ref(false)
  /** Ticks each second; for ages. */
  readonly second: Ref<number> = ref(0)
  /** New critical alerts to say aloud. */
  readonly news: ShallowRef<AlertRecord[]> = shallowRef([])
  readonly session: Session
  #cell: Subscription<CellState> | undefined
  #box: Box | undefined
  #inSight: Box | undefined
  #herald = new Herald()
  #clock = { atMs: 0, since: 0 }
  #timers: ReturnType<typeof setInterval>[] = []
  #asking = false

  constructor(session: Session) {
    this.session = session
    this.fleet.still = matchMedia('(prefers-reduced-motion: reduce)').matches
  }

  start(): void {
    const { client } = this.session
    this.#follow(undefined)
    client.follow<{ alerts: Record<string, AlertRecord> }>('alerts', {
      onState: (state, { atMs }) => {
        this.#tick(atMs)
        this.#alertsAre(Object.values(state.alerts ?? {}))
      },
    })
    this.#timers.push(setInterval(() => (this.second.value += 1), 1_000))
    this.#timers.push(setInterval(() => void this.askFigures(), FIGURES_MS))
    void this.askFigures()
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    this.session.client.close()
  }

  /** The cell's time, as far as it is known: the last that was said, and what has gone by since. */
  now(): number {
    void this.second.value
    return this.#clock.atMs === 0 ? Date.now() : this.#clock.atMs + (performance.now() - this.#clock.since)
  }

  /** The cell's time as it was last said; changes nothing that depends on it each second. */
  lastMs(): number {
    return this.#clock.atMs || Date.now()
  }

  /** How old what the map shows is. */
  ageMs(): number | undefined {
    return this.#cell?.ageMs
  }

  /** What the map shows now. Where the cell is too big to be followed whole, it is what is asked for. */
  inSight(box: Box): void {
    this.#inSight = box
    if (!this.part.value || (this.#box && holds(this.#box, box) && !this.tooMuch.value && !wide(this.#box, box))) return
    this.#follow(grown(box, MARGIN))
  }

  async askFigures(): Promise<void> {
    if (document.hidden || this.#asking || this.session.signedOut.value !== 'none') return
    this.#asking = true
    try {
      this.figures.value = await this.session.rest.figures()
      this.figuresAt.value = performance.now()
    } catch (error) {
      this.refused(error)
    } finally {
      this.#asking = false
    }
  }

  /** Notes a refusal for want of a token. */
  refused(error: unknown): void {
    if (error instanceof RestError && error.status === 401) this.session.refused()
  }

  #follow(box: Box | undefined): void {
    const former = this.#cell
    this.#box = box
    const listeners = {
      onState: (state: CellState, info: { atMs: number; patch?: never }) => this.#cellIs(state, info),
      onFreshness: (freshness: Freshness) => (this.freshness.value = freshness),
      onProblem: (problem: Problem) => this.#cellRefused(problem),
    }
    // What was refused is over; a subscription that goes on takes the newer box.
    if (former?.problem) former.unfollow()
    this.#cell = this.session.client.follow<CellState>('cell', listeners as never, box)
    if (former && !former.problem) former.unfollow()
  }

  #cellIs(state: CellState, { atMs, patch }: { atMs: number; patch?: never }): void {
    this.#tick(atMs)
    this.fleet.apply(state, patch, performance.now())
    this.riders.value = this.fleet.count
    this.orders.value = this.fleet.orders.size
    this.tooMuch.value = false
    this.cellStates.value += 1
  }

  #cellRefused(problem: Problem): void {
    if (problem.status !== TOO_BIG) return
    this.tooMuch.value = this.part.value
    this.part.value = true
    const box = this.#inSight
    // Not in the midst of being told: the client tells everybody first.
    if (box && !this.tooMuch.value) queueMicrotask(() => this.#follow(grown(box, MARGIN)))
  }

  #alertsAre(alerts: AlertRecord[]): void {
    this.alerts.value = alerts
    this.alertsKnown.value = true
    this.fleet.mark(troubleOf(alerts))
    const news = this.#herald.hear(alerts, performance.now())
    if (news) this.news.value = news
  }

  #tick(atMs: number): void {
    // The first word counts whatever this machine's clock says; later ones of a topic that lags don't set the clock back.
    if (this.#clock.atMs === 0 || atMs >= this.now() - 5_000) this.#clock = { atMs, since: performance.now() }
  }
}

/** Whether so much more is followed than is in sight that less would do. */
const wide = (box: Box, sight: Box): boolean => box[2] - box[0] > 4 * (sight[2] - sight[0])
