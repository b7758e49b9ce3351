import { expect, test, vi } from 'vitest'
import { createApp, h, nextTick, ref } from 'vue'
import type { ClientState } from '@trunkline/client'
import ConnectionBanner from '@/shared/components/ConnectionBanner.vue'
import { createTexts } from '@/shared/i18n.js'

test('screen readers hear another state of the connection, and not each second of its age', async () => {
  vi.useFakeTimers()
  const connection = ref<ClientState>({ name: 'open' } as ClientState)
  let age = 20_000
  const root = document.createElement('div')
  const app = createApp(() => h(ConnectionBanner, { connection: connection.value, freshness: 'confirmed', ageMs: () => age, class: 'fresh' }))
  app.use(createTexts({ 'zh-CN': {}, en: {} }))
  app.mount(root)
  const [seen, heard] = [root.querySelector('[data-testid=connection]')!, root.querySelector('[role=status]')!]
  const before = heard.textContent
  const lines = new Set([seen.textContent])
  expect(before).toBe(seen.textContent?.trim())
  for (let s = 0; s < 5; s += 1) {
    age += 1_000
    await vi.advanceTimersByTimeAsync(1_000)
    lines.add(seen.textContent)
    expect(heard.textContent).toBe(before)
  }
  expect(lines.size).toBe(6)
  expect([seen.getAttribute('aria-hidden'), seen.getAttribute('data-word'), root.firstElementChild?.classList.contains('fresh')]).toEqual(['true', 'old', true])
  age = 0
  await vi.advanceTimersByTimeAsync(1_000)
  await nextTick()
  expect(seen.getAttribute('data-word')).toBe('live')
  expect(heard.textContent).toBe(seen.textContent?.trim())
  expect(heard.textContent).not.toBe(before)
  app.unmount()
  vi.useRealTimers()
})
