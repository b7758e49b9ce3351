/** What the page's address says: `/t/{share link's token}` or `/t/{order}`. Pure. */

import { claimsOf } from '@/shared/session.js'

export interface Asked {
  /** Absent where a share link's token doesn't name one. */
  order: string | undefined
  /** Of a share link. */
  token: string | undefined
}

/** A token has two dots, an order's id none. */
export function asked(path: string): Asked {
  const last = decode(path.replace(/^\/t\//, '').replace(/\/$/, ''))
  if (last.split('.').length !== 3) return { order: last === '' || last.includes('/') ? undefined : last, token: undefined }
  return { order: claimsOf(last)?.order, token: last }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
