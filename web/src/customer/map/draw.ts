/** The order on the real map. Loaded after the page has painted. */

import type { Place } from '@trunkline/client'
import type { Screens } from '@trunkline/client/rest'
import { LngLatBounds, Marker } from 'maplibre-gl'
import type { GeoJSONSource } from 'maplibre-gl'
import { createMap } from '@/map/view.js'
import type { Tracked } from '../order.js'
import { mark, rename, turn } from './marks.js'
import type { Kind } from './marks.js'
import { Rider } from './scene.js'
import type { Scene, SceneOptions } from './scene.js'

const ROUTE = 'route'
/** How often the map looks whether the rider is still well in sight. */
const FOLLOW_MS = 2_000
/** Of each side so much is the edge. */
const EDGE = 0.18
const CLOSEST = 16

export function drawMap({ container, screens, order, dark, locale, texts, onAway }: SceneOptions & { screens: Screens; order: Tracked }): Scene {
  const center = order.position ?? order.destination ?? order.warehouse ?? { lat: 0, lon: 0 }
  const view = createMap(container, { screens, dark, locale, center, zoom: 14, label: texts.label, texts })
  const { map } = view
  const marks = { rider: mark('rider', texts.rider), door: mark('door', texts.door), warehouse: mark('warehouse', texts.warehouse) }
  const markers: Partial<Record<Kind, Marker>> = {}
  let now = order
  let away = false
  let fitted = ''
  let seen: Place | undefined
  const put = (kind: Kind, place: Place | undefined): void => {
    if (!place) {
      markers[kind]?.remove()
      delete markers[kind]
    } else if (markers[kind]) markers[kind].setLngLat(view.toMap(place))
    else markers[kind] = new Marker({ element: marks[kind], subpixelPositioning: true }).setLngLat(view.toMap(place)).addTo(map)
  }
  const rider = new Rider((drawn) => {
    seen = drawn
    put('rider', drawn)
    turn(marks.rider, drawn)
  })

  /** Everything that matters now: of an order under way not what lies behind. */
  const fit = (): void => {
    const bounds = new LngLatBounds()
    const riding = now.status === 3 && now.position !== undefined
    const places = riding ? [seen ?? now.position, now.destination ?? now.warehouse] : [now.warehouse, now.destination, ...(now.status === 3 ? rider.route : [])]
    for (const place of places) if (place) bounds.extend(view.toMap(place))
    if (bounds.isEmpty()) return
    const { clientWidth: w, clientHeight: h } = container
    // Room for the marks, the buttons at the right, and the sheet's edge below.
    const padding = { top: Math.min(48, h * 0.2), bottom: Math.min(72, h * 0.25), left: Math.min(48, w * 0.15), right: Math.min(88, w * 0.25) }
    map.fitBounds(bounds, { padding, maxZoom: CLOSEST, duration: fitted === '' ? 0 : 800 })
  }
  const leave = (to: boolean): void => {
    if (away !== to) onAway((away = to))
  }
  /** Gently: only when the rider nears the edge, or it is time to look closer. */
  const follow = (): void => {
    if (away || !seen || now.status !== 3) return
    const at = map.project(view.toMap(seen))
    const { clientWidth: w, clientHeight: h } = container
    if (at.x < w * EDGE || at.x > w * (1 - EDGE) || at.y < h * EDGE || at.y > h * (1 - EDGE)) fit()
  }
  const timer = setInterval(follow, FOLLOW_MS)
  for (const event of ['dragstart', 'zoomstart'] as const) map.on(event, ({ originalEvent }) => originalEvent && leave(true))
  const resized = new ResizeObserver(() => !away && fit())
  resized.observe(container)

  const colours = (): { route: string; casing: string } => {
    const style = getComputedStyle(document.documentElement)
    return { route: style.getPropertyValue('--route').trim(), casing: style.getPropertyValue('--surface').trim() }
  }
  let routed: readonly Place[] = []
  const drawRoute = (): void => {
    const source = map.getSource<GeoJSONSource>(ROUTE)
    if (!source || routed === rider.route) return
    routed = rider.route
    source.setData({ type: 'Feature', properties: {}, geometry: { type: 'LineString', coordinates: routed.map((place) => view.toMap(place)) } })
  }
  void view.ready.then(() => {
    const { route, casing } = colours()
    const layout = { 'line-cap': 'round', 'line-join': 'round' } as const
    map.addSource(ROUTE, { type: 'geojson', data: { type: 'FeatureCollection', features: [] } })
    map.addLayer({ id: 'route-casing', type: 'line', source: ROUTE, layout, paint: { 'line-color': casing, 'line-width': 9, 'line-opacity': 0.9 } })
    map.addLayer({ id: 'route', type: 'line', source: ROUTE, layout, paint: { 'line-color': route, 'line-width': 5 } })
    drawRoute()
  })

  return {
    show(order, at_ms) {
      now = order
      put('warehouse', order.warehouse)
      put('door', order.destination)
      if (!rider.take(order, at_ms)) {
        seen = undefined
        put('rider', undefined)
      }
      drawRoute()
      // A new chapter is looked at anew, unless the user looks elsewhere.
      const chapter = `${order.status} ${order.position !== undefined} ${rider.route.length > 0}`
      if (chapter !== fitted && !away) {
        fit()
        fitted = chapter
      }
    },
    setDark(dark) {
      view.setDark(dark)
      const { route, casing } = colours()
      if (!map.getLayer('route')) return
      map.setPaintProperty('route', 'line-color', route)
      map.setPaintProperty('route-casing', 'line-color', casing)
    },
    setLocale(locale, texts) {
      view.setLocale(locale)
      for (const kind of ['rider', 'door', 'warehouse'] as const) rename(marks[kind], texts[kind])
    },
    recentre() {
      leave(false)
      fit()
    },
    destroy() {
      clearInterval(timer)
      resized.disconnect()
      rider.destroy()
      view.destroy()
    },
  }
}
