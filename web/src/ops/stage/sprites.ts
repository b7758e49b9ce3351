/** What the overlay draws again and again, drawn once: arrows by state and direction, bubbles by what is in them. */

import type { Bubble } from './cluster.js'

export interface Palette {
  /** Of riders by state: free, carrying, late, alert. */
  riders: readonly [string, string, string, string]
  /** Of orders by status 1 to 3. */
  orders: readonly [string, string, string]
  halo: string
  ink: string
  surface: string
  accent: string
}

/** Degrees between two drawn directions. */
const TURN = 10
/** So many bubbles are kept; then it begins anew. */
const BUBBLES = 600

export interface Sprite {
  canvas: HTMLCanvasElement
  /** CSS pixels from the middle to an edge. */
  half: number
}

export class Sprites {
  #riders = new Map<number, Sprite>()
  #bubbles = new Map<string, Sprite>()

  constructor(
    readonly palette: Palette,
    readonly ratio: number,
    readonly font: string,
  ) {}

  /** A rider; `heading` in degrees, negative for none. */
  rider(state: number, heading: number): Sprite {
    const turn = heading < 0 ? -1 : Math.round(heading / TURN) % (360 / TURN)
    const key = state * 64 + turn + 1
    let sprite = this.#riders.get(key)
    if (!sprite) {
      this.#riders.set(key, (sprite = this.#draw(11, (pen) => this.#arrow(pen, state, turn))))
    }
    return sprite
  }

  /** A bubble: how many, and by the ring how many of them need a look. */
  bubble({ count, states }: Bubble): Sprite {
    const shares = states.map((n) => Math.ceil((n / count) * 16))
    const key = `${count}:${shares.join()}`
    let sprite = this.#bubbles.get(key)
    if (!sprite) {
      if (this.#bubbles.size >= BUBBLES) this.#bubbles.clear()
      const radius = bubbleRadius(count)
      this.#bubbles.set(key, (sprite = this.#draw(radius + 2, (pen) => this.#ring(pen, radius, count, states))))
    }
    return sprite
  }

  #draw(half: number, draw: (pen: CanvasRenderingContext2D) => void): Sprite {
    const canvas = document.createElement('canvas')
    canvas.width = canvas.height = Math.ceil(half * 2 * this.ratio)
    const pen = canvas.getContext('2d')
    if (pen) {
      pen.scale(this.ratio, this.ratio)
      pen.translate(half, half)
      draw(pen)
    }
    return { canvas, half }
  }

  #arrow(pen: CanvasRenderingContext2D, state: number, turn: number): void {
    const size = state >= 2 ? 8.5 : 7
    pen.beginPath()
    if (turn < 0) {
      pen.arc(0, 0, size * 0.7, 0, Math.PI * 2)
    } else {
      pen.rotate((turn * TURN * Math.PI) / 180)
      pen.moveTo(0, -size)
      pen.lineTo(size * 0.72, size * 0.8)
      pen.lineTo(0, size * 0.45)
      pen.lineTo(-size * 0.72, size * 0.8)
      pen.closePath()
    }
    pen.lineJoin = 'round'
    pen.strokeStyle = this.palette.halo
    pen.lineWidth = 3
    pen.stroke()
    pen.fillStyle = this.palette.riders[state]!
    pen.fill()
  }

  #ring(pen: CanvasRenderingContext2D, radius: number, count: number, states: readonly number[]): void {
    const { palette } = this
    pen.beginPath()
    pen.arc(0, 0, radius, 0, Math.PI * 2)
    pen.fillStyle = palette.surface
    pen.fill()
    let from = -Math.PI / 2
    pen.lineWidth = 4
    // The urgent first, from the top.
    for (let state = states.length - 1; state >= 0; state--) {
      const to = from + (states[state]! / count) * Math.PI * 2
      if (to === from) continue
      pen.beginPath()
      pen.arc(0, 0, radius - 2, from, to)
      pen.strokeStyle = palette.riders[state]!
      pen.stroke()
      from = to
    }
    pen.fillStyle = palette.ink
    pen.font = `600 ${count >= 1000 ? 11 : 12}px ${this.font}`
    pen.textAlign = 'center'
    pen.textBaseline = 'middle'
    pen.fillText(count >= 10_000 ? `${Math.round(count / 1000)}k` : String(count), 0, 1)
  }
}

/** CSS pixels. */
export const bubbleRadius = (count: number): number => Math.min(13 + Math.log2(count) * 1.6, 30)

/** The page's colours as they are now. */
export function paletteOf(style: CSSStyleDeclaration): Palette {
  const colour = (name: string): string => style.getPropertyValue(name).trim()
  return {
    riders: [colour('--rider-free'), colour('--rider-carrying'), colour('--rider-late'), colour('--rider-alert')],
    orders: [colour('--order-1'), colour('--order-2'), colour('--order-3')],
    halo: colour('--surface'),
    ink: colour('--ink'),
    surface: colour('--surface'),
    accent: colour('--accent'),
  }
}
