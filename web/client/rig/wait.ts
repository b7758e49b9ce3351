/** Waiting: for a time, and for a state. */

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** Waits for a state, for at most so long; fails with what was waited for. */
export async function until<T>(what: string, ms: number, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found) return found as NonNullable<T>
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`)
    await sleep(20)
  }
}
