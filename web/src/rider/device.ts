/** What a phone offers a page beside its position: a screen that stays on, its battery, storage that isn't cleared. Each may be
 * missing, and nothing hangs on any. */

interface Battery extends EventTarget {
  level: number
}

/** Keeps the screen on while wanted; the browser lets go each time that the page is out of sight. */
export class ScreenOn {
  #wanted = false
  #lock: WakeLockSentinel | undefined
  /** A lock that is asked for twice is held twice, and only one is let go. */
  #asking = false

  /** `signal` ends it. */
  constructor(
    signal: AbortSignal,
    private readonly page: Document = document,
  ) {
    page.addEventListener('visibilitychange', () => void this.#hold(), { signal })
  }

  set(wanted: boolean): void {
    this.#wanted = wanted
    if (wanted) return void this.#hold()
    void this.#lock?.release().catch(() => {})
    this.#lock = undefined
  }

  async #hold(): Promise<void> {
    const wakeLock = (navigator as { wakeLock?: WakeLock }).wakeLock
    if (!this.#wanted || !wakeLock || this.#asking || this.page.visibilityState !== 'visible' || this.#lock?.released === false) return
    this.#asking = true
    try {
      this.#lock = await wakeLock.request('screen')
      if (!this.#wanted) await this.#lock.release()
    } catch {
      // Battery saving forbids it; the next look tries again.
    } finally {
      this.#asking = false
    }
  }
}

/** The battery's charge in percent, once it is known. `onLow` hears of it until `signal`. */
export function batteryOf(onLow: (low: boolean) => void, signal: AbortSignal): () => number | undefined {
  let battery: Battery | undefined
  const look = (): void => onLow(battery !== undefined && battery.level <= 0.15)
  const ask = (navigator as { getBattery?: () => Promise<Battery> }).getBattery
  ask?.call(navigator).then(
    (found) => {
      if (signal.aborted) return
      battery = found
      found.addEventListener('levelchange', look, { signal })
      look()
    },
    () => {},
  )
  return () => (battery === undefined ? undefined : Math.round(battery.level * 100))
}

/** Asks that what waits isn't cleared when the device runs out of room. */
export async function keepStorage(): Promise<void> {
  const storage = navigator.storage as StorageManager | undefined
  await storage?.persist?.().catch(() => false)
}

/** The page works from a cold start without network from now on. Only as it is built: a page under development has no worker. */
export async function beginWorker(): Promise<void> {
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined
  if (!import.meta.env.PROD || !workers) return
  await workers.register('/rider-sw.js', { scope: '/rider' }).catch(() => undefined)
}
