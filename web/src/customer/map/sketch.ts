/** The order without a map: route, warehouse, door and rider on a bare plane, to scale and north up. For devices without WebGL. */

import type { Place } from '@trunkline/client'
import type { Drawn } from '@/map/motion.js'
import { Plane } from '@/map/route.js'
import type { Spot } from '@/map/route.js'
import type { Tracked } from '../order.js'
import { mark, rename, turn } from './marks.js'
import type { Kind } from './marks.js'
import { Rider } from './scene.js'
import type { Scene, SceneOptions } from './scene.js'

const EDGE_PX = 56
/** No closer than so many metres across. */
const CLOSEST_M = 400

export function drawSketch({ container, texts }: SceneOptions): Scene {
  const canvas = document.createElement('canvas')
  canvas.style.cssText = 'position:absolute;inset:0;width:100%;height:100%'
  canvas.setAttribute('aria-hidden', 'true')
  container.append(canvas)
  const marks = { rider: mark('rider', texts.rider), door: mark('door', texts.door), warehouse: mark('warehouse', texts.warehouse) }
  let order: Tracked | undefined
  let drawn: Drawn | undefined
  let plane: Plane | undefined
  let onScreen: (place: Place) => Spot = () => ({ x: 0, y: 0 })

  const put = (kind: Kind, place: Place | undefined): void => {
    if (!place) return marks[kind].remove()
    const { x, y } = onScreen(place)
    marks[kind].style.cssText = `position:absolute;left:0;top:0;transform:translate(${(x - 18).toFixed(1)}px,${(y - 18).toFixed(1)}px)`
    if (!marks[kind].isConnected) container.append(marks[kind])
  }
  const rider = new Rider((at) => {
    drawn = at
    put('rider', at)
    turn(marks.rider, at)
  })

  /** Scales to what there is, and draws what stands still. */
  const draw = (): void => {
    if (!order) return
    const places = [order.warehouse, order.destination, order.position, ...rider.route].filter((place) => place !== undefined)
    const { clientWidth: w, clientHeight: h } = container
    const context = canvas.getContext('2d')
    if (!context || places.length === 0) return
    plane ??= new Plane(places[0]!)
    const on = plane
    const spots = places.map((place) => on.spot(place))
    const [xs, ys] = [spots.map(({ x }) => x), spots.map(({ y }) => y)]
    const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
    const scale = Math.min((w - 2 * EDGE_PX) / Math.max(right - left, CLOSEST_M), (h - 2 * EDGE_PX) / Math.max(top - bottom, CLOSEST_M))
    onScreen = (place) => {
      const { x, y } = on.spot(place)
      return { x: w / 2 + (x - (left + right) / 2) * scale, y: h / 2 - (y - (bottom + top) / 2) * scale }
    }
    const ratio = devicePixelRatio
    canvas.width = w * ratio
    canvas.height = h * ratio
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    const style = getComputedStyle(document.documentElement)
    const colour = (name: string): string => style.getPropertyValue(name)
    context.strokeStyle = colour('--line')
    context.lineWidth = 1
    context.beginPath()
    for (let x = (w / 2) % 48; x < w; x += 48) context.rect(x, -1, 0, h + 2)
    for (let y = (h / 2) % 48; y < h; y += 48) context.rect(-1, y, w + 2, 0)
    context.stroke()
    const way = rider.route.length > 1 ? rider.route : order.warehouse && order.destination ? [order.warehouse, order.destination] : []
    context.strokeStyle = colour('--route')
    context.lineWidth = 4
    context.lineCap = context.lineJoin = 'round'
    // The straight line is no way that anybody rides.
    context.setLineDash(rider.route.length > 1 ? [] : [2, 8])
    context.beginPath()
    way.forEach((place, i) => {
      const { x, y } = onScreen(place)
      if (i === 0) context.moveTo(x, y)
      else context.lineTo(x, y)
    })
    context.stroke()
    put('warehouse', order.warehouse)
    put('door', order.destination)
    if (drawn) put('rider', drawn)
  }
  const resized = new ResizeObserver(draw)
  resized.observe(container)

  return {
    show(next, at_ms) {
      order = next
      if (!rider.take(next, at_ms)) {
        drawn = undefined
        marks.rider.remove()
      }
      draw()
    },
    setDark: () => requestAnimationFrame(draw),
    setLocale(_locale, texts) {
      for (const kind of ['rider', 'door', 'warehouse'] as const) rename(marks[kind], texts[kind])
    },
    recentre: draw,
    destroy() {
      resized.disconnect()
      rider.destroy()
      canvas.remove()
      for (const element of Object.values(marks)) element.remove()
    },
  }
}
