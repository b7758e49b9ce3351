/**
 * What is drawn on a base map that isn't WGS-84's. Our data are WGS-84; Chinese tile sources draw GCJ-02 (or Baidu's BD-09), which is
 * off by hundreds of metres. So everything of ours is shifted once, on its way onto the map, and what the map says (clicks,
 * boxes) is shifted back. A place of ours is `{lat, lon}`, a place on the map `[lng, lat]`: the types keep it from being
 * shifted twice. Outside China nothing is shifted, as the server does it.
 */

import type * as GeoJSON from 'geojson'
import type { Box, Place } from '@trunkline/client'
import gcoord from 'gcoord'

export type Datum = 'wgs84' | 'gcj02' | 'bd09'

/** Degrees on the map as it is drawn, `[lng, lat]`. Made by `toMap` only. */
export type OnMap = [lng: number, lat: number] & { readonly onMap?: never }

const CRS = { wgs84: gcoord.WGS84, gcj02: gcoord.GCJ02, bd09: gcoord.BD09 } as const

/** The box that every implementation takes for China, the server's as well. gcoord asks it of GCJ-02 only: BD-09 it shifts everywhere. */
const inChina = (lng: number, lat: number): boolean => lng >= 72.004 && lng <= 137.8347 && lat >= 0.8293 && lat <= 55.8271

/** Where a place of ours is on a map of this datum. */
export function toMap(datum: Datum, { lat, lon }: Place): OnMap {
  return (datum === 'wgs84' || !inChina(lon, lat) ? [lon, lat] : gcoord.transform([lon, lat], CRS.wgs84, CRS[datum])) as OnMap
}

/** Which place of ours is there on a map of this datum. */
export function fromMap(datum: Datum, [lng, lat]: readonly [number, number]): Place {
  if (datum === 'wgs84' || !inChina(lng, lat)) return { lat, lon: lng }
  const [lon, ours] = gcoord.transform([lng, lat], CRS[datum], CRS.wgs84)
  return { lat: ours, lon }
}

/** The box of ours that covers this box on the map: the offset differs by a few metres from corner to corner. */
export function boxFromMap(datum: Datum, [west, south, east, north]: readonly [number, number, number, number]): Box {
  const corners = ([[west, south], [east, south], [west, north], [east, north]] as const).map((corner) => fromMap(datum, corner))
  const [lats, lons] = [corners.map(({ lat }) => lat), corners.map(({ lon }) => lon)]
  return [Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)]
}

/** A copy of GeoJSON of ours as it is drawn. The same object where nothing is to be shifted. */
export function geometryToMap<T extends GeoJSON.GeoJSON>(datum: Datum, json: T): T {
  if (datum === 'wgs84') return json
  const shift = (part: unknown): unknown => {
    if (Array.isArray(part)) {
      const [lon, lat] = part as unknown[]
      return typeof lon === 'number' && typeof lat === 'number' ? toMap(datum, { lat, lon }) : part.map(shift)
    }
    if (typeof part !== 'object' || part === null) return part
    const inside = ['coordinates', 'geometry', 'geometries', 'features'] as const
    return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, (inside as readonly string[]).includes(name) ? shift(value) : value]))
  }
  return shift(json) as T
}
