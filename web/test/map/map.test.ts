import { describe, expect, test } from 'vitest'
import { baseLayers, baseStyle, datumOf, tileLayers } from '@/map/base.js'
import { boxFromMap, fromMap, geometryToMap, toMap } from '@/map/datum.js'
import { graticule } from '@/map/grid.js'
import { Plane, Route, Straight, distance, placesOf } from '@/map/route.js'
import { TileWatch } from '@/map/tiles.js'

const SHANGHAI = { lat: 31.2304, lon: 121.4737 }
const VADUZ = { lat: 47.141, lon: 9.5209 }

describe('datum', () => {
  test('known points', () => {
    // Of eviltransform's published test data.
    const points: [lat: number, lon: number, gcj_lat: number, gcj_lon: number][] = [
      [31.1774276, 121.5272106, 31.17530398364597, 121.531541859215],
      [22.543847, 113.912316, 22.540796131694766, 113.9171764808363],
      [39.911954, 116.377817, 39.91334545536069, 116.38404722455657],
    ]
    for (const [lat, lon, gcj_lat, gcj_lon] of points) {
      const [x, y] = toMap('gcj02', { lat, lon })
      expect(distance({ lat: y, lon: x }, { lat: gcj_lat, lon: gcj_lon })).toBeLessThan(0.5)
      expect(distance(fromMap('gcj02', [gcj_lon, gcj_lat]), { lat, lon })).toBeLessThan(0.5)
    }
  })

  test.each(['gcj02', 'bd09'] as const)('%s is some hundred metres off in Shanghai, comes back, and does nothing elsewhere', (datum) => {
    const [lng, lat] = toMap(datum, SHANGHAI)
    expect(distance(SHANGHAI, { lat, lon: lng })).toBeGreaterThan(250)
    expect(distance(fromMap(datum, [lng, lat]), SHANGHAI)).toBeLessThan(datum === 'gcj02' ? 0.05 : 1)
    expect(toMap(datum, VADUZ)).toEqual([VADUZ.lon, VADUZ.lat])
    expect(fromMap(datum, [VADUZ.lon, VADUZ.lat])).toEqual(VADUZ)
  })

  test('what is drawn is a copy: the same geometry again is shifted once as well', () => {
    const line = { type: 'LineString' as const, coordinates: [[121.47, 31.23], [121.48, 31.24]] }
    const before = structuredClone(line)
    const once = geometryToMap('gcj02', line)
    expect(line).toEqual(before)
    expect(geometryToMap('gcj02', line)).toEqual(once)
    expect(once.coordinates[0]).toEqual([...toMap('gcj02', { lat: 31.23, lon: 121.47 })])
    expect(geometryToMap('wgs84', line)).toBe(line)
  })

  test('a box of the map is covered', () => {
    const [west, south, east, north] = boxFromMap('gcj02', [121.4, 31.1, 121.6, 31.3])
    for (const corner of [[121.4, 31.1], [121.6, 31.1], [121.4, 31.3], [121.6, 31.3]] as const) {
      const { lat, lon } = fromMap('gcj02', corner)
      expect(lat >= south && lat <= north && lon >= west && lon <= east).toBe(true)
    }
    expect(boxFromMap('wgs84', [1, 2, 3, 4])).toEqual([1, 2, 3, 4])
  })
})

describe('base map', () => {
  const bases = [{}, { ground: '/base-map/c.geojson' }, { pmtiles: '/base-map/c.pmtiles', ground: '/g' }, { tiles: { url: '/x/{z}/{x}/{y}', datum: 'gcj02' as const, max_zoom: 17 }, pmtiles: '/p' }]

  test('ground, graticule and streets are there whatever is configured, and beneath the tiles', () => {
    for (const base of bases) {
      const ids = baseLayers(base, false, 'zh-CN').map(({ id }) => id)
      expect(ids.slice(0, 5)).toEqual(['base-background', 'base-grid', 'base-fence', 'base-street-casing', 'base-street'])
      for (const id of tileLayers(base)) expect(ids.indexOf(id)).toBeGreaterThan(4)
    }
  })

  test('tiles go before the file; both have the datum of what is drawn', () => {
    const [bare, , vector, raster] = bases
    expect(baseStyle(vector!, false, 'en', 'http://h').sources['base-tiles']).toMatchObject({ type: 'vector', url: 'pmtiles://http://h/base-map/c.pmtiles' })
    expect(baseStyle(raster!, false, 'en', 'http://h').sources['base-tiles']).toMatchObject({ type: 'raster', tiles: ['http://h/x/{z}/{x}/{y}'], maxzoom: 17 })
    expect([datumOf(bare!), datumOf(vector!), datumOf(raster!)]).toEqual(['wgs84', 'wgs84', 'gcj02'])
    expect(tileLayers(bare!)).toEqual([])
  })

  test('no borders, no fonts; appearances and languages have the same layers', () => {
    const base = bases[2]!
    const style = baseStyle(base, true, 'en', 'http://h')
    expect(style.glyphs).toBeUndefined()
    expect(JSON.stringify(style.layers)).not.toMatch(/boundary|admin/)
    const shape = (dark: boolean, locale: string): unknown => baseLayers(base, dark, locale).map(({ id, type, paint }) => [id, type, Object.keys(paint ?? {})])
    expect(shape(true, 'en')).toEqual(shape(false, 'zh-CN'))
  })

  test('tiles are hidden after three errors with no success, or none in 4 s', () => {
    const errors = new TileWatch()
    errors.begin(0)
    for (const n of [1, 2, 3]) {
      expect(errors.shown(n)).toBe(true)
      errors.failed()
    }
    expect(errors.shown(4)).toBe(false)
    const slow = new TileWatch()
    slow.begin(0)
    expect([slow.shown(3_999), slow.due(1_000), slow.shown(4_000)]).toEqual([true, 3_000, false])
    const good = new TileWatch()
    good.begin(0)
    good.came()
    for (let n = 0; n < 10; n += 1) good.failed()
    expect([good.shown(100_000), good.due(1)]).toEqual([true, undefined])
  })

  test('hidden tiles are tried again, less and less often until some come', () => {
    const watch = new TileWatch()
    const rests: number[] = []
    for (let now = 0; rests.length < 7; now += 100_000) {
      watch.begin(now)
      expect([watch.shown(now), watch.shown(now + 4_000)]).toEqual([true, false])
      rests.push(watch.rest() / 1_000)
    }
    expect(rests).toEqual([30, 60, 120, 240, 480, 480, 480])
    watch.came()
    expect(watch.rest()).toBe(30_000)
  })

  test('a graticule has some lines at every zoom, and never many', () => {
    for (const span of [0.002, 0.03, 0.5, 8, 300]) {
      const [one] = graticule([121, 31, 121 + span, 31 + span / 2], 1_000).features
      const lines = one!.geometry.type === 'MultiLineString' ? one!.geometry.coordinates.length : 0
      expect(lines).toBeGreaterThan(span > 0.005 ? 2 : 0)
      expect(lines).toBeLessThan(60)
    }
  })
})

describe('route', () => {
  const plane = new Plane(SHANGHAI)
  const at = (x: number, y: number): { lat: number; lon: number } => plane.place({ x, y })

  test('lengths, places and headings', () => {
    const route = Route.of([at(0, 0), at(0, 0), at(1_000, 0), at(1_000, 500)])!
    expect(route.end_m).toBeCloseTo(1_500, 0)
    expect(distance(route.plane.place(route.spot(1_200)), at(1_000, 200))).toBeLessThan(0.5)
    expect([route.heading(10), route.heading(1_400)]).toEqual([expect.closeTo(90, 1), expect.closeTo(0, 1)])
    expect(distance(route.plane.place(route.spot(9_999)), at(1_000, 500))).toBeLessThan(0.5)
    expect([Route.of([]), Route.of([at(0, 0), at(0, 0)])]).toEqual([undefined, undefined])
  })

  test('a fix is found within what can be reached, not on another leg', () => {
    // Out and back along two streets 30 m apart.
    const route = Route.of([at(0, 0), at(1_000, 0), at(1_000, 30), at(0, 30)])!
    const beside = route.plane.spot(at(300, 20))
    expect(route.project(beside).at_m).toBeCloseTo(1_730, -1)
    const near = route.project(beside, 100, 500, 300)
    expect([near.at_m, near.off_m]).toEqual([expect.closeTo(300, 0), expect.closeTo(20, 0)])
    expect(route.project(beside, 400, 500).at_m).toBeCloseTo(400, 0)
  })

  test('of two places as near the expected one is taken', () => {
    const back = Route.of([at(0, 0), at(1_000, 0), at(0, 0)])!
    const spot = back.plane.spot(at(400, 3))
    expect(back.project(spot, 0, back.end_m, 500).at_m).toBeCloseTo(400, 0)
    expect(back.project(spot, 0, back.end_m, 1_500).at_m).toBeCloseTo(1_600, 0)
  })

  test('a straight way goes both ways for ever', () => {
    const way = new Straight({ x: 10, y: 0 }, { x: 0, y: 1 })
    expect([way.spot(-50), way.foot({ x: 99, y: 7 }), way.heading()]).toEqual([{ x: 10, y: -50 }, 7, 0])
    expect(new Straight({ x: 0, y: 0 }, { x: 0, y: 0 }).heading()).toBeUndefined()
  })

  test('routes come as GeoJSON or encoded', () => {
    expect(placesOf({ type: 'LineString', coordinates: [[-120.2, 38.5], [-120.95, 40.7], ['x', 1]] })).toEqual([{ lat: 38.5, lon: -120.2 }, { lat: 40.7, lon: -120.95 }])
    // Of the algorithm's own description.
    const five = placesOf({ polyline: '_p~iF~ps|U_ulLnnqC_mqNvxq`@', precision: 5 })
    expect(five.map(({ lat, lon }) => [lat, lon])).toEqual([[38.5, -120.2], [40.7, -120.95], [43.252, -126.453]])
    expect(placesOf({ polyline: '_p~iF~ps|U_ulLnnqC_mqNvxq`@', precision: 6 })[0]).toEqual({ lat: 3.85, lon: -12.02 })
    for (const none of [undefined, null, 7, {}, { polyline: '' }, { polyline: '_p~i' }]) expect(placesOf(none)).toEqual([])
  })
})
