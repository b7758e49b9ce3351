/** Whether a map can be drawn here: small, so that a page asks before it loads the map. */

let known: boolean | undefined

/** `false` without WebGL 2: the page then says in words what the map would show, and sketches it. `?map=off` says so too. */
export function canDraw(): boolean {
  if (new URLSearchParams(location.search).get('map') === 'off') return false
  known ??= ((): boolean => {
    try {
      const context = document.createElement('canvas').getContext('webgl2')
      context?.getExtension('WEBGL_lose_context')?.loseContext()
      return context !== null
    } catch {
      return false
    }
  })()
  return known
}
