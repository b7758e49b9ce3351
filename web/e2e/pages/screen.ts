/** What all screens have in common, as somebody sees it who only looks. */

import type { Locator } from 'playwright-core'
import { until } from '../../client/rig/wait.js'
import type { Guest } from '../rig/scene.js'

export class Screen {
  constructor(readonly guest: Guest) {}

  by(id: string): Locator {
    return this.guest.page.getByTestId(id)
  }

  /** The visible text of the first such element; empty where there is none. */
  async text(id: string): Promise<string> {
    return ((await this.first(id, (element) => (element as HTMLElement).innerText)) ?? '').trim()
  }

  async attribute(id: string, name: string): Promise<string | undefined> {
    return (await this.first(id, (element, name) => element.getAttribute(name), name)) ?? undefined
  }

  /** What the banner says of the connection, by its word. */
  async connection(): Promise<string> {
    return (await this.attribute('connection', 'data-word')) ?? ''
  }

  /** Waits for what the screen shows; fails with what it shows instead. */
  async shows(what: string, look: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
    try {
      await until(`${this.guest.name}: ${what}`, ms, look)
    } catch (error) {
      const shown = await this.guest.page.evaluate(() => document.body.innerText).catch(String)
      throw new Error(`${String(error)}; the screen shows:\n${shown.slice(0, 1_500)}\n${this.guest.wrong.join('\n')}`)
    }
  }

  async isLive(ms = 30_000): Promise<void> {
    await this.shows('a live connection', async () => (await this.connection()) === 'live', ms)
  }

  /** Waits until the map is there. Its tiles and streets may still come. */
  async isDrawn(): Promise<void> {
    await this.shows('a map', async () => (await this.attribute('map', 'data-drawn')) === 'map')
  }

  /** Why it wants to be signed in to; empty where it doesn't. */
  async signedOut(): Promise<string> {
    return (await this.attribute('sign-in', 'data-why')) ?? ''
  }

  async signIn(token: string): Promise<void> {
    await this.by('token').fill(token)
    await this.by('sign-in-submit').click()
  }

  /** Asks the document once, without waiting: what isn't there yet is `undefined`. */
  async first<T, A = undefined>(id: string, look: (element: Element, argument: A) => T, argument?: A): Promise<T | undefined> {
    const found = this.by(id).first()
    if ((await found.count()) === 0) return undefined
    return await found.evaluate(look as (element: Element, argument: unknown) => T, argument, { timeout: 2_000 }).catch(() => undefined)
  }
}
