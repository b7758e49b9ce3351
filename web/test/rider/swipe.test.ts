import { mount } from '@vue/test-utils'
import { afterEach, expect, test, vi } from 'vitest'
import { createI18n } from 'vue-i18n'
import SwipeButton from '@/rider/components/SwipeButton.vue'
import zhCN from '@/rider/locale/zh-CN.js'

afterEach(() => vi.restoreAllMocks())

function swipe() {
  // 56 pixels of it are the knob's.
  vi.spyOn(HTMLElement.prototype, 'clientWidth', 'get').mockReturnValue(256)
  const i18n = createI18n({ legacy: false, locale: 'zh-CN', messages: { 'zh-CN': zhCN } })
  const page = mount(SwipeButton, { props: { label: 'Swipe', done: 'Sure' }, global: { plugins: [i18n] }, attachTo: document.body })
  const at = async (name: string, clientX = 0): Promise<void> => await page.find('button').trigger(name, { clientX, pointerId: 1, button: 0, detail: 1 })
  const drag = async (to: number, end = 'pointerup'): Promise<void> => {
    await at('pointerdown', 10)
    await at('pointermove', 10 + to / 2)
    await at('pointermove', 10 + to)
    await at(end, 10 + to)
    // As a browser does after a pointer that came up.
    if (end === 'pointerup') await at('click')
  }
  return { page, drag, done: () => page.emitted('done')?.length ?? 0 }
}

test('all the way does it, once', async () => {
  const { page, drag, done } = swipe()
  await drag(180)
  expect(done()).toBe(1)
  expect(page.find('[data-testid="deliver-confirm"]').exists()).toBe(false)
})

test('less, or a swipe that the page takes over, does nothing', async () => {
  const { page, drag, done } = swipe()
  await drag(150)
  await drag(200, 'pointercancel')
  await drag(-200)
  await drag(100)
  expect(done()).toBe(0)
  expect(page.find('[data-testid="deliver-confirm"]').exists()).toBe(false)
  expect(page.find('button').attributes('style')).toContain('--way: 0')
  // A key after it is no part of it.
  await page.find('button').trigger('click', { detail: 0 })
  expect(page.find('[data-testid="deliver-confirm"]').exists()).toBe(true)
})

test('by key, or by a tap, it asks once more', async () => {
  const { page, done } = swipe()
  await page.find('button').trigger('click')
  const sure = page.find('[data-testid="deliver-confirm"]')
  expect(document.activeElement).toBe(sure.element)
  await page.find('[data-testid="deliver-cancel"]').trigger('click')
  expect([done(), page.find('[data-testid="deliver"]').exists()]).toEqual([0, true])
  await page.find('button').trigger('click')
  await page.find('[data-testid="deliver-confirm"]').trigger('click')
  expect(done()).toBe(1)
})
