/**
 * The map that all screens share: MapLibre with our base map. Loaded by `import('@/map/view.js')` after a page has said what it has to
 * say; `canDraw()` of `webgl.ts` tells before whether it is worth it.
 *
 * Places of ours go onto the map through `toMap` and come back through `fromMap` and `box`, never straight: a base map may be of
 * another datum. Sources and layers that a page adds stay when the appearance or the language changes; they are added after `ready`.
 */

import type * as GeoJSON from 'geojson'
import type { Box, Place } from '@trunkline/client'
import type { Screens } from '@trunkline/client/rest'
import { AttributionControl, Map, NavigationControl, addProtocol, setWorkerUrl } from 'maplibre-gl'
import type { GeoJSONSource, LngLatLike } from 'maplibre-gl'
import 'maplibre-gl/dist/maplibre-gl.css'
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url'
import { Protocol } from 'pmtiles'
import { GRID, GROUND, TILES, baseLayers, baseStyle, datumOf, tileLayers } from './base.js'
import { boxFromMap, fromMap, geometryToMap, toMap } from './datum.js'
import type { Datum, OnMap } from './datum.js'
import { graticule } from './grid.js'
import { TileWatch } from './tiles.js'
import './view.css'

export type { Datum, OnMap } from './datum.js'

export interface MapOptions {
  screens: Screens
  dark: boolean
  /** `zh-CN` or `en`: which names the base map shows. */
  locale: string
  /** The middle at first, WGS-84. */
  center: Place
  zoom?: number
  /** What the map is called to those who don't see it. */
  label: string
  /** The buttons' names. */
  texts?: { zoomIn: string; zoomOut: string }
  /** Said each time the tiles come or stay away. */
  onTiles?: (shown: boolean) => void
}

export interface MapView {
  map: Map
  datum: Datum
  /** Resolves when sources and layers may be added. Tiles aren't waited for. */
  ready: Promise<void>
  toMap(place: Place): OnMap
  fromMap(at: { lng: number; lat: number }): Place
  /** GeoJSON of ours (WGS-84) as it is drawn. */
  geometry<T extends GeoJSON.GeoJSON>(json: T): T
  /** What is in sight, WGS-84: for `cell` topics and searches. */
  box(): Box
  setDark(dark: boolean): void
  setLocale(locale: string): void
  destroy(): void
}

let prepared = false

/** Once per page. */
function prepare(): void {
  if (prepared) return
  prepared = true
  setWorkerUrl(workerUrl)
  addProtocol('pmtiles', new Protocol().tile)
}

export function createMap(container: HTMLElement, options: MapOptions): MapView {
  prepare()
  const base = options.screens.base_map
  const datum = datumOf(base)
  let { dark, locale } = options
  const map = new Map({
    container,
    style: baseStyle(base, dark, locale, location.origin),
    center: toMap(datum, options.center) as LngLatLike,
    zoom: options.zoom ?? 14,
    maxZoom: 19,
    minZoom: 2,
    attributionControl: false,
    // Streets are read north up; a turned map only costs.
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    rollEnabled: false,
    localIdeographFontFamily: getComputedStyle(document.documentElement).getPropertyValue('--font') || 'sans-serif',
    fadeDuration: 0,
    reduceMotion: matchMedia('(prefers-reduced-motion: reduce)').matches,
    locale: {
      'Map.Title': options.label,
      ...(options.texts ? { 'NavigationControl.ZoomIn': options.texts.zoomIn, 'NavigationControl.ZoomOut': options.texts.zoomOut } : {}),
    },
  })
  map.touchZoomRotate.disableRotation()
  map.keyboard.disableRotation()
  map.addControl(new NavigationControl({ showCompass: false }), 'top-right')
  // Tiles bring theirs; ground of ours has the settings'.
  map.addControl(new AttributionControl({ compact: true, ...(base.pmtiles || base.tiles || !base.attribution ? {} : { customAttribution: base.attribution }) }), 'bottom-right')

  const leave = new AbortController()
  const ready = new Promise<void>((resolve) => {
    // Not `load`: that waits for tiles, which may never come.
    if (map.isStyleLoaded()) resolve()
    else map.once('style.load', () => resolve())
  })
  void ready.then(() => {
    if (leave.signal.aborted) return
    drawGrid(map)
    if (base.ground) void drawGround(map, base.ground, datum, leave.signal)
  })
  map.on('moveend', () => drawGrid(map))
  watchTiles(map, tileLayers(base), leave.signal, options.onTiles)

  return {
    map,
    datum,
    ready,
    toMap: (place) => toMap(datum, place),
    fromMap: ({ lng, lat }) => fromMap(datum, [lng, lat]),
    geometry: (json) => geometryToMap(datum, json),
    box: () => boxFromMap(datum, corners(map)),
    setDark(now) {
      if (now !== dark) void ready.then(() => restyle(map, options.screens, (dark = now), locale))
    },
    setLocale(now) {
      if (now !== locale) void ready.then(() => restyle(map, options.screens, dark, (locale = now)))
    },
    destroy() {
      leave.abort()
      map.remove()
    },
  }
}

const corners = (map: Map): [number, number, number, number] => {
  const bounds = map.getBounds()
  return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()]
}

function drawGrid(map: Map): void {
  map.getSource<GeoJSONSource>(GRID)?.setData(graticule(corners(map), map.getCanvas().clientWidth))
}

/** Streets and fences of the cell. Without them the ground is bare, and the page goes on. */
async function drawGround(map: Map, path: string, datum: Datum, signal: AbortSignal): Promise<void> {
  try {
    const answer = await fetch(path, { signal })
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`)
    const ground = geometryToMap(datum, (await answer.json()) as GeoJSON.FeatureCollection)
    if (!signal.aborted) map.getSource<GeoJSONSource>(GROUND)?.setData(ground)
  } catch (error) {
    if (!signal.aborted) console.warn('no ground for the map', error)
  }
}

/** Paints and labels anew, in place: what pages have added isn't touched. */
function restyle(map: Map, screens: Screens, dark: boolean, locale: string): void {
  for (const layer of baseLayers(screens.base_map, dark, locale)) {
    if (!map.getLayer(layer.id)) continue
    for (const [name, value] of Object.entries(layer.paint ?? {})) map.setPaintProperty(layer.id, name as never, value as never)
    const text = 'layout' in layer ? (layer.layout as Record<string, unknown> | undefined)?.['text-field'] : undefined
    if (text !== undefined) map.setLayoutProperty(layer.id, 'text-field', text as never)
  }
}

/** Hides tiles that don't come, and tries them again when the network is back, and now and then: a source that was slow once may not be later. */
function watchTiles(map: Map, layers: readonly string[], signal: AbortSignal, onTiles?: (shown: boolean) => void): void {
  if (layers.length === 0) return
  const watch = new TileWatch()
  let visible = true
  let timer: ReturnType<typeof setTimeout> | undefined
  let again: ReturnType<typeof setTimeout> | undefined
  const look = (): void => {
    clearTimeout(timer)
    if (signal.aborted) return
    const now = performance.now()
    const shown = watch.shown(now)
    if (shown !== visible) {
      visible = shown
      for (const id of layers) if (map.getLayer(id)) map.setLayoutProperty(id, 'visibility', shown ? 'visible' : 'none')
      onTiles?.(shown)
      clearTimeout(again)
      if (!shown) again = setTimeout(begin, watch.rest())
    }
    const due = watch.due(now)
    if (due !== undefined) timer = setTimeout(look, due + 10)
  }
  const begin = (): void => {
    if (signal.aborted) return
    watch.begin(performance.now())
    look()
  }
  map.on('sourcedata', (event) => {
    if (event.sourceId !== TILES || !event.tile) return
    // Also one that has failed is told of.
    if (event.tile.state === 'loaded' || event.tile.hasData()) watch.came()
    look()
  })
  map.on('error', (event) => {
    if ((event as { sourceId?: string }).sourceId !== TILES) {
      console.warn(event.error)
      return
    }
    watch.failed()
    look()
  })
  map.once('style.load', begin)
  signal.addEventListener('abort', () => {
    clearTimeout(timer)
    clearTimeout(again)
  })
  addEventListener('online', () => !visible && begin(), { signal })
}
