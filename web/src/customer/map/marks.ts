/** The marks on a map or a sketch: elements of the page, so that they are named, sharp and cheap to move. */

import type { Drawn } from '@/map/motion.js'
import './marks.css'

export type Kind = 'rider' | 'door' | 'warehouse'

const SHAPES: Record<Kind, string> = {
  // A scooter's helmet seen from above would need explaining; an arrow in a disc says where it goes.
  rider: '<g class="turn"><path d="M12 4.5l4.6 10.2L12 12.6l-4.6 2.1z" fill="currentColor"/></g>',
  door: '<path d="M5 11.5 12 5l7 6.5M7 10.5V19h10v-8.5M10.5 19v-5h3v5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>',
  warehouse: '<path d="M4 19V9.5L12 5l8 4.5V19M8 19v-6h8v6M8 16h8" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>',
}

export function mark(kind: Kind, name: string): HTMLElement {
  const element = document.createElement('div')
  element.className = `mark mark-${kind}`
  element.dataset['testid'] = `${kind}-marker`
  element.innerHTML = `<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">${SHAPES[kind]}</svg>`
  element.setAttribute('role', 'img')
  rename(element, name)
  return element
}

export function rename(element: HTMLElement, name: string): void {
  element.setAttribute('aria-label', name)
  element.title = name
}

/** Says where the marker is drawn, and turns its arrow; without a direction it is a dot. */
export function turn(element: HTMLElement, { lat, lon, heading_deg }: Drawn): void {
  element.dataset['lat'] = lat.toFixed(6)
  element.dataset['lon'] = lon.toFixed(6)
  const arrow = element.querySelector<SVGElement>('.turn')
  if (!arrow || heading_deg === undefined) return
  // The short way round: 350° to 10° are 20°.
  const before = Number(element.dataset['turned'] ?? heading_deg)
  const turned = before + ((((heading_deg - before) % 360) + 540) % 360) - 180
  if (Math.abs(turned - before) < 0.5 && element.dataset['turned'] !== undefined) return
  element.dataset['turned'] = turned.toFixed(1)
  arrow.style.transform = `rotate(${turned.toFixed(1)}deg)`
}
