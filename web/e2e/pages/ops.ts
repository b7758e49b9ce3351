/** The operations console, `/ops`. */

import type { Guest } from '../rig/scene.js'
import { Screen } from './screen.js'

export class Ops extends Screen {
  static async open(guest: Guest, token: string): Promise<Ops> {
    await guest.open(`/ops#token=${token}`)
    await guest.mark()
    return new Ops(guest)
  }

  /** Finds by what is typed into the one box (an id, a phone's last digits) and opens the first thing found. */
  async search(text: string, is: 'orders' | 'riders' | 'phones' = 'orders'): Promise<void> {
    await this.by('search').fill(text)
    await this.by(`found-${is}`).first().click()
  }

  /** Types into the one box, and leaves open what is found of a kind. */
  async showFound(text: string, is: 'orders' | 'riders' | 'phones'): Promise<void> {
    await this.by('search').fill(text)
    await this.shows(`${is} found by ${text}`, async () => (await this.by(`found-${is}`).count()) > 0)
  }

  /** Finds the order among those whose contact's number ends so, and opens it. */
  async openByPhone(tail: string, order: string): Promise<void> {
    await this.showFound(tail, 'phones')
    await this.guest.page.locator(`[data-testid="found-phones"][data-id="${order}"]`).click()
    await this.shows(`order ${order}`, async () => (await this.attribute('order-panel', 'data-order')) === order && (await this.status()) !== '')
  }

  /** Which key does what; by the key, as a phone has no button for it. */
  async openKeys(): Promise<void> {
    await this.guest.page.keyboard.press('?')
    await this.by('keys').waitFor()
  }

  /** The map's riders as a table. */
  async openLists(): Promise<void> {
    await this.by('list-open').click()
    await this.shows('riders in the list', async () => (await this.by('list-riders').locator('tbody tr').count()) > 0)
  }

  /** Where a note is written to the alert that is open. */
  async openNote(): Promise<void> {
    await this.by('acknowledge').click()
    await this.by('note-dialog').waitFor()
  }

  async openOrder(order: string): Promise<void> {
    await this.search(order)
    await this.shows(`order ${order}`, async () => (await this.attribute('order-panel', 'data-order')) === order && (await this.status()) !== '')
  }

  /** The status of the order that is open; in a replay, of then. */
  async status(): Promise<string> {
    return await this.text('order-status')
  }

  async showsStatus(status: string, ms?: number): Promise<void> {
    await this.shows(`status ${status}`, async () => (await this.status()).includes(status), ms)
  }

  /** The inbox has an alert of the order. */
  async alerted(order: string, ms = 60_000): Promise<void> {
    await this.shows(`an alert of ${order}`, async () => (await this.#row(order).count()) > 0, ms)
  }

  async openAlert(order: string): Promise<void> {
    await this.alerted(order)
    await this.#row(order).first().click()
    await this.shows('the evidence', async () => (await this.text('evidence')) !== '')
  }

  /** Down the inbox to the order's alert, and takes note of it: by keys alone. */
  async acknowledgeByKey(order: string, note: string): Promise<void> {
    const { keyboard } = this.guest.page
    const chosen = (): Promise<string> => this.guest.page.evaluate(() => document.activeElement?.getAttribute('data-alert') ?? '')
    for (let row = 0; row < 60 && !(await chosen()).startsWith(`${order}.`); row++) await keyboard.press('j')
    if (!(await chosen()).startsWith(`${order}.`)) throw new Error(`no key leads to the alert of ${order}: ${await chosen()}`)
    await keyboard.press('Enter')
    await this.shows('the evidence', async () => (await this.text('evidence')) !== '')
    await keyboard.press('a')
    await this.shows('where to write', () => this.guest.page.evaluate(() => document.activeElement?.getAttribute('data-testid') === 'note'))
    await keyboard.type(note)
    await keyboard.press('Control+Enter')
    await this.shows('no dialog', async () => (await this.by('note-dialog').count()) === 0)
  }

  /** A new link to the order that is open; its token. */
  async share(): Promise<string> {
    await this.by('share-create').click()
    await this.by('share-link').waitFor()
    return (await this.by('share-link').inputValue()).split('/t/')[1] ?? ''
  }

  /** Takes back the one link that the open order has. */
  async revokeShare(): Promise<void> {
    await this.by('revoke').click()
    await this.by('revoke-yes').click()
    await this.shows('a revoked link', async () => (await this.attribute('share', 'data-state')) === 'revoked')
  }

  async openReplay(): Promise<void> {
    await this.by('replay-open').click()
    await this.by('replay-slider').waitFor()
  }

  /** To so much of the timeline, 0 to 1. */
  async seek(part: number): Promise<void> {
    await this.by('replay-slider').evaluate((element, part) => {
      const slider = element as HTMLInputElement
      const [min, max] = [Number(slider.min || 0), Number(slider.max || 100)]
      slider.value = String(min + (max - min) * part)
      for (const event of ['input', 'change']) slider.dispatchEvent(new Event(event, { bubbles: true }))
    }, part)
  }

  #row(order: string): ReturnType<Screen['by']> {
    return this.guest.page.locator(`[data-testid="alert-row"][data-alert^="${order}."]`)
  }
}
