/**
 * The base map's style. Whatever becomes of the tiles, the page stands on something: ground, a graticule, and the cell's streets
 * and fences from GeoJSON are always there, the tiles over them. The source is never changed for another on errors (that leaves a
 * blank page): tiles that don't come are hidden. No fonts are loaded: MapLibre draws labels with the device's own. No borders of
 * states are drawn.
 */

import type * as GeoJSON from 'geojson'
import type { Screens } from '@trunkline/client/rest'
import type { FilterSpecification, LayerSpecification, StyleSpecification } from 'maplibre-gl'
import type { Datum } from './datum.js'

type BaseMap = Screens['base_map']

/** The colours of one appearance. */
interface Paint {
  ground: string
  grid: string
  street: string
  casing: string
  minor: string
  fence: string
  water: string
  green: string
  built: string
  building: string
  ink: string
  soft: string
  halo: string
}

const LIGHT: Paint = {
  ground: '#eef1ee', grid: '#dde4e0', street: '#ffffff', casing: '#d3dbd6', minor: '#fbfcfb', fence: '#7a5cc2', water: '#bfdcea', green: '#d6e8d2',
  built: '#e8ebe8', building: '#dfe3df', ink: '#2b3834', soft: '#54625e', halo: '#f7faf8',
}
const DARK: Paint = {
  ground: '#111a18', grid: '#1b2623', street: '#34433e', casing: '#0b1210', minor: '#26332f', fence: '#a48ee6', water: '#12303d', green: '#16291d',
  built: '#16201d', building: '#1d2926', ink: '#d9e4df', soft: '#a3b3ad', halo: '#0e1513',
}

/** The base map's sources. */
export const GRID = 'base-grid'
export const GROUND = 'base-ground'
export const TILES = 'base-tiles'
/** Above the base map; below what pages draw. */
const FENCES_ABOVE = 'base-fence-above'

const EMPTY: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] }
const FONT = { 'text-font': ['sans-serif'] }

/** What the base map's places refer to: of another datum than WGS-84 are tiles only. */
export const datumOf = (base: BaseMap): Datum => base.tiles?.datum ?? 'wgs84'

/** The style; `origin` is what the addresses of files are relative to. */
export function baseStyle(base: BaseMap, dark: boolean, locale: string, origin: string): StyleSpecification {
  const sources: StyleSpecification['sources'] = {
    [GRID]: { type: 'geojson', data: EMPTY },
    [GROUND]: { type: 'geojson', data: EMPTY },
  }
  const attribution = base.attribution ?? ''
  if (base.tiles) {
    sources[TILES] = { type: 'raster', tiles: [absolute(base.tiles.url, origin)], tileSize: 256, maxzoom: base.tiles.max_zoom, attribution }
  } else if (base.pmtiles) {
    sources[TILES] = { type: 'vector', url: `pmtiles://${absolute(base.pmtiles, origin)}`, attribution }
  }
  return { version: 8, sources, layers: baseLayers(base, dark, locale) }
}

/** Made absolute as text: `URL` would escape the braces of a template. */
const absolute = (path: string, origin: string): string => (path.startsWith('/') ? origin + path : path)

/** The layers from the ground up. Only paints and labels differ by appearance and language. */
export function baseLayers(base: BaseMap, dark: boolean, locale: string): LayerSpecification[] {
  const paint = dark ? DARK : LIGHT
  const tiles = base.tiles ? raster(dark) : base.pmtiles ? vector(paint, locale) : []
  return [...beneath(paint), ...tiles, ...above(paint, base.tiles !== undefined)]
}

/** The layers that go when the tiles don't come. */
export const tileLayers = (base: BaseMap): string[] =>
  baseLayers(base, false, 'en').flatMap((layer) => ('source' in layer && layer.source === TILES ? [layer.id] : []))

const LINE: FilterSpecification = ['==', ['geometry-type'], 'LineString']
const AREA: FilterSpecification = ['==', ['geometry-type'], 'Polygon']
/** Streets say how big they are: 1 is the biggest, as the simulator's files have it. */
const RANK = ['coalesce', ['get', 'c'], 4]
const NAME = ['coalesce', ['get', 'name'], ['get', 'n'], '']
const wide = (factor: number): unknown => ['interpolate', ['exponential', 1.5], ['zoom'], 11, ['*', factor, ['-', 1.4, ['*', 0.2, RANK]]], 18, ['*', 10 * factor, ['-', 1.3, ['*', 0.15, RANK]]]]

function beneath(paint: Paint): LayerSpecification[] {
  const round = { 'line-cap': 'round', 'line-join': 'round' } as const
  return layers([
    { id: 'base-background', type: 'background', paint: { 'background-color': paint.ground } },
    { id: 'base-grid', type: 'line', source: GRID, paint: { 'line-color': paint.grid, 'line-width': 1 } },
    { id: 'base-fence', type: 'fill', source: GROUND, filter: AREA, paint: { 'fill-color': paint.fence, 'fill-opacity': 0.08 } },
    { id: 'base-street-casing', type: 'line', source: GROUND, filter: LINE, layout: round, paint: { 'line-color': paint.casing, 'line-width': wide(1.4) } },
    { id: 'base-street', type: 'line', source: GROUND, filter: LINE, layout: round, paint: { 'line-color': paint.street, 'line-width': wide(1) } },
  ])
}

function above(paint: Paint, covered: boolean): LayerSpecification[] {
  const label = { 'text-color': paint.soft, 'text-halo-color': paint.halo, 'text-halo-width': 1.5 }
  return layers([
    // Tiles of others cover the streets, and have names of their own.
    ...(covered ? [] : [{
      id: 'base-street-name', type: 'symbol', source: GROUND, filter: LINE, minzoom: 14,
      layout: { ...FONT, 'text-field': NAME, 'symbol-placement': 'line', 'text-size': 12 }, paint: label,
    }]),
    { id: FENCES_ABOVE, type: 'line', source: GROUND, filter: AREA, paint: { 'line-color': paint.fence, 'line-width': 1.5, 'line-dasharray': [3, 2], 'line-opacity': 0.8 } },
    {
      id: 'base-fence-name', type: 'symbol', source: GROUND, filter: AREA, minzoom: 12,
      layout: { ...FONT, 'text-field': NAME, 'text-size': 12 }, paint: { ...label, 'text-color': paint.fence },
    },
  ])
}

/** Others' pictures, dimmed where all else is dark. */
function raster(dark: boolean): LayerSpecification[] {
  const dimmed = { 'raster-brightness-max': 0.6, 'raster-saturation': -0.4, 'raster-contrast': 0.1 }
  return [{ id: 'base-raster', type: 'raster', source: TILES, paint: dark ? dimmed : { 'raster-brightness-max': 1, 'raster-saturation': 0, 'raster-contrast': 0 } }]
}

/** Layers of the OpenMapTiles schema, without its boundaries. */
function vector(paint: Paint, locale: string): LayerSpecification[] {
  const of = (id: string, type: string, source: string, more: object): object => ({ id: `base-${id}`, type, source: TILES, 'source-layer': source, ...more })
  // Some files have the name in its own script and in Latin letters only, without `name`.
  const names = locale.startsWith('zh') ? ['name:zh', 'name:zh-Hans', 'name', 'name:nonlatin', 'name:latin'] : ['name:en', 'name_en', 'name:latin', 'name']
  const name = ['coalesce', ...names.map((field) => ['get', field]), '']
  const label = { 'text-color': paint.ink, 'text-halo-color': paint.halo, 'text-halo-width': 1.5 }
  const big: FilterSpecification = ['in', ['get', 'class'], ['literal', ['motorway', 'trunk', 'primary']]]
  const middle: FilterSpecification = ['in', ['get', 'class'], ['literal', ['secondary', 'tertiary']]]
  const small: FilterSpecification = ['in', ['get', 'class'], ['literal', ['minor', 'service', 'raceway', 'busway']]]
  const paths: FilterSpecification = ['in', ['get', 'class'], ['literal', ['path', 'track', 'pedestrian']]]
  const rail: FilterSpecification = ['in', ['get', 'class'], ['literal', ['rail', 'transit']]]
  const grows = (from: number, to: number): unknown => ['interpolate', ['exponential', 1.5], ['zoom'], 10, from, 18, to]
  const round = { 'line-cap': 'round', 'line-join': 'round' }
  return layers([
    of('landcover', 'fill', 'landcover', { filter: ['in', ['get', 'class'], ['literal', ['grass', 'wood', 'wetland']]], paint: { 'fill-color': paint.green, 'fill-opacity': 0.7 } }),
    of('landuse', 'fill', 'landuse', { paint: { 'fill-color': paint.built, 'fill-opacity': 0.6 } }),
    of('park', 'fill', 'park', { paint: { 'fill-color': paint.green, 'fill-opacity': 0.6 } }),
    of('water', 'fill', 'water', { paint: { 'fill-color': paint.water } }),
    of('waterway', 'line', 'waterway', { paint: { 'line-color': paint.water, 'line-width': grows(0.5, 6) } }),
    of('building', 'fill', 'building', { minzoom: 14, paint: { 'fill-color': paint.building, 'fill-outline-color': paint.casing } }),
    of('path', 'line', 'transportation', { filter: paths, minzoom: 14, paint: { 'line-color': paint.casing, 'line-width': 1, 'line-dasharray': [3, 2] } }),
    of('rail', 'line', 'transportation', { filter: rail, paint: { 'line-color': paint.soft, 'line-width': 1, 'line-opacity': 0.5 } }),
    of('road-small-casing', 'line', 'transportation', { filter: small, minzoom: 13, layout: round, paint: { 'line-color': paint.casing, 'line-width': grows(0.8, 14) } }),
    of('road-middle-casing', 'line', 'transportation', { filter: middle, layout: round, paint: { 'line-color': paint.casing, 'line-width': grows(1.4, 20) } }),
    of('road-big-casing', 'line', 'transportation', { filter: big, layout: round, paint: { 'line-color': paint.casing, 'line-width': grows(2.6, 26) } }),
    of('road-small', 'line', 'transportation', { filter: small, minzoom: 13, layout: round, paint: { 'line-color': paint.minor, 'line-width': grows(0.4, 11) } }),
    of('road-middle', 'line', 'transportation', { filter: middle, layout: round, paint: { 'line-color': paint.street, 'line-width': grows(0.8, 16) } }),
    of('road-big', 'line', 'transportation', { filter: big, layout: round, paint: { 'line-color': paint.street, 'line-width': grows(1.6, 22) } }),
    of('road-name', 'symbol', 'transportation_name', {
      minzoom: 13, layout: { ...FONT, 'text-field': name, 'symbol-placement': 'line', 'text-size': 12 }, paint: { ...label, 'text-color': paint.soft },
    }),
    of('place', 'symbol', 'place', {
      filter: ['!', ['in', ['get', 'class'], ['literal', ['continent', 'country', 'state']]]],
      layout: { ...FONT, 'text-field': name, 'text-size': ['match', ['get', 'class'], 'city', 17, 'town', 15, 12], 'text-max-width': 8 }, paint: label,
    }),
  ])
}

/** Literals of expressions are wider than the specification's types; the map checks them. */
const layers = (list: readonly object[]): LayerSpecification[] => list as LayerSpecification[]
