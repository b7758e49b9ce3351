/** The screens and their states that are looked at: by scripts/screens, which takes their pictures, and by axe-core. */

import type { BrowserContextOptions } from 'playwright-core'
import { Customer } from '../pages/customer.js'
import { Ops } from '../pages/ops.js'
import { Rider } from '../pages/rider.js'
import type { Guest } from '../rig/scene.js'
import type { City } from './city.js'

export interface Exhibit {
  name: string
  /** What is to be seen. */
  title: string
  /** Taken in both languages, light and dark, on phone and desk; others in one of each. */
  main?: boolean
  /** Of the browser. */
  context?: BrowserContextOptions
  /** Opens it, and waits until it shows what it is for. */
  open: (city: City, guest: Guest) => Promise<void>
}

const customer = (sub = 'u-chen') => async (city: City, guest: Guest, order: string): Promise<Customer> => {
  const page = await Customer.open(guest, order, city.scene.rig.token('customer', sub))
  await page.shows('a status', async () => (await page.status()) !== '')
  // What has ended is shown without a connection.
  if (!['4', '5'].includes((await page.attribute('status', 'data-status')) ?? '')) await page.isLive()
  return page
}
const own = customer()

/** So that a page finds no WebGL. */
function withoutWebGl(): void {
  const before = HTMLCanvasElement.prototype.getContext
  HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, ...more: unknown[]) {
    return /webgl/.test(kind) ? null : (before as (kind: string, ...more: unknown[]) => RenderingContext | null).call(this, kind, ...more)
  } as typeof before
}

async function rider(city: City, guest: Guest): Promise<Rider> {
  const page = await Rider.open(guest, city.scene.rig.token('rider', city.rider), city.spot)
  await page.isLive()
  await page.shows('stops', async () => (await page.stops()).length >= 3)
  return page
}

async function ops(city: City, guest: Guest): Promise<Ops> {
  const page = await Ops.open(guest, city.scene.rig.token('operations', 'alice'))
  await page.isLive()
  await page.isDrawn()
  return page
}

export const EXHIBITS: readonly Exhibit[] = [
  {
    name: 'customer-delivering', title: 'Customer: on its way, with the rider on the map', main: true,
    open: async (city, guest) => {
      const page = await own(city, guest, city.orders.delivering)
      await page.shows('the rider on the map', async () => (await page.marker()) !== undefined)
      await page.isDrawn()
    },
  },
  { name: 'customer-unpaid', title: 'Customer: awaiting payment', open: async (city, guest) => void (await own(city, guest, city.orders.unpaid)) },
  { name: 'customer-preparing', title: 'Customer: being picked', open: async (city, guest) => await (await own(city, guest, city.orders.preparing)).isDrawn() },
  { name: 'customer-delivered', title: 'Customer: delivered', open: async (city, guest) => void (await own(city, guest, city.orders.delivered)) },
  { name: 'customer-cancelled', title: 'Customer: cancelled', open: async (city, guest) => void (await own(city, guest, city.orders.cancelled)) },
  {
    name: 'customer-shared', title: 'Customer: by a share link',
    open: async (city, guest) => {
      const { token } = await city.scene.share(city.orders.delivering)
      const page = await Customer.open(guest, token)
      await page.isLive()
      await page.shows('the rider on the map', async () => (await page.marker()) !== undefined)
      await page.isDrawn()
    },
  },
  {
    name: 'customer-no-webgl', title: 'Customer: a browser without WebGL',
    open: async (city, guest) => {
      await guest.page.addInitScript(withoutWebGl)
      await own(city, guest, city.orders.delivering)
    },
  },
  {
    name: 'customer-no-network', title: 'Customer: the network is lost',
    open: async (city, guest) => {
      const page = await own(city, guest, city.orders.delivering)
      await page.isDrawn()
      guest.cable.cut()
      await page.shows('a lost connection', async () => ['reconnecting', 'old'].includes(await page.connection()))
    },
  },
  {
    name: 'customer-revoked', title: 'Customer: the link was revoked',
    open: async (city, guest) => {
      const { share, token } = await city.scene.share(city.orders.delivering)
      await city.scene.rig.ask('DELETE', `/v1/orders/${city.orders.delivering}/shares/${share}`)
      await guest.open(`/t/${token}`)
      const page = new Customer(guest)
      await page.shows('a revoked link', async () => (await page.gone()) !== '')
    },
  },
  {
    name: 'customer-sign-in', title: 'Customer: to be signed in to',
    open: async (city, guest) => {
      await guest.open(`/t/${city.orders.delivering}`)
      const page = new Customer(guest)
      await page.shows('sign-in', async () => (await page.signedOut()) !== '')
    },
  },
  { name: 'rider-stops', title: 'Rider: today’s stops', main: true, open: async (city, guest) => void (await rider(city, guest)) },
  {
    name: 'rider-no-network', title: 'Rider: the network is lost, fixes wait',
    open: async (city, guest) => {
      const page = await rider(city, guest)
      guest.cable.cut()
      await page.shows('fixes that wait', async () => {
        await guest.context.setGeolocation({ latitude: city.spot.lat, longitude: city.spot.lon, accuracy: 8 })
        return (await page.waiting()) > 0
      }, 60_000)
    },
  },
  {
    name: 'rider-sign-in', title: 'Rider: to be signed in to',
    open: async (_, guest) => {
      await guest.open('/rider')
      const page = new Rider(guest)
      await page.shows('sign-in', async () => (await page.signedOut()) !== '')
    },
  },
  { name: 'ops-console', title: 'Operations: the console', main: true, open: async (city, guest) => void (await ops(city, guest)) },
  {
    name: 'ops-alert', title: 'Operations: an alert with its evidence', main: true,
    open: async (city, guest) => {
      const page = await ops(city, guest)
      await page.openAlert(city.orders.astray)
      await page.isDrawn()
    },
  },
  {
    name: 'ops-order', title: 'Operations: an order', main: true,
    open: async (city, guest) => {
      const page = await ops(city, guest)
      await page.openOrder(city.orders.delivering)
      await page.isDrawn()
    },
  },
  {
    name: 'ops-replay', title: 'Operations: a replay', main: true,
    open: async (city, guest) => {
      const page = await ops(city, guest)
      await page.openOrder(city.orders.delivering)
      await page.openReplay()
      await page.seek(0.9)
      await page.isDrawn()
    },
  },
  {
    name: 'ops-note', title: 'Operations: a note to an alert',
    open: async (city, guest) => {
      const page = await ops(city, guest)
      await page.openAlert(city.orders.astray)
      await page.openNote()
    },
  },
  { name: 'ops-search', title: 'Operations: orders found by the end of a number', open: async (city, guest) => await (await ops(city, guest)).showFound('5678', 'phones') },
  { name: 'ops-keys', title: 'Operations: what keys do', open: async (city, guest) => await (await ops(city, guest)).openKeys() },
  { name: 'ops-list', title: 'Operations: the map as a list', open: async (city, guest) => await (await ops(city, guest)).openLists() },
  {
    name: 'ops-sign-in', title: 'Operations: to be signed in to',
    open: async (_, guest) => {
      await guest.open('/ops')
      const page = new Ops(guest)
      await page.shows('sign-in', async () => (await page.signedOut()) !== '')
    },
  },
]
