/** The customer's page, `/t/{share or order}`. */

import type { Guest } from '../rig/scene.js'
import type { Spot } from '../rig/way.js'
import { Screen } from './screen.js'

export class Customer extends Screen {
  static async open(guest: Guest, path: string, token?: string): Promise<Customer> {
    await guest.open(`/t/${path}${token === undefined ? '' : `#token=${token}`}`)
    await guest.mark()
    return new Customer(guest)
  }

  async status(): Promise<string> {
    return await this.text('status')
  }

  async showsStatus(status: string, ms?: number): Promise<void> {
    await this.shows(`status ${status}`, async () => (await this.status()).includes(status), ms)
  }

  async eta(): Promise<string> {
    return await this.text('eta')
  }

  async stopsAhead(): Promise<string> {
    return await this.text('stops-ahead')
  }

  /** How a step of the timeline stands: `done`, `now`, `next`, `bad`. */
  async step(name: string): Promise<string> {
    return (await this.attribute(`stage-${name}`, 'data-state')) ?? ''
  }

  /** Why nothing is shown any more; empty while something is. */
  async gone(): Promise<string> {
    return (await this.attribute('gone', 'data-why')) ?? (await this.signedOut())
  }

  /** Where the rider's marker is drawn. */
  async marker(): Promise<Spot | undefined> {
    const [lat, lon] = [await this.attribute('rider-marker', 'data-lat'), await this.attribute('rider-marker', 'data-lon')]
    return lat === undefined || lon === undefined ? undefined : { lat: Number(lat), lon: Number(lon) }
  }

  /** From now on each frame's step of the marker is measured. */
  async watchSteps(): Promise<void> {
    await this.guest.page.evaluate(() => {
      const seen = { frames: 0, moves: 0, longest_m: 0 }
      Object.assign(globalThis, { steps: seen })
      let before: [number, number] | undefined
      const look = (): void => {
        const marker = document.querySelector<HTMLElement>('[data-testid="rider-marker"]')
        if (marker) {
          const now: [number, number] = [Number(marker.dataset['lat']), Number(marker.dataset['lon'])]
          const [north, east] = before ? [now[0] - before[0], (now[1] - before[1]) * Math.cos((now[0] * Math.PI) / 180)] : [0, 0]
          const step_m = Math.hypot(north, east) * 111_195
          seen.frames += 1
          seen.moves += step_m > 0 ? 1 : 0
          seen.longest_m = Math.max(seen.longest_m, step_m)
          before = now
        }
        requestAnimationFrame(look)
      }
      requestAnimationFrame(look)
    })
  }

  /** Frames with a marker, those in which it moved, and its longest step. */
  async steps(): Promise<{ frames: number; moves: number; longest_m: number }> {
    return await this.guest.page.evaluate(() => (globalThis as unknown as { steps: { frames: number; moves: number; longest_m: number } }).steps)
  }
}
