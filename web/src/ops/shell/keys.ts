/** What a key means, by what is open. Keys that somebody types into a field are theirs. */

export type Command = 'next' | 'previous' | 'open' | 'acknowledge' | 'search' | 'help' | 'close' | 'list' | 'toggle' | 'back' | 'on' | `tab-${1 | 2 | 3}`

export interface Pressed {
  key: string
  ctrlKey: boolean
  metaKey: boolean
  altKey: boolean
  isComposing: boolean
}

/**
 * Where the key was pressed: in a field for text, on something that takes keys itself (a button, the map), in a panel that arrows and
 * space scroll (on its buttons too), or elsewhere.
 */
export type Where = 'text' | 'control' | 'map' | 'panel' | 'page'

export function whereOf(target: EventTarget | null): Where {
  if (!(target instanceof Element)) return 'page'
  if (target.closest('textarea, [contenteditable], select, input:not([type=range])')) return 'text'
  if (target.closest('.maplibregl-canvas')) return 'map'
  if (target.closest('.scroll, .right')) return 'panel'
  return target.closest('button, a, summary, input, [role=option]') ? 'control' : 'page'
}

/** `replaying`: a replay is open, and space and arrows are its. */
export function commandOf(pressed: Pressed, where: Where, replaying: boolean): Command | undefined {
  const { key, ctrlKey, metaKey, altKey, isComposing } = pressed
  if (isComposing || ctrlKey || metaKey || altKey || where === 'text') return undefined
  const arrows = where !== 'map' && where !== 'panel'
  switch (key) {
    case 'j':
      return 'next'
    case 'k':
      return 'previous'
    case 'ArrowDown':
      return arrows ? 'next' : undefined
    case 'ArrowUp':
      return arrows ? 'previous' : undefined
    case 'Enter':
      return where === 'page' ? 'open' : undefined
    case 'a':
      return 'acknowledge'
    case '/':
      return 'search'
    case '?':
      return 'help'
    case 'l':
      return 'list'
    case 'Escape':
      return 'close'
    case '1':
    case '2':
    case '3':
      return `tab-${Number(key) as 1 | 2 | 3}`
    case ' ':
      return replaying && where !== 'control' && where !== 'panel' ? 'toggle' : undefined
    case 'ArrowLeft':
      return replaying && arrows ? 'back' : undefined
    case 'ArrowRight':
      return replaying && arrows ? 'on' : undefined
    default:
      return undefined
  }
}
