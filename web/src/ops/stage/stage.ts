/**
 * The map of the console: the base map, riders and orders above it, and what somebody looks at (a route, the fixes that an alert
 * rests on, where a replay is). Loaded when there is something to draw.
 */

import type * as GeoJSON from 'geojson'
import type { Box, Place } from '@trunkline/client'
import type { Screens } from '@trunkline/client/rest'
import { LngLatBounds, Marker } from 'maplibre-gl'
import type { GeoJSONSource } from 'maplibre-gl'
import { createMap } from '@/map/view.js'
import type { MapView } from '@/map/view.js'
import type { Fleet } from './fleet.js'
import { Gauge } from './gauge.js'
import { latOf, lonOf, viewOf } from './mercator.js'
import { Overlay } from './overlay.js'
import type { Hit } from './overlay.js'
import { paletteOf } from './sprites.js'

/** Something with a name at a place. */
export interface Pin {
  id: string
  kind: 'warehouse' | 'door' | 'evidence' | 'rider'
  place: Place
  label: string
  heading?: number
}

/** What is looked at, beside all that moves. */
export interface Scene {
  route?: Place[]
  /** Where the rider has been, in the order of time. */
  ridden?: Place[]
  /** From an alert's fix to what it was measured to. */
  measure?: Place[]
  pins: Pin[]
}

export interface StageOptions {
  screens: Screens
  dark: boolean
  locale: string
  label: string
  texts: { zoomIn: string; zoomOut: string }
  center: Place
  zoom: number
  onPick: (hit: Hit | undefined) => void
  /** The map shows another part now. */
  onMoved: () => void
  onTiles: (shown: boolean) => void
}

/** One source for all lines, hidden where there is none: a source that is used costs a pass over the whole canvas at each frame. */
const LINES = 'ops-lines'
const COLOURS = { route: '--route', ridden: '--rider', measure: '--bad' } as const
type Line = keyof typeof COLOURS
/** Pixels of a coarse frame per CSS pixel, as a share of a sharp one's. */
const COARSE = 0.5
/** So long after a move it is drawn sharp again: a hand that moves it again meanwhile finds it as it was. */
const SHARP_MS = 800
const KINDS = Object.keys(COLOURS) as Line[]
const layerOf = (kind: Line): string => `${LINES}-${kind}`

export class Stage {
  readonly view: MapView
  readonly overlay: Overlay
  #pins = new Map<string, { marker: Marker; pin: Pin }>()
  #scene: Scene = { pins: [] }
  #host: HTMLElement
  #gone = false
  #leave = new AbortController()
  #coarse = false
  #resizing = false
  #sharpen: ReturnType<typeof setTimeout> | undefined

  constructor(host: HTMLElement, readonly fleet: Fleet, options: StageOptions) {
    this.#host = host
    const { onPick, onMoved, ...base } = options
    this.view = createMap(host, base)
    const { map } = this.view
    fleet.setShift((lon, lat) => this.view.toMap({ lon, lat }))
    const container = map.getCanvasContainer()
    this.overlay = new Overlay(
      container,
      fleet,
      () => {
        const { lng, lat } = map.getCenter()
        return { view: viewOf(lng, lat, map.getZoom(), host.clientWidth, host.clientHeight), zoom: map.getZoom() }
      },
      paletteOf(getComputedStyle(host)),
    )
    this.overlay.start()
    map.on('click', ({ point }) => onPick(this.overlay.hit(point.x, point.y)))
    map.on('mousemove', ({ point }) => (map.getCanvas().style.cursor = this.overlay.hit(point.x, point.y) ? 'pointer' : ''))
    map.on('moveend', () => this.#resizing || onMoved())
    this.#watchMoves()
    void this.view.ready.then(() => this.#addLines())
  }

  get zoom(): number {
    return this.view.map.getZoom()
  }

  box(): Box {
    return this.view.box()
  }

  /** Shows all of these places, with room about them. */
  fit(places: readonly Place[], maxZoom = 16): void {
    if (places.length === 0) return
    const bounds = new LngLatBounds()
    for (const place of places) bounds.extend(this.view.toMap(place))
    const { clientWidth, clientHeight } = this.#host
    this.view.map.fitBounds(bounds, { padding: Math.min(88, Math.min(clientWidth, clientHeight) / 5), maxZoom, duration: 600 })
  }

  /** Nearer, about a bubble. */
  open(bubble: { x: number; y: number }): void {
    this.view.map.easeTo({ center: [lonOf(bubble.x), latOf(bubble.y)], zoom: Math.min(this.zoom + 1.75, 18) })
  }

  show(scene: Scene): void {
    this.#scene = scene
    this.#drawLines()
    const wanted = new Set(scene.pins.map(({ id }) => id))
    for (const [id, { marker }] of this.#pins) {
      if (wanted.has(id)) continue
      marker.remove()
      this.#pins.delete(id)
    }
    for (const pin of scene.pins) this.#pin(pin)
  }

  /** Appearance or language have changed. */
  restyle(dark: boolean, locale: string): void {
    this.view.setDark(dark)
    this.view.setLocale(locale)
    this.overlay.recolour(paletteOf(getComputedStyle(this.#host)))
    this.#paintLines()
  }

  destroy(): void {
    this.#gone = true
    this.#leave.abort()
    clearTimeout(this.#sharpen)
    this.overlay.stop()
    this.view.destroy()
  }

  #watchMoves(): void {
    const { map } = this.view
    const gauge = new Gauge()
    let moving = false
    let pressed = false
    // A change of size while nothing moves ends what a hand has begun: a drag that then isn't one is taken for a click. So it is made
    // in the midst of a move, or when no hand is on the map.
    const press = (now: boolean) => () => void (pressed = now)
    map.getCanvasContainer().addEventListener('pointerdown', press(true), { signal: this.#leave.signal })
    for (const name of ['pointerup', 'pointercancel']) addEventListener(name, press(false), { signal: this.#leave.signal, capture: true })
    const sharpen = (): void => {
      this.#sharpen = setTimeout(() => (pressed || map.isMoving() ? sharpen() : this.#draw(false)), SHARP_MS)
    }
    map.on('movestart', () => {
      if (this.#resizing) return
      moving = true
      clearTimeout(this.#sharpen)
      gauge.begin()
    })
    map.on('render', () => {
      if (moving && gauge.frame(performance.now()) && map.isMoving()) this.#draw(true)
    })
    map.on('moveend', () => {
      if (this.#resizing) return
      moving = false
      clearTimeout(this.#sharpen)
      sharpen()
    })
  }

  #draw(coarse: boolean): void {
    if (coarse === this.#coarse || this.#gone) return
    this.#coarse = coarse
    const sharp = devicePixelRatio || 1
    // A change of size says that the map moves, which it doesn't.
    this.#resizing = true
    this.view.map.setPixelRatio(coarse ? sharp * COARSE : sharp)
    this.#resizing = false
    this.overlay.coarse = coarse
  }

  #pin(pin: Pin): void {
    const at = this.view.toMap(pin.place)
    let known = this.#pins.get(pin.id)
    if (!known) {
      const element = document.createElement('div')
      element.className = `pin ${pin.kind}`
      element.dataset['testid'] = `pin-${pin.kind}`
      element.setAttribute('role', 'img')
      element.append(document.createElement('i'), document.createElement('span'))
      const marker = new Marker({ element, anchor: 'center' }).setLngLat(at).addTo(this.view.map)
      this.#pins.set(pin.id, (known = { marker, pin }))
    }
    known.pin = pin
    known.marker.setLngLat(at)
    const element = known.marker.getElement()
    element.dataset['lat'] = String(pin.place.lat)
    element.dataset['lon'] = String(pin.place.lon)
    element.setAttribute('aria-label', pin.label)
    element.querySelector('span')!.textContent = pin.label
    element.style.setProperty('--turn', `${pin.heading ?? 0}deg`)
    element.classList.toggle('turned', pin.heading !== undefined)
  }

  #addLines(): void {
    const { map } = this.view
    if (this.#gone) return
    map.addSource(LINES, { type: 'geojson', data: { type: 'FeatureCollection', features: [] } })
    for (const kind of KINDS) {
      const paint = { 'line-width': kind === 'ridden' ? 3 : 4, ...(kind === 'measure' ? { 'line-dasharray': [1, 1.6] } : {}) }
      const layout = { 'line-cap': 'round', 'line-join': 'round', visibility: 'none' } as const
      map.addLayer({ id: layerOf(kind), type: 'line', source: LINES, filter: ['==', ['get', 'kind'], kind], layout, paint })
    }
    this.#paintLines()
    this.#drawLines()
  }

  #paintLines(): void {
    const { map } = this.view
    const style = getComputedStyle(this.#host)
    for (const kind of KINDS) if (map.getLayer(layerOf(kind))) map.setPaintProperty(layerOf(kind), 'line-color', style.getPropertyValue(COLOURS[kind]).trim())
  }

  #drawLines(): void {
    const { map } = this.view
    const source = map.getSource<GeoJSONSource>(LINES)
    if (!source) return
    const shown = KINDS.filter((kind) => (this.#scene[kind]?.length ?? 0) > 1)
    source.setData(this.view.geometry({ type: 'FeatureCollection', features: shown.map((kind) => line(kind, this.#scene[kind]!)) }))
    for (const kind of KINDS) map.setLayoutProperty(layerOf(kind), 'visibility', shown.includes(kind) ? 'visible' : 'none')
  }
}

const line = (kind: Line, places: readonly Place[]): GeoJSON.Feature => ({
  type: 'Feature',
  properties: { kind },
  geometry: { type: 'LineString', coordinates: places.map(({ lat, lon }) => [lon, lat]) },
})
