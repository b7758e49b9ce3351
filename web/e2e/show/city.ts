/**
 * A city to look at: a simulation runs fast till much is under way, and ends there; then its riders go on along their routes at
 * life's pace, as long as one looks. Beside them are orders of our own in each status, made after one of the simulation's.
 */

import { readFileSync } from 'node:fs'
import { until } from '../../client/rig/wait.js'
import type { Scene } from '../rig/scene.js'
import { Way, beside } from '../rig/way.js'
import type { Spot } from '../rig/way.js'

export interface CityOptions {
  /** Of a simulation: where its streets are, as `--streets FILE` or `--osm FILE`; none without them. */
  streets?: readonly string[]
  seed?: number
  /** Without a simulation: nobody else is there. */
  alone?: boolean
}

const ROUTE_MIN_M = 900
/** The simulation ends when so many orders are on their way, and so many have arrived. */
const UNDER_WAY = 14
const ARRIVED = 10
const RIDES_MPS = 5

interface Template {
  warehouse: Spot & { id: string; name?: string }
  way: Way
}

/** A rider of ours under way. */
interface Ride {
  rider: string
  way: Way
  m: number
  mps: number
}

export class City {
  readonly orders = {
    unpaid: 'TL-20411', preparing: 'TL-20412', delivering: 'TL-20413', first: 'TL-20414', later: 'TL-20415',
    delivered: 'TL-20416', cancelled: 'TL-20417', astray: 'TL-20418',
  }
  readonly rider = 'r-lin'
  #rides: Ride[] = []
  #timer: ReturnType<typeof setInterval> | undefined
  #told = 0

  private constructor(
    readonly scene: Scene,
    readonly template: Template,
  ) {}

  static async start(scene: Scene, options: CityOptions = {}): Promise<City> {
    await scene.rules({ off_route: { raise_after_ms: 3_000 }, stalled: { after_ms: 3_600_000 } })
    const others = options.alone ? [] : await simulated(scene, options)
    const model = others.find(({ way }) => way.length_m >= ROUTE_MIN_M)
    const city = new City(scene, model ? { warehouse: model.warehouse, way: model.way } : madeUp())
    await city.#populate()
    city.#rides.push(...others)
    city.#timer = setInterval(() => void city.#ride().catch(() => undefined), 1_000)
    await until('the city is at work', 60_000, () => city.#told >= 10)
    return city
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Where our rider is. */
  get spot(): Spot {
    const ride = this.#rides.find(({ rider }) => rider === this.rider)
    return ride ? ride.way.at(ride.m) : this.template.warehouse
  }

  async #create(id: string, more: object = {}): Promise<void> {
    const { warehouse, way } = this.template
    const now = await this.scene.cellTime()
    await this.scene.rig.ask('POST', '/v1/orders', {
      id, user_id: 'u-chen', amount_minor: 8_850, currency: 'CNY', items: 6, warehouse, destination: way.at(Infinity), route: way.geoJson,
      promise: { from_ms: now + 15 * 60_000, to_ms: now + 45 * 60_000 }, contact: { name: '陈静', phone: '13812345678' },
      address: '幸福路 18 弄 3 号 602 室', notes: '请放在门口', ...more,
    })
  }

  async #populate(): Promise<void> {
    const { rig } = this.scene
    const { orders, rider, template: { warehouse, way } } = this
    const part = (share: number): { destination: Spot; route: object } => {
      const shorter = way.until(way.length_m * share)
      return { destination: shorter.at(Infinity), route: shorter.geoJson }
    }
    const stage = (id: string, stage: string): Promise<unknown> => rig.ask('POST', `/v1/warehouses/${warehouse.id}/orders/${id}/stages/${stage}`, {})
    await this.#create(orders.unpaid)
    await this.#create(orders.preparing)
    await this.#create(orders.first, { ...part(0.75), user_id: 'u-wu', contact: { name: '吴磊', phone: '13900005678' }, address: '建国路 240 号' })
    await this.#create(orders.delivering)
    await this.#create(orders.later, { user_id: 'u-zhao', contact: { name: '赵敏', phone: '13700009876' }, address: '长乐路 9 号' })
    await this.#create(orders.delivered)
    await this.#create(orders.cancelled)
    await this.#create(orders.astray, { user_id: 'u-sun', promise: { from_ms: (await this.scene.cellTime()) - 60_000, to_ms: (await this.scene.cellTime()) + 30_000 } })
    for (const id of Object.values(orders)) if (id !== orders.unpaid) await rig.pay(id)
    await rig.ask('POST', `/v1/orders/${orders.cancelled}/cancel`, { reason: '顾客改变主意' })
    for (const id of [orders.preparing, orders.later]) for (const one of ['received', 'picking']) await stage(id, one)
    for (const id of [orders.first, orders.delivering, orders.delivered, orders.astray]) for (const one of ['received', 'picking', 'picked', 'packed']) await stage(id, one)
    for (const one of [rider, 'r-gao', 'r-xu']) await rig.ask('POST', `/v1/riders/${one}/shift`, { on: true })
    this.#rides = [
      { rider, way, m: way.length_m * 0.2, mps: way.length_m / 1_000 },
      { rider: 'r-xu', way, m: way.length_m * 0.97, mps: 0 },
      { rider: 'r-gao', way: astray(way), m: 320, mps: 0.2 },
    ]
    for (const id of [orders.first, orders.delivering, orders.later]) await rig.ask('POST', `/v1/orders/${id}/assign`, { rider })
    await rig.ask('POST', `/v1/orders/${orders.delivered}/assign`, { rider: 'r-xu' })
    await rig.ask('POST', `/v1/orders/${orders.astray}/assign`, { rider: 'r-gao' })
    for (const id of [orders.first, orders.delivering, orders.delivered, orders.astray]) await stage(id, 'handed_over')
    await this.#ride()
    await rig.ask('POST', `/v1/orders/${orders.delivered}/deliver`, { proof: { code: '4711' } })
  }

  /** Each rider a second further, by the cell's clock. */
  async #ride(): Promise<void> {
    const fix_time_ms = (await this.scene.cellTime()) - 200
    for (const ride of this.#rides) {
      ride.m = Math.min(ride.m + ride.mps, ride.way.length_m)
      await this.scene.rig.ask('POST', `/v1/riders/${ride.rider}/fix`, { ...ride.way.at(ride.m), fix_time_ms, accuracy_m: 8 })
    }
    this.#told += 1
  }
}

/** Leaves the way after its first 150 m, for good. */
function astray(way: Way): Way {
  const from = way.at(100)
  return new Way([way.at(0), from, beside(from, 230, 260)])
}

function madeUp(): Template {
  const at = { lat: 31.248, lon: 121.48 }
  return { warehouse: { id: 'w-1', name: '黄浦前置仓', ...at }, way: new Way([at, beside(at, 700, 0), beside(at, 700, 600)]) }
}

interface State {
  id: string
  rider?: { id: string }
  warehouse: Template['warehouse']
  position?: Spot
  route?: { coordinates: [number, number][] }
  stops_ahead?: number
}

/** Lets the simulation run till much is under way and stops the clock's haste there; who rides where. */
async function simulated(scene: Scene, { streets = [], seed = 7 }: CityOptions): Promise<(Ride & { warehouse: Template['warehouse'] })[]> {
  const simulation = await scene.simulate('--scale', '60', '--orders', '70', '--riders', '24', '--prefix', 'SH-', '--seed', String(seed), ...streets)
  const having = async (status: number): Promise<State[]> => {
    const { orders } = (await scene.rig.ask('GET', `/v1/orders?status=${status}&limit=100`)) as { orders: { state: State }[] }
    return orders.map(({ state }) => state)
  }
  await until('a city at work', 240_000, async () => {
    if (simulation.ended) throw new Error(`the simulation ended: ${readFileSync(simulation.log, 'utf8').slice(-1_000)}`)
    return (await having(3)).length >= UNDER_WAY && (await having(4)).length >= ARRIVED
  })
  // Its own end would send the riders home.
  simulation.process.kill('SIGKILL')
  await simulation.end()
  const nats = await scene.nats()
  nats.publish('control.default.clock', { scale: 1 })
  await nats.flush()
  const rides: (Ride & { warehouse: Template['warehouse'] })[] = []
  for (const { id } of await having(3)) {
    const { state } = (await scene.rig.order(id)) as { state: State }
    const spots = state.route?.coordinates.map(([lon, lat]) => ({ lat, lon }))
    if (!spots?.[1] || !state.position || !state.rider || state.stops_ahead !== 0) continue
    const way = new Way(spots as [Spot, Spot, ...Spot[]])
    rides.push({ rider: state.rider.id, way, m: way.nearest_m(state.position), mps: RIDES_MPS, warehouse: state.warehouse })
  }
  return rides
}
