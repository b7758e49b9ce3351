/** The current stop and the rider on a map. Loaded when it is asked for; nothing needs it. */

import type { Place } from '@trunkline/client'
import { LngLatBounds, Marker } from 'maplibre-gl'
import type { LngLatLike } from 'maplibre-gl'
import { createMap } from '@/map/view.js'
import type { MapOptions } from '@/map/view.js'

export interface StopMap {
  /** Where the rider is now. */
  moveTo(rider: Place): void
  setDark(dark: boolean): void
  setLocale(locale: string): void
  destroy(): void
}

/** `marks` are drawn at their places; both fit into the picture at first. */
export function drawStop(container: HTMLElement, options: MapOptions, marks: { goal: HTMLElement; rider: HTMLElement }, rider: Place | undefined): StopMap {
  const view = createMap(container, options)
  const goal = view.toMap(options.center) as LngLatLike
  new Marker({ element: marks.goal }).setLngLat(goal).addTo(view.map)
  let marker: Marker | undefined
  const moveTo = (place: Place): void => {
    const at = view.toMap(place) as LngLatLike
    if (marker) return void marker.setLngLat(at)
    marker = new Marker({ element: marks.rider }).setLngLat(at).addTo(view.map)
    view.map.fitBounds(new LngLatBounds(at, at).extend(goal), { padding: 48, maxZoom: 16, animate: false })
  }
  if (rider) moveTo(rider)
  return { moveTo, setDark: view.setDark, setLocale: view.setLocale, destroy: view.destroy }
}
