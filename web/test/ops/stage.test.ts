import { describe, expect, it } from 'vitest'
import { centre, cluster, SINGLES_ZOOM } from '@/ops/stage/cluster.js'
import { ALERT, CARRYING, Fleet, FREE, LATE, glideSpan } from '@/ops/stage/fleet.js'
import type { CellState, RiderRow } from '@/ops/stage/fleet.js'
import { Gauge } from '@/ops/stage/gauge.js'
import { WORLD_PX, grown, holds, latOf, lonOf, mercatorX, mercatorY, viewOf } from '@/ops/stage/mercator.js'
import { plainView } from '@/ops/stage/plain.js'

const rider = (lat: number, lon: number, orders: string[] = []): RiderRow => ({ on_shift: true, position: { lat, lon, fix_time_ms: 1 }, orders })
const cell = (riders: CellState['riders'], orders: CellState['orders'] = {}): CellState => ({ riders, orders })
const order = (status: number): CellState['orders'][string] => ({ status, warehouse: { id: 'w', lat: 31, lon: 121 }, destination: { lat: 31.2, lon: 121.4 } })
const x = (fleet: Fleet, id: string): number => lonOf(fleet.x[fleet.slotOf(id)!]!)

describe('the plane', () => {
  it('goes there and back', () => {
    expect(lonOf(mercatorX(121.47))).toBeCloseTo(121.47, 9)
    expect(latOf(mercatorY(31.23))).toBeCloseTo(31.23, 9)
    expect(latOf(mercatorY(-60))).toBeCloseTo(-60, 9)
  })

  it('has the centre in the middle of the view', () => {
    const { scale, left, top } = viewOf(121.47, 31.23, 12, 800, 600)
    expect(mercatorX(121.47) * scale - left).toBeCloseTo(400, 6)
    expect(mercatorY(31.23) * scale - top).toBeCloseTo(300, 6)
  })

  it('grows a box about its middle and knows what it holds', () => {
    expect(grown([10, 20, 12, 24], 0.5)).toEqual([9, 18, 13, 26])
    expect(grown([-179, -89, 179, 89], 1)).toEqual([-180, -90, 180, 90])
    expect(holds([0, 0, 4, 4], [1, 1, 4, 4])).toBe(true)
    expect(holds([0, 0, 4, 4], [1, 1, 4.1, 4])).toBe(false)
  })
})

describe('the fleet', () => {
  it('glides from where a rider is drawn to the newer fix, and not beyond it', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ r1: rider(31, 121) }), undefined, 0)
    fleet.apply(cell({ r1: rider(31, 121.001) }), { riders: { r1: {} } }, 1_000)
    fleet.glide(1_550)
    expect(x(fleet, 'r1')).toBeCloseTo(121.0005, 6)
    expect(fleet.glide(3_000)).toBe(true)
    expect(x(fleet, 'r1')).toBeCloseTo(121.001, 9)
    expect(fleet.glide(9_000)).toBe(false)
  })

  it('turns from the middle of a glide without a jump', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ r1: rider(31, 121) }), undefined, 0)
    fleet.apply(cell({ r1: rider(31, 121.001) }), { riders: { r1: {} } }, 1_000)
    fleet.glide(1_550)
    const before = x(fleet, 'r1')
    fleet.apply(cell({ r1: rider(31, 121) }), { riders: { r1: {} } }, 1_550)
    fleet.glide(1_550)
    expect(x(fleet, 'r1')).toBeCloseTo(before, 9)
  })

  it('doesn’t ride through houses: what is far is simply there', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ r1: rider(31, 121) }), undefined, 0)
    fleet.apply(cell({ r1: rider(31, 121.05) }), { riders: { r1: {} } }, 1_000)
    fleet.glide(1_001)
    expect(x(fleet, 'r1')).toBeCloseTo(121.05, 9)
  })

  it('touches only what a change names, and forgets who left', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ a: rider(31, 121), b: rider(31, 122) }, { o: order(2) }), undefined, 0)
    expect([fleet.count, fleet.orders.size]).toEqual([2, 1])
    // `b` isn't named: whatever the state says of it is not looked at.
    fleet.apply(cell({}), { riders: { a: null }, orders: { o: null } } as never, 1_000)
    expect([...fleet.riderIds()]).toEqual(['b'])
    expect(fleet.orders.size).toBe(0)
    fleet.apply(cell({ c: rider(31, 123) }), { riders: { c: {} } }, 2_000)
    expect(fleet.slots).toBe(2)
    expect(x(fleet, 'c')).toBeCloseTo(123, 9)
  })

  it('takes a whole state for all there is', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ a: rider(31, 121), b: rider(31, 122) }), undefined, 0)
    fleet.apply(cell({ b: rider(31, 122) }), undefined, 0)
    expect([...fleet.riderIds()]).toEqual(['b'])
  })

  it('colours riders by the worst of what they carry', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ a: rider(31, 121), b: rider(31, 121, ['o1']), c: rider(31, 121, ['o2', 'o3']), d: rider(31, 121) }), undefined, 0)
    const states = (): number[] => ['a', 'b', 'c', 'd'].map((id) => fleet.state[fleet.slotOf(id)!]!)
    expect(states()).toEqual([FREE, CARRYING, CARRYING, FREE])
    fleet.mark({ orders: new Map([['o3', LATE]]), riders: new Map([['d', ALERT]]) })
    expect(states()).toEqual([FREE, CARRYING, LATE, ALERT])
    fleet.mark({ orders: new Map(), riders: new Map() })
    expect(states()).toEqual([FREE, CARRYING, CARRYING, FREE])
  })

  it('has room for more than it began with', () => {
    const fleet = new Fleet()
    const riders = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`r${n}`, rider(31 + n / 1e5, 121)]))
    fleet.apply(cell(riders), undefined, 0)
    expect(fleet.count).toBe(5_000)
    expect(latOf(fleet.y[fleet.slotOf('r4999')!]!)).toBeCloseTo(31.04999, 6)
  })

  it('is put elsewhere on a map of another datum', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ a: rider(31, 121) }, { o: order(2) }), undefined, 0)
    fleet.setShift((lon, lat) => [lon + 0.005, lat])
    expect(x(fleet, 'a')).toBeCloseTo(121.005, 9)
    expect(lonOf(fleet.orders.get('o')!.x)).toBeCloseTo(121.405, 9)
  })

  it('glides as long as fixes are apart, within bounds', () => {
    expect(glideSpan(1_000)).toBeCloseTo(1_100)
    expect(glideSpan(15_000)).toBe(2_500)
    expect(glideSpan(1)).toBe(300)
  })
})

describe('bubbles', () => {
  const scale = WORLD_PX * 2 ** 12
  const many = (n: number, lon: number): CellState['riders'] => Object.fromEntries(Array.from({ length: n }, (_, i) => [`${lon}-${i}`, rider(31.2 + i * 1e-5, lon)]))
  const fleetOf = (riders: CellState['riders']): Fleet => {
    const fleet = new Fleet()
    fleet.apply(cell(riders), undefined, 0)
    return fleet
  }

  it('gather who stands close, and leave alone who doesn’t', () => {
    const fleet = fleetOf({ ...many(5, 121.4), ...many(1, 121.6) })
    const { of, bubbles } = cluster(fleet, scale, 12)
    expect(bubbles.map(({ count }) => count)).toEqual([5])
    expect(of[fleet.slotOf('121.6-0')!]).toBe(-1)
    expect(of[fleet.slotOf('121.4-3')!]).toBe(0)
  })

  it('count by state, lose nobody and count nobody twice', () => {
    const fleet = fleetOf(Object.fromEntries(Array.from({ length: 2_000 }, (_, n) => [`r${n}`, rider(31.1 + ((n * 37) % 100) / 500, 121.3 + ((n * 61) % 100) / 400)])))
    fleet.mark({ orders: new Map(), riders: new Map([['r7', ALERT]]) })
    const { of, bubbles } = cluster(fleet, scale, 12)
    const alone = [...of].filter((at) => at < 0).length
    expect(bubbles.reduce((sum, { count }) => sum + count, 0) + alone).toBe(2_000)
    for (const [at, { count, states }] of bubbles.entries()) {
      expect(states.reduce((a, b) => a + b)).toBe(count)
      expect([...of].filter((one) => one === at).length).toBe(count)
    }
    const alerted = of[fleet.slotOf('r7')!]!
    if (alerted >= 0) expect(bubbles[alerted]!.states[ALERT]).toBe(1)
  })

  it('stay where they are when the map is moved', () => {
    const fleet = fleetOf({ ...many(9, 121.4), ...many(7, 121.5) })
    expect(cluster(fleet, scale, 12).bubbles).toEqual(cluster(fleet, scale, 12).bubbles)
  })

  it('that would touch are one', () => {
    // Two heaps on either side of a line of the grid, 20 pixels apart.
    const line = (Math.ceil((mercatorX(121.4) * scale) / 72) * 72) / scale
    const fleet = fleetOf({ ...many(5, lonOf(line - 10 / scale)), ...many(4, lonOf(line + 10 / scale)) })
    const { bubbles } = cluster(fleet, scale, 12)
    expect(bubbles.map(({ count }) => count)).toEqual([9])
  })

  it('aren’t made where streets are wide, nor around who is chosen', () => {
    const fleet = fleetOf(many(5, 121.4))
    expect(cluster(fleet, WORLD_PX * 2 ** SINGLES_ZOOM, SINGLES_ZOOM).bubbles).toEqual([])
    const chosen = fleet.slotOf('121.4-0')!
    const { of, bubbles } = cluster(fleet, scale, 12, chosen)
    expect(of[chosen]).toBe(-1)
    expect(bubbles[0]!.count).toBe(4)
  })

  it('go where their members go', () => {
    const fleet = fleetOf(many(3, 121.4))
    const found = cluster(fleet, scale, 12)
    for (let i = 0; i < 3; i++) fleet.x[i]! += 0.001
    const before = found.bubbles[0]!.x
    centre(found, fleet)
    expect(found.bubbles[0]!.x).toBeCloseTo(before + 0.001, 9)
  })
})

describe('a map without a map', () => {
  it('shows all that there is', () => {
    const fleet = new Fleet()
    fleet.apply(cell({ a: rider(31, 121), b: rider(31.2, 121.5) }), undefined, 0)
    const { view } = plainView(fleet, 800, 600)
    for (const id of ['a', 'b']) {
      const slot = fleet.slotOf(id)!
      const [px, py] = [fleet.x[slot]! * view.scale - view.left, fleet.y[slot]! * view.scale - view.top]
      expect(px > 0 && px < 800 && py > 0 && py < 600).toBe(true)
    }
  })
})

describe('how fine a moving map is', () => {
  const move = (gauge: Gauge, from: number, every: number, frames: number): boolean => {
    let coarse = false
    gauge.begin()
    for (let n = 0; n < frames; n++) coarse = gauge.frame(from + n * every)
    return coarse
  }

  it('is sharp where frames are quick', () => expect(move(new Gauge(), 0, 16, 60)).toBe(false))

  it('is coarse after some slow frames, and from the first frame of the next move on', () => {
    const gauge = new Gauge()
    expect(move(gauge, 0, 50, 5)).toBe(false)
    expect(move(gauge, 1_000, 50, 8)).toBe(true)
    expect(move(gauge, 2_000, 16, 1)).toBe(true)
    expect(move(gauge, 700_000, 16, 20)).toBe(false)
  })
})
