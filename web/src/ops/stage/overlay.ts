/**
 * Riders and orders above the base map, on two canvases of their own: the map beneath isn't painted again because a rider moved.
 * Orders change seldom and are drawn when they or the view do; riders at each frame in which one moves. With nothing to show
 * anew a frame costs a comparison.
 */

import { centre, cluster, SINGLES_ZOOM } from './cluster.js'
import type { Clusters } from './cluster.js'
import { ALERT, FREE } from './fleet.js'
import type { Fleet, OrderMark } from './fleet.js'
import type { View } from './mercator.js'
import { bubbleRadius, Sprites } from './sprites.js'
import type { Palette } from './sprites.js'

/** What was hit. */
export type Hit = { is: 'rider'; id: string } | { is: 'order'; id: string } | { is: 'bubble'; x: number; y: number; count: number }

/** How often it is decided who stands with whom. */
const CLUSTER_MS = 500
/** From this zoom on orders are squares; below they are dots. */
const SQUARES_ZOOM = 12.5
/** A finger's reach. */
const REACH_PX = 14
/** Frames between which figures for tests and benchmarks are noted. */
const NOTE_MS = 1_000

export class Overlay {
  /** How many frames were painted, and how many riders the last one showed, alone or in bubbles. */
  frames = 0
  shown = 0
  /** For the time of a move on a slow machine: half the pixels each way, and all on one canvas. */
  coarse = false
  #orders: HTMLCanvasElement
  #riders: HTMLCanvasElement
  #sprites: Sprites
  #frame: number | undefined
  #clusters: Clusters = { of: new Int32Array(), bubbles: [] }
  #clusteredAt = -Infinity
  #clusteredFor = ''
  #drawnOrders = ''
  #drawnRiders = ''
  #notedAt = 0
  #rider: string | undefined
  #order: string | undefined
  #view: View
  #zoom = 0

  constructor(
    readonly host: HTMLElement,
    readonly fleet: Fleet,
    /** The map's view and zoom as they are now. */
    readonly look: () => { view: View; zoom: number },
    palette: Palette,
  ) {
    this.#orders = this.#canvas('orders')
    this.#riders = this.#canvas('riders')
    this.#sprites = new Sprites(palette, devicePixelRatio || 1, getComputedStyle(host).fontFamily)
    this.#view = look().view
  }

  start(): void {
    const run = (now: number): void => {
      this.#frame = requestAnimationFrame(run)
      this.draw(now)
    }
    this.#frame ??= requestAnimationFrame(run)
  }

  stop(): void {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame)
    this.#frame = undefined
    this.#orders.remove()
    this.#riders.remove()
  }

  recolour(palette: Palette): void {
    this.#sprites = new Sprites(palette, devicePixelRatio || 1, getComputedStyle(this.host).fontFamily)
    this.#drawnOrders = this.#drawnRiders = ''
  }

  select(rider: string | undefined, order: string | undefined): void {
    this.#rider = rider
    this.#order = order
    this.#clusteredAt = -Infinity
    this.#drawnOrders = this.#drawnRiders = ''
  }

  draw(now: number): void {
    const { view, zoom } = this.look()
    this.#view = view
    this.#zoom = zoom
    if (view.width === 0 || view.height === 0) return
    const where = `${view.scale}:${view.left}:${view.top}:${view.width}:${view.height}:${this.coarse}`
    const orders = `${where}:${this.fleet.orderChanges}`
    if (orders !== this.#drawnOrders && !this.coarse) {
      this.#drawnOrders = orders
      const pen = this.#clean(this.#orders)
      if (pen) this.#drawOrders(pen)
    }
    this.#orders.hidden = this.coarse
    const moved = this.fleet.glide(now)
    const riders = `${where}:${this.fleet.moves}:${this.fleet.members}`
    if (!moved && riders === this.#drawnRiders) return
    this.#drawnRiders = riders
    this.#cluster(now, zoom)
    this.#drawRiders()
    this.frames += 1
    if (now - this.#notedAt >= NOTE_MS) {
      this.#notedAt = now
      this.#riders.dataset['frames'] = String(this.frames)
      this.#riders.dataset['shown'] = String(this.shown)
      this.#riders.dataset['riders'] = String(this.fleet.count)
      this.#riders.dataset['orders'] = String(this.fleet.orders.size)
    }
  }

  /** What lies at a point of the canvas: riders before orders before bubbles. One look over all costs less than keeping an index of
   * what moves sixty times a second. */
  hit(px: number, py: number): Hit | undefined {
    const { scale, left, top } = this.#view
    let least = REACH_PX
    let found: Hit | undefined
    for (let i = 0; i < this.fleet.slots; i++) {
      if (!this.fleet.alive[i] || this.#bubbleOf(i) >= 0) continue
      const away = Math.hypot(this.fleet.x[i]! * scale - left - px, this.fleet.y[i]! * scale - top - py)
      if (away < least) [found, least] = [{ is: 'rider', id: this.fleet.ids[i]! }, away]
    }
    if (found) return found
    const bubble = this.#clusters.bubbles.find(({ x, y, count }) => Math.hypot(x * scale - left - px, y * scale - top - py) <= bubbleRadius(count))
    if (bubble) return { is: 'bubble', x: bubble.x, y: bubble.y, count: bubble.count }
    for (const { id, x, y } of this.fleet.orders.values()) {
      const away = Math.hypot(x * scale - left - px, y * scale - top - py)
      if (away < least) [found, least] = [{ is: 'order', id }, away]
    }
    return found
  }

  #bubbleOf(slot: number): number {
    return this.#clusters.of[slot] ?? -1
  }

  #cluster(now: number, zoom: number): void {
    // By quarter steps: while the map zooms, bubbles don't flicker at each frame.
    const step = Math.min(Math.round(zoom * 4) / 4, SINGLES_ZOOM)
    const wanted = `${step}:${this.fleet.members}:${this.#rider}`
    if (wanted !== this.#clusteredFor || now - this.#clusteredAt >= CLUSTER_MS) {
      this.#clusteredFor = wanted
      this.#clusteredAt = now
      const keep = this.#rider === undefined ? undefined : this.fleet.slotOf(this.#rider)
      this.#clusters = cluster(this.fleet, 512 * 2 ** step, step, keep)
    } else {
      centre(this.#clusters, this.fleet)
    }
  }

  #drawRiders(): void {
    const pen = this.#clean(this.#riders)
    if (!pen) return
    if (this.coarse) this.#drawOrders(pen)
    const { scale, left, top, width, height } = this.#view
    const { fleet } = this
    const sprites = this.#sprites
    let shown = 0
    for (const bubble of this.#clusters.bubbles) {
      const [px, py] = [bubble.x * scale - left, bubble.y * scale - top]
      if (px < -32 || py < -32 || px > width + 32 || py > height + 32) continue
      const { canvas, half } = sprites.bubble(bubble)
      pen.drawImage(canvas, px - half, py - half, half * 2, half * 2)
      shown += bubble.count
    }
    for (let state = FREE; state <= ALERT; state++) {
      for (let i = 0; i < fleet.slots; i++) {
        if (fleet.state[i] !== state || !fleet.alive[i] || this.#bubbleOf(i) >= 0) continue
        const [px, py] = [fleet.x[i]! * scale - left, fleet.y[i]! * scale - top]
        if (px < -12 || py < -12 || px > width + 12 || py > height + 12) continue
        const { canvas, half } = sprites.rider(state, fleet.heading[i]!)
        pen.drawImage(canvas, px - half, py - half, half * 2, half * 2)
        shown += 1
      }
    }
    const slot = this.#rider === undefined ? undefined : fleet.slotOf(this.#rider)
    if (slot !== undefined && fleet.alive[slot]) this.#circle(pen, fleet.x[slot]! * scale - left, fleet.y[slot]! * scale - top, 14)
    this.shown = shown
  }

  #drawOrders(pen: CanvasRenderingContext2D): void {
    const half = this.#zoom >= SQUARES_ZOOM ? 4.5 : 2
    const { palette } = this.#sprites
    const late: OrderMark[] = []
    const by: OrderMark[][] = [[], [], []]
    for (const mark of this.fleet.orders.values()) (mark.trouble > 0 ? late : by[mark.status - 1])?.push(mark)
    for (const [n, marks] of by.entries()) this.#squares(pen, marks, half, palette.orders[n]!)
    this.#squares(pen, late.filter(({ trouble }) => trouble < ALERT), half, palette.riders[2])
    this.#squares(pen, late.filter(({ trouble }) => trouble >= ALERT), half, palette.riders[3])
    const chosen = this.#order === undefined ? undefined : this.fleet.orders.get(this.#order)
    if (chosen) this.#circle(pen, chosen.x * this.#view.scale - this.#view.left, chosen.y * this.#view.scale - this.#view.top, 13)
  }

  #squares(pen: CanvasRenderingContext2D, marks: readonly OrderMark[], half: number, colour: string): void {
    const { scale, left, top, width, height } = this.#view
    const seen = marks.map(({ x, y }) => [x * scale - left, y * scale - top] as const).filter(([x, y]) => x > -8 && y > -8 && x < width + 8 && y < height + 8)
    const edge = half > 3 ? 1.5 : 0
    if (edge > 0) {
      pen.fillStyle = this.#sprites.palette.halo
      for (const [x, y] of seen) pen.fillRect(x - half - edge, y - half - edge, (half + edge) * 2, (half + edge) * 2)
    }
    pen.fillStyle = colour
    for (const [x, y] of seen) pen.fillRect(x - half, y - half, half * 2, half * 2)
  }

  #circle(pen: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
    pen.beginPath()
    pen.arc(x, y, radius, 0, Math.PI * 2)
    pen.strokeStyle = this.#sprites.palette.halo
    pen.lineWidth = 5
    pen.stroke()
    pen.strokeStyle = this.#sprites.palette.accent
    pen.lineWidth = 3
    pen.stroke()
  }

  #canvas(name: string): HTMLCanvasElement {
    const canvas = document.createElement('canvas')
    canvas.className = 'overlay'
    canvas.setAttribute('aria-hidden', 'true')
    canvas.dataset['testid'] = `overlay-${name}`
    this.host.append(canvas)
    return canvas
  }

  /** The canvas, of the right size and empty. */
  #clean(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
    const pen = canvas.getContext('2d')
    const ratio = this.#sprites.ratio * (this.coarse ? 0.5 : 1)
    const [width, height] = [Math.round(this.#view.width * ratio), Math.round(this.#view.height * ratio)]
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width
      canvas.height = height
      canvas.style.width = `${this.#view.width}px`
      canvas.style.height = `${this.#view.height}px`
    }
    pen?.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen?.clearRect(0, 0, this.#view.width, this.#view.height)
    return pen
  }
}
