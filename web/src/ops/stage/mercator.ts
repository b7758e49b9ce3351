/** The map's plane: x to the east and y to the south, both from 0 to 1 over the world (Web Mercator). */

/** A tile of MapLibre's at zoom 0 is so many pixels wide. */
export const WORLD_PX = 512

export const mercatorX = (lon: number): number => (lon + 180) / 360

export function mercatorY(lat: number): number {
  const phi = (Math.max(Math.min(lat, 85), -85) * Math.PI) / 180
  return 0.5 - Math.log(Math.tan(Math.PI / 4 + phi / 2)) / (2 * Math.PI)
}

export const lonOf = (x: number): number => x * 360 - 180

export const latOf = (y: number): number => (Math.atan(Math.exp((0.5 - y) * 2 * Math.PI)) * 360) / Math.PI - 90

/** Metres of one unit of the plane at a latitude. */
export const unitMetres = (lat: number): number => 40_075_016.7 * Math.cos((lat * Math.PI) / 180)

/** What of the plane a canvas shows: pixels = plane × `scale` − (`left`, `top`). */
export interface View {
  scale: number
  left: number
  top: number
  width: number
  height: number
}

/** The view about a centre; north is up and the map isn't tilted. */
export function viewOf(lon: number, lat: number, zoom: number, width: number, height: number): View {
  const scale = WORLD_PX * 2 ** zoom
  return { scale, left: mercatorX(lon) * scale - width / 2, top: mercatorY(lat) * scale - height / 2, width, height }
}

/** `[west, south, east, north]`, larger by a share of its size on each side, within the world. */
export function grown(box: readonly [number, number, number, number], share: number): [number, number, number, number] {
  const [west, south, east, north] = box
  const [dx, dy] = [(east - west) * share, (north - south) * share]
  return [Math.max(west - dx, -180), Math.max(south - dy, -90), Math.min(east + dx, 180), Math.min(north + dy, 90)]
}

/** Whether one box holds the other. */
export function holds(outer: readonly [number, number, number, number], inner: readonly [number, number, number, number]): boolean {
  return outer[0] <= inner[0] && outer[1] <= inner[1] && outer[2] >= inner[2] && outer[3] >= inner[3]
}
