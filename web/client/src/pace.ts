/** How soon to try again, and when a token is renewed: bounds and jitter. Pure. */

/** Full jitter: anything from 0 to the bound, which doubles up to 30 s. */
export const BACKOFF_MS = 500
const BACKOFF_MAX_MS = 30_000
/** A token is renewed so long before it expires, or in the last fifth of a short life. */
const RENEW_MS = 60_000
/** Who asks for longer is misread. */
const DELAY_MAX_MS = 600_000
/** When a WebSocket is tried beside the fallback; twice as long after each that comes to nothing. */
export const PROBE_MS = 15_000
export const PROBE_MAX_MS = 300_000
/** Those whom the server sends away all at once spread over so much. */
const SPREAD_MS = 5_000

export function backoff(attempt: number, random: number): number {
  return random * Math.min(BACKOFF_MS * 2 ** Math.min(attempt, 16), BACKOFF_MAX_MS)
}

/** A delay that the server asks for. */
export function bounded(ms: number): number {
  return Math.min(Math.max(ms, 0), DELAY_MAX_MS)
}

/** The same and a little more, so that not all come at once. */
export function spread(ms: number, random: number): number {
  return bounded(ms) + random * Math.min(bounded(ms) / 4, SPREAD_MS)
}

/** For who is sent away without a time. */
export function someTime(random: number): number {
  return BACKOFF_MS + random * SPREAD_MS
}

/** When to renew a token; never where it is over already by this clock: the server's counts, and says so. */
export function renewal(expiresAt: number, now: number): number | undefined {
  const left = expiresAt - now
  return left > 0 ? now + Math.max(left - Math.min(RENEW_MS, left / 5), 1_000) : undefined
}
