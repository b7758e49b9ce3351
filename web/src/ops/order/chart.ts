/** The arrival time as it was told over an order's life, as the lines of a small chart. */

import type { TrackRow } from '@trunkline/client/rest'

export interface Told {
  at: number
  p10: number
  p50: number
  p90: number
}

/** What was told when, one line per change; what was told again isn't. */
export function toldOf(rows: readonly TrackRow[]): Told[] {
  const told: Told[] = []
  for (const { at_ms, eta_p10_ms, eta_p50_ms, eta_p90_ms } of rows) {
    if (eta_p50_ms === undefined || eta_p10_ms === undefined || eta_p90_ms === undefined) continue
    const last = told.at(-1)
    if (last && last.p10 === eta_p10_ms && last.p50 === eta_p50_ms && last.p90 === eta_p90_ms) continue
    told.push({ at: at_ms, p10: eta_p10_ms, p50: eta_p50_ms, p90: eta_p90_ms })
  }
  return told
}

export interface ChartSize {
  width: number
  height: number
  left: number
  right: number
  top: number
  bottom: number
}

export interface Chart {
  band: string
  line: string
  x: (ms: number) => number
  y: (ms: number) => number
  /** Times on the two axes. */
  xTicks: number[]
  yTicks: number[]
}

/** Steps that people count time in. */
const STEPS_MS = [60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000]

/** Round times within a span, at most `most`. */
export function ticks(from: number, to: number, most: number): number[] {
  const step = STEPS_MS.find((one) => (to - from) / one <= most) ?? 86_400_000 * Math.ceil((to - from) / 86_400_000 / most)
  const found: number[] = []
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at)
  return found
}

/** `marks` are times that must be in sight on the vertical axis: promise and completion; `end` is where the horizontal one ends at least. */
export function chart(told: readonly Told[], marks: readonly number[], end: number, size: ChartSize): Chart | undefined {
  const first = told[0]
  if (!first) return undefined
  const lastAt = Math.max(end, told.at(-1)!.at, first.at + 60_000)
  const all = [...told.flatMap(({ p10, p90 }) => [p10, p90]), ...marks]
  const [low, high] = [Math.min(...all), Math.max(...all)]
  const room = Math.max((high - low) * 0.08, 30_000)
  const scale = (from: number, to: number, a: number, b: number) => (ms: number) => a + ((ms - from) / (to - from)) * (b - a)
  const x = scale(first.at, lastAt, size.left, size.width - size.right)
  const y = scale(low - room, high + room, size.height - size.bottom, size.top)
  const n = (value: number): string => value.toFixed(1)
  // A forecast holds until the next one: steps, no slopes that nobody told.
  const steps = (of: (told: Told) => number): string[] =>
    told.flatMap((one, i) => [`${n(x(one.at))} ${n(y(of(one)))}`, `${n(x(told[i + 1]?.at ?? lastAt))} ${n(y(of(one)))}`])
  const upper = steps(({ p90 }) => p90)
  const lower = steps(({ p10 }) => p10).reverse()
  return {
    band: `M${[...upper, ...lower].join('L')}Z`,
    line: `M${steps(({ p50 }) => p50).join('L')}`,
    x,
    y,
    xTicks: ticks(first.at, lastAt, 4),
    yTicks: ticks(low - room, high + room, 5),
  }
}

/** How good the forecast was that was told first while it was on its way, against what became of it. */
export function outcome(told: readonly Told[], departedMs: number | undefined, completedMs: number | undefined): { errorMs: number; within: boolean } | undefined {
  if (completedMs === undefined) return undefined
  const first = told.find(({ at }) => departedMs !== undefined && at >= departedMs) ?? told[0]
  if (!first) return undefined
  return { errorMs: first.p50 - completedMs, within: first.p10 <= completedMs && completedMs <= first.p90 }
}
