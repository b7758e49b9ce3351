/** The stages of an order as a customer is told them: what is done, what is under way, what comes. Pure. */

import { reasonRead } from '@/shared/trouble.js'
import type { Reason } from '@/shared/trouble.js'
import type { Tracked } from './order.js'

export type StepName = 'placed' | 'paid' | 'picking' | 'packed' | 'handed_over' | 'on_way' | 'attempted' | 'returned' | 'delivered' | 'cancelled'

export interface Step {
  name: StepName
  state: 'done' | 'now' | 'next' | 'bad'
  /** Where it is known. */
  at_ms: number | undefined
  /** A line more: a text's name and what goes in. */
  more?: { text: string; with?: Record<string, unknown>; trouble?: Trouble }
}

/** Told in the reader's language, with the rider's own words after it. */
export interface Trouble {
  name: Reason
  text: string
}

const PACKED = ['packed', 'ready', 'handed_over']
const PICKED = ['picked', ...PACKED]

export function timeline(order: Tracked): Step[] {
  const { status } = order
  const over = status === 4 || status === 5
  // Of a cancelled order only what happened is told.
  const reached = status === 5 ? (order.departed_at_ms !== undefined ? 3 : order.stage !== undefined || order.paid_at_ms !== undefined ? 2 : 1) : status
  const [picked, packed] = [reached >= 2 && PICKED.includes(order.stage ?? ''), reached >= 2 && PACKED.includes(order.stage ?? '')]
  const state = (done: boolean, now: boolean): Step['state'] => (done ? 'done' : now && !over ? 'now' : 'next')
  const steps: Step[] = [
    { name: 'placed', state: 'done', at_ms: order.created_at_ms },
    { name: 'paid', state: state(reached >= 2, reached === 1), at_ms: order.paid_at_ms },
    { name: 'picking', state: state(reached >= 3 || picked, reached === 2), at_ms: undefined, ...stageOf(order) },
    { name: 'packed', state: state(reached >= 3 || packed, picked), at_ms: undefined },
    { name: 'handed_over', state: state(reached >= 3, packed), at_ms: order.departed_at_ms, ...waitingOf(order) },
    { name: 'on_way', state: state(status === 4, status === 3), at_ms: undefined, ...wayOf(order) },
  ]
  if (order.attempts) steps.push({ name: 'attempted', state: 'bad', at_ms: order.attempted_at_ms, more: attemptOf(order) })
  if (status === 5) {
    const happened = steps.filter((step) => step.state === 'done' || step.state === 'bad')
    if (order.returned) happened.push({ name: 'returned', state: 'bad', at_ms: undefined })
    const reason = order.cancel_reason
    return [...happened, { name: 'cancelled', state: 'bad', at_ms: order.cancelled_at_ms, ...(reason ? { more: because(reason) } : {}) }]
  }
  if (order.returned) return [...steps, { name: 'returned', state: 'bad', at_ms: undefined }]
  return [...steps, { name: 'delivered', state: state(status === 4, false), at_ms: order.completed_at_ms }]
}

/** Reasons that the system gives have words; those of people are shown as they wrote them, or chose them. */
const KNOWN_REASONS = ['unpaid']
const because = (reason: string): NonNullable<Step['more']> =>
  KNOWN_REASONS.includes(reason) ? { text: `reason.${reason}` } : { text: 'reason.given', ...given(reason) }

/** A reason as a line takes it. */
function given(reason: string): Pick<NonNullable<Step['more']>, 'with' | 'trouble'> {
  const { name, text } = reasonRead(reason)
  return name === undefined ? { with: { reason } } : { trouble: { name, text } }
}

function stageOf({ status, stage }: Tracked): Pick<Step, 'more'> {
  return status === 2 && stage && !PICKED.includes(stage) ? { more: { text: `stage.${stage}` } } : {}
}

function waitingOf({ status, warehouse_arrived_at_ms: at_ms }: Tracked): Pick<Step, 'more'> {
  return status === 2 && at_ms !== undefined ? { more: { text: 'step.waiting', with: { at_ms } } } : {}
}

function wayOf({ status, arrived_at_ms: at_ms }: Tracked): Pick<Step, 'more'> {
  return status === 3 && at_ms !== undefined ? { more: { text: 'step.at_door', with: { at_ms } } } : {}
}

function attemptOf({ attempts: n, attempt_reason: reason }: Tracked): NonNullable<Step['more']> {
  if (!reason) return { text: 'step.attempts', with: { n } }
  const said = given(reason)
  return { text: 'step.attempts_because', ...said, with: { n, ...said.with } }
}
