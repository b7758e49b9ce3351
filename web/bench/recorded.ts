/**
 * Recorded trips with the ways that they took, as `scripts/eval` is given them: fixes as `id,time,POINT (lon lat)`, ways as
 * `id,MULTILINESTRING (…)`. What a phone would not have sent twice, or the server would not have believed, is left out as the server
 * leaves it out: a repeated time, and a fix that implies more than 40 m/s from the one before (until three agree with each other).
 */

import { readFileSync } from 'node:fs'
import type { Place } from '@trunkline/client'
import { distance } from '@/map/route.js'

export interface Fix extends Place {
  time_ms: number
}

export interface Trip {
  id: string
  fixes: Fix[]
  route: Place[]
  /** Left out. */
  repeated: number
  jumps: number
}

const JUMP_MPS = 40
const AGREEING = 3

export function readTrips(points: string, routes: string): Trip[] {
  const ways = new Map<string, Place[]>()
  for (const line of lines(routes)) {
    const comma = line.indexOf(',')
    ways.set(line.slice(0, comma), pairs(line.slice(comma + 1)))
  }
  const raw = new Map<string, Fix[]>()
  for (const line of lines(points)) {
    const [id = '', time = '', geometry = ''] = line.split(',')
    const place = pairs(geometry)[0]
    const time_ms = Date.parse(time)
    if (!place || Number.isNaN(time_ms)) throw new Error(`${points}: not a fix: ${line}`)
    const trip = raw.get(id) ?? []
    trip.push({ ...place, time_ms })
    raw.set(id, trip)
  }
  return [...raw].flatMap(([id, fixes]) => {
    const route = ways.get(id)
    return route ? [{ id, route, ...believed(fixes) }] : []
  })
}

/** In order of time, without what isn't believed. */
function believed(fixes: readonly Fix[]): Pick<Trip, 'fixes' | 'repeated' | 'jumps'> {
  const good: Fix[] = []
  let [away, repeated, jumps]: [Fix[], number, number] = [[], 0, 0]
  for (const fix of [...fixes].sort((a, b) => a.time_ms - b.time_ms)) {
    const last = good[good.length - 1]
    if (last && fix.time_ms <= (away[away.length - 1] ?? last).time_ms) repeated += 1
    else if (!last || speed(last, fix) <= JUMP_MPS) {
      good.push(fix)
      jumps += away.length
      away = []
    } else {
      const before = away[away.length - 1]
      away = before && speed(before, fix) <= JUMP_MPS ? [...away, fix] : ((jumps += away.length), [fix])
      if (away.length === AGREEING) {
        good.push(fix)
        jumps += AGREEING - 1
        away = []
      }
    }
  }
  return { fixes: good, repeated, jumps: jumps + away.length }
}

/** m/s between two fixes. */
export const speed = (a: Fix, b: Fix): number => (distance(a, b) / (b.time_ms - a.time_ms)) * 1000

const lines = (file: string): string[] => readFileSync(file, 'utf8').split('\n').slice(1).filter((line) => line.trim() !== '')

const pairs = (text: string): Place[] => [...text.matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map(([, lon, lat]) => ({ lat: Number(lat), lon: Number(lon) }))
