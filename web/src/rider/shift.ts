/**
 * One rider's page while they are signed in: the queues, their senders, the board that is followed, and the device's position
 * while on shift. Tabs tell each other when the store has changed; what is sent is sent by one of them at a time.
 */

import type { Clock, Freshness, Json, Problem, Subscription } from '@trunkline/client'
import { shallowReactive, watch } from 'vue'
import type { Session } from '@/shared/session.js'
import { forgetBoards, forgetRider, ofOthers } from './db.js'
import type { Report, ReportKind, RiderDb } from './db.js'
import { ScreenOn, batteryOf, keepStorage } from './device.js'
import { FixQueue } from './fixes.js'
import type { FixStats } from './fixes.js'
import { Outbox } from './outbox.js'
import { Positions } from './positions.js'
import type { Gps } from './positions.js'
import { Sender, exclusively } from './sender.js'
import type { SenderState, Step } from './sender.js'
import { ends, isOnShift, keepable, openStops } from './stops.js'
import type { Board, ShownStop } from './stops.js'

/** What the page shows. */
export interface Shown {
  board: Board | undefined
  /** When the board was last confirmed, where it comes from the store. */
  boardAt_ms: number | undefined
  onShift: boolean
  stops: ShownStop[]
  reports: Report[]
  fixes: FixStats | undefined
  gps: Gps
  fixSender: SenderState
  outboxSender: SenderState
  freshness: Freshness
  /** The board can't be followed. */
  problem: Problem | undefined
  /** Of other riders, on this device. */
  others: number
  lowBattery: boolean
  position: { lat: number; lon: number } | undefined
}

/** A board of another day is nobody's business any more. */
const BOARD_MS = 24 * 3_600_000
/** So long what the server took stands for what it says. */
const TAKEN_MS = 10_000

/** The same board is kept again after so long, for its time. */
const KEEP_MS = 15_000

/** The channel of this browser's tabs. */
const TABS = 'trunkline.rider'

const CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
}

export class Shift {
  readonly shown: Shown = shallowReactive<Shown>({
    board: undefined, boardAt_ms: undefined, onShift: false, stops: [], reports: [], fixes: undefined, gps: 'off', fixSender: { name: 'idle' },
    outboxSender: { name: 'idle' }, freshness: 'none', problem: undefined, others: 0, lowBattery: false, position: undefined,
  })
  #subscription: Subscription<Board> | undefined
  #fixes: FixQueue
  #outbox: Outbox
  #fixSender: Sender
  #outboxSender: Sender
  #positions: Positions
  /** Ends all that listens. */
  #left = new AbortController()
  #screen = new ScreenOn(this.#left.signal)
  #tabs = new BroadcastChannel(TABS)
  /** Orders whose end the server took, though the board still has them. */
  #taken = new Set<string>()
  #saidShift: { on: boolean; until: number } | undefined
  #looked: Promise<void> = Promise.resolve()
  #kept: { text: string; at_ms: number } | undefined
  #unwatch: (() => void) | undefined
  #over = false

  constructor(
    private readonly session: Session,
    private readonly db: RiderDb,
    readonly rider: string,
    private readonly clock: Clock = CLOCK,
  ) {
    const { rest } = session
    const now = (): number => clock.now()
    const changed = (): void => {
      // What was under way at the end may still be stored or sent; a closed channel throws.
      if (!this.#over) this.#tabs.postMessage('changed')
      void this.#look()
    }
    this.#fixes = new FixQueue({ db, rest, rider, now, onChange: changed })
    this.#outbox = new Outbox({ db, rest, rider, now, onChange: changed, onTaken: (report) => this.#isTaken(report) })
    const sender = (name: 'fixSender' | 'outboxSender', step: () => Promise<Step>): Sender =>
      new Sender({
        step: () => exclusively(`trunkline.rider.${name}`, step),
        clock,
        random: Math.random,
        onState: (state) => {
          // What answers one may answer the other.
          if (state.name === 'idle' && this.shown[name].problem) session.client.wake()
          this.shown[name] = state
          if (state.name === 'signed_out') session.refused()
        },
      })
    this.#fixSender = sender('fixSender', () => this.#fixes.step())
    this.#outboxSender = sender('outboxSender', () => this.#outbox.step())
    this.#positions = new Positions({
      geolocation: globalThis.isSecureContext ? navigator.geolocation : undefined,
      permissions: navigator.permissions as Permissions | undefined,
      clock,
      battery: batteryOf((low) => (this.shown.lowBattery = low), this.#left.signal),
      onReading: (fix) => {
        this.shown.position = { lat: fix.lat, lon: fix.lon }
        void this.#fixes.add(fix).then((kept) => kept === 'stored' && this.#fixSender.wake())
      },
      onGps: (gps) => (this.shown.gps = gps),
    })
  }

  /** Shows what is kept, follows the board, and sends what waits. */
  async begin(): Promise<void> {
    const { db, rider, clock, shown } = this
    await forgetBoards(db, rider, clock.now() - BOARD_MS)
    const kept = await db.get('board', rider)
    if (this.#over) return
    // The network may have been faster.
    if (kept && !shown.board) Object.assign(shown, { board: kept.board, boardAt_ms: kept.at_ms })
    shown.others = await ofOthers(db, rider)
    await this.#look()
    if (this.#over) return
    this.#follow()
    this.#tabs.onmessage = ({ data }: MessageEvent<unknown>) => (data === 'signed_out' ? location.reload() : void this.#look())
    this.#unwatch = watch(this.session.connection, ({ name }) => name === 'open' && this.wake())
    const { signal } = this.#left
    addEventListener('online', () => this.wake(), { signal })
    document.addEventListener(
      'visibilitychange',
      () => {
        if (document.visibilityState !== 'visible') return
        this.wake()
        void this.#positions.look(true)
      },
      { signal },
    )
    this.wake()
  }

  /** Tries at once whatever waits. */
  wake(): void {
    this.#fixSender.wake(true)
    this.#outboxSender.wake(true)
  }

  /** There is a new token of the same rider. */
  signedIn(): void {
    this.#fixSender.signedIn()
    this.#outboxSender.signedIn()
  }

  /** Resolves when it is stored; it is sent when it can be. */
  async report(kind: ReportKind, order: string | undefined, body: { [field: string]: Json }): Promise<void> {
    await this.#outbox.put(kind, order, body)
    if (kind === 'shift' && body['on'] === true) void keepStorage()
    await this.#look()
    this.#outboxSender.wake()
  }

  async dismiss(report: Report): Promise<void> {
    if (report.id !== undefined) await this.#outbox.dismiss(report.id)
  }

  /** Milliseconds since what is shown was confirmed. */
  ageMs(): number | undefined {
    const { boardAt_ms } = this.shown
    return this.#subscription?.ageMs ?? (boardAt_ms === undefined ? undefined : Math.max(this.clock.now() - boardAt_ms, 0))
  }

  /** How much would be lost by signing out now. */
  get waiting(): number {
    return (this.shown.fixes?.waiting ?? 0) + this.shown.reports.length
  }

  /** Removes all that the device keeps of this rider. */
  async forget(): Promise<void> {
    this.end()
    await forgetRider(this.db, this.rider)
    // This page's own is closed.
    const tabs = new BroadcastChannel(TABS)
    tabs.postMessage('signed_out')
    tabs.close()
  }

  end(): void {
    this.#over = true
    this.#positions.stop()
    this.#screen.set(false)
    this.#fixSender.stop()
    this.#outboxSender.stop()
    this.#subscription?.unfollow()
    this.#unwatch?.()
    this.#left.abort()
    this.#tabs.close()
  }

  #follow(): void {
    this.#subscription?.unfollow()
    this.shown.problem = undefined
    this.#subscription = this.session.client.follow<Board>(`rider/${this.rider}`, {
      onState: (board) => void this.#boardIs(board),
      onFreshness: (freshness) => (this.shown.freshness = freshness),
      onProblem: (problem) => (this.shown.problem = problem),
    })
  }

  async #boardIs(board: Board): Promise<void> {
    const there = new Set(board.stops.map(({ order }) => order))
    for (const order of this.#taken) if (!there.has(order)) this.#taken.delete(order)
    if (this.#saidShift?.on === board.on_shift) this.#saidShift = undefined
    Object.assign(this.shown, { board, boardAt_ms: this.clock.now() })
    await this.#look()
  }

  /** The server took a report: its effect is shown until the board says it. */
  #isTaken(report: Report): void {
    if (ends(report) && report.order !== undefined) this.#taken.add(report.order)
    if (report.kind !== 'shift') return
    this.#saidShift = { on: report.body['on'] === true, until: this.clock.now() + TAKEN_MS }
    // A rider whom the cell didn't know: now it does.
    if (this.shown.problem) this.#follow()
  }

  /** One look after the other, so that the last one's is what is shown. */
  #look(): Promise<void> {
    return (this.#looked = this.#looked.then(() => this.#show()).catch((error: unknown) => console.error(error)))
  }

  /** Shows what the store and the board say, and keeps what must outlast the page. */
  async #show(): Promise<void> {
    if (this.#over) return
    const [reports, fixes] = await Promise.all([this.#outbox.list(), this.#fixes.stats()])
    if (this.#over) return
    const { board } = this.shown
    const said = this.#saidShift && this.#saidShift.until > this.clock.now() ? this.#saidShift.on : undefined
    const queued = reports.some((report) => report.kind === 'shift' && !report.refused)
    const onShift = queued ? isOnShift(board, reports) : (said ?? isOnShift(board, reports))
    Object.assign(this.shown, { reports, fixes, onShift, stops: openStops(board, reports, this.#taken) })
    this.#screen.set(onShift)
    if (onShift) this.#positions.start()
    else this.#positions.stop()
    if (board) await this.#keep({ ...keepable(board, reports, this.#taken), on_shift: onShift })
  }

  /** The board for a start without network, with when it was last confirmed. */
  async #keep(board: Board): Promise<void> {
    const at_ms = this.clock.now() - (this.ageMs() ?? 0)
    const text = JSON.stringify(board)
    if (text === this.#kept?.text && at_ms - this.#kept.at_ms < KEEP_MS) return
    this.#kept = { text, at_ms }
    await this.db.put('board', { rider: this.rider, board: JSON.parse(text) as Board, at_ms }).catch(() => (this.#kept = undefined))
  }
}
