/** The browser's offer to install the page. It comes early and once, so it is listened to before anything is drawn. */

import { shallowRef } from 'vue'
import type { ShallowRef } from 'vue'

interface InstallOffer extends Event {
  prompt(): Promise<unknown>
}

export const offer: ShallowRef<InstallOffer | undefined> = shallowRef()

export function listenForInstall(): void {
  addEventListener('beforeinstallprompt', (event) => {
    event.preventDefault()
    offer.value = event as InstallOffer
  })
  addEventListener('appinstalled', () => (offer.value = undefined))
}

/** An offer is good once. */
export async function install(): Promise<void> {
  const standing = offer.value
  offer.value = undefined
  await standing?.prompt()
}
