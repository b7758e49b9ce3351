/** The console's addresses. All show the same desk; they differ in what lies open on it. What the query says (language, and who one is
 * where there are no tokens) goes along. */

import { defineComponent } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import type { RouteRecordRaw } from 'vue-router'

/** What is open is drawn by the desk itself. */
const Nothing = defineComponent({ render: () => null })

export const ROUTES: RouteRecordRaw[] = [
  { path: '/ops', name: 'desk', component: Nothing },
  { path: '/ops/orders/:order', name: 'order', component: Nothing },
  { path: '/ops/alerts/:alert', name: 'alert', component: Nothing },
  { path: '/:rest(.*)*', redirect: (to) => ({ name: 'desk', query: to.query }) },
]

export interface Ways {
  desk(): void
  order(order: string): void
  alert(alert: string): void
}

export function useWays(): Ways {
  const router = useRouter()
  const route = useRoute()
  const go = (name: string, params: Record<string, string> = {}): void => void router.push({ name, params, query: route.query })
  return { desk: () => go('desk'), order: (order) => go('order', { order }), alert: (alert) => go('alert', { alert }) }
}
