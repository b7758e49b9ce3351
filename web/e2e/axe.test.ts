/** axe-core on every screen and in every state that is shown, light and dark: no violation that is serious or critical. */

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DESK, PHONE } from './rig/browser.js'
import { Scene } from './rig/scene.js'
import { City } from './show/city.js'
import { EXHIBITS } from './show/exhibits.js'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const SERIOUS = ['serious', 'critical']

let scene: Scene
let city: City

beforeAll(async () => {
  scene = await Scene.start()
  city = await City.start(scene, { alone: true })
})
afterAll(async () => {
  city?.stop()
  await scene?.stop()
})

/** What axe-core finds on a page that matters. By the debugger, which the page's policy doesn't bind. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: { run: () => Promise<AxeResults> } }).axe.run())
  const found = violations.filter(({ impact }) => SERIOUS.includes(impact ?? ''))
  return found.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 5).map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`)
}

test('what is planted is found', async () => {
  const guest = await scene.guest('axe-planted', DESK)
  await guest.open('/ops')
  await guest.page.getByTestId('sign-in').waitFor()
  expect(await violations(guest.page)).toEqual([])
  await guest.page.evaluate(() => {
    const button = document.createElement('button')
    button.style.color = button.style.backgroundColor = 'rgb(200, 200, 200)'
    document.querySelector('main')!.append(button)
  })
  expect((await violations(guest.page)).map((text) => text.split(':')[0])).toEqual(['button-name'])
  await scene.leave(guest)
})

describe.each(['light', 'dark'] as const)('%s', (theme) => {
  test.each(EXHIBITS)('$name', async ({ name, open, context }) => {
    // Each on both sizes, one by theme, the main language in both.
    const size = (theme === 'light') === name.startsWith('ops') ? DESK : PHONE
    const guest = await scene.guest(`axe-${name}-${theme}`, { ...size, colorScheme: theme, reducedMotion: 'reduce', ...context })
    try {
      await open(city, guest)
      expect(await violations(guest.page)).toEqual([])
      expect(guest.wrong).toEqual([])
    } catch (error) {
      console.error(`what was seen: ${await scene.evidence()}`)
      throw error
    } finally {
      await scene.leave(guest)
    }
  })
})
