/** The followed order as a page holds it: its state, how far it can be believed, what is remembered of its arrival time, and the cell's time. */

import type { Freshness, Problem, Subscription } from '@trunkline/client'
import type { Order } from '@trunkline/client'
import { RestError } from '@trunkline/client/rest'
import { onBeforeUnmount, onMounted, ref, shallowRef, watch } from 'vue'
import type { Ref, ShallowRef } from 'vue'
import type { Session } from '@/shared/session.js'
import { CellClock } from './cellclock.js'
import type { Tracked } from './order.js'
import { keep, recall, remember } from './reason.js'
import type { Memory } from './reason.js'

export interface Following {
  order: ShallowRef<Tracked | undefined>
  /** Cell time of the last change. */
  at_ms: Ref<number>
  freshness: Ref<Freshness>
  problem: ShallowRef<Problem | undefined>
  memory: ShallowRef<Memory>
  /** The cell's time, each second anew. */
  now: Ref<number>
  ageMs: () => number | undefined
}

export function useOrder(session: Session, id: string): Following {
  const order: ShallowRef<Tracked | undefined> = shallowRef()
  const at_ms = ref(0)
  const freshness: Ref<Freshness> = ref('none')
  const problem: ShallowRef<Problem | undefined> = shallowRef()
  const memory: ShallowRef<Memory> = shallowRef(recall(id))
  const clock = new CellClock()
  const now = ref(Date.now())
  let subscription: Subscription<Order> | undefined
  let timer: ReturnType<typeof setInterval> | undefined

  const take = (state: Order, cell_ms: number): void => {
    const tracked = state as Tracked
    for (const seen of [cell_ms, tracked.eta?.at_ms, tracked.position?.fix_time_ms]) clock.seen(seen, Date.now())
    now.value = clock.now(Date.now())
    at_ms.value = cell_ms
    order.value = tracked
    memory.value = remember(memory.value, tracked)
    keep(id, memory.value)
  }
  const follow = (): void => {
    subscription?.unfollow()
    problem.value = undefined
    subscription = session.client.order(id, {
      onState: (state, info) => take(state, info.atMs),
      onFreshness: (to) => (freshness.value = to),
      onProblem: (refused) => (problem.value = refused),
    })
  }
  /** Without a token of its own the page has a cookie, or nothing: a request tells at once, a socket after seconds. */
  const look = async (): Promise<void> => {
    try {
      const { state, at_ms } = await session.rest.order(id)
      if (!order.value) take(state, at_ms)
    } catch (error) {
      if (!(error instanceof RestError)) throw error
      if (error.status === 401) return session.refused()
      if (!error.passes) problem.value = error.problem
    }
    follow()
  }
  onMounted(() => {
    timer = setInterval(() => (now.value = clock.now(Date.now())), 1_000)
    if (session.token.value === undefined) void look()
    else if (session.signedOut.value === 'none') follow()
    // Another token, or the first: what was refused is asked for again.
    watch(session.token, (token) => token !== undefined && follow())
  })
  onBeforeUnmount(() => {
    clearInterval(timer)
    subscription?.unfollow()
  })
  return { order, at_ms, freshness, problem, memory, now, ageMs: () => subscription?.ageMs }
}
