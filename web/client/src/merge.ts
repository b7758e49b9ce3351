/**
 * RFC 7396. Nothing is changed in place: what a patch doesn't touch is shared with the state before it, so a page may
 * compare by identity.
 */

import type { Json } from './frames.js'

type Members = { [key: string]: Json }

const isObject = (value: Json | undefined): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export function merge(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch
  const merged: Members = isObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) {
      delete merged[key]
      continue
    }
    const to = merge(Object.hasOwn(merged, key) ? merged[key] : undefined, value)
    // An assignment to this one name would change the prototype and set no member.
    if (key === '__proto__') Object.defineProperty(merged, key, { value: to, enumerable: true, configurable: true, writable: true })
    else merged[key] = to
  }
  return merged
}
