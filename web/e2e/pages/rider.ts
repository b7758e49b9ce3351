/** The rider's page, `/rider`. */

import type { Guest } from '../rig/scene.js'
import type { Spot } from '../rig/way.js'
import { Screen } from './screen.js'

export class Rider extends Screen {
  /** Opens it where the rider stands. */
  static async open(guest: Guest, token: string, at: Spot): Promise<Rider> {
    await guest.context.setGeolocation({ latitude: at.lat, longitude: at.lon, accuracy: 8 })
    await guest.context.grantPermissions(['geolocation'], { origin: guest.cable.url })
    await guest.open(`/rider#token=${token}`)
    await guest.mark()
    return new Rider(guest)
  }

  async beginShift(): Promise<void> {
    await this.by('shift').click()
  }

  /** Orders to come, the current one first. */
  async stops(): Promise<string[]> {
    const shown = this.guest.page.locator('[data-testid="current-stop"], [data-testid="stops"] [data-order]')
    return await shown.evaluateAll((all) => all.map((one) => one.getAttribute('data-order') ?? ''))
  }

  /** Fixes that wait to be sent. */
  async waiting(): Promise<number> {
    return Number((await this.attribute('waiting-fixes', 'data-count')) ?? NaN)
  }

  /** With the keyboard alone: the button, then its confirmation. */
  async deliverByKey(): Promise<void> {
    await this.by('deliver').focus()
    await this.guest.page.keyboard.press('Enter')
    await this.shows('whether it is sure', async () => (await this.by('deliver-confirm').count()) > 0)
    await this.guest.page.keyboard.press('Enter')
  }

  /** With a finger from its left end to its right one. */
  async deliverBySwipe(): Promise<void> {
    await this.by('deliver').scrollIntoViewIfNeeded()
    const box = await this.by('deliver').boundingBox()
    if (!box) throw new Error('there is nothing to swipe')
    const { mouse } = this.guest.page
    const y = box.y + box.height / 2
    await mouse.move(box.x + 24, y)
    await mouse.down()
    for (let part = 1; part <= 20; part++) await mouse.move(box.x + 24 + ((box.width - 30) * part) / 20, y)
    await mouse.up()
  }
}
