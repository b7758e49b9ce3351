/** One box for everything: what a text may mean, and what is found by it. */

/** What to look for. */
export interface Wanted {
  /** Part of an id, in lower case. */
  part: string
  /** A whole id that the server may know, though it isn't on the map. */
  id: string | undefined
  /** The end of a phone number. */
  tail: string | undefined
}

/** An id as the server takes it. */
const ID = /^[A-Za-z0-9_-]{1,64}$/
const TAIL = /^\d{3,8}$/

export function wanted(text: string): Wanted | undefined {
  const said = text.trim()
  if (said === '') return undefined
  // Phone numbers are written in groups.
  const digits = said.replace(/[\s-]/g, '')
  return { part: said.toLowerCase(), id: ID.test(said) ? said : undefined, tail: TAIL.test(digits) ? digits : undefined }
}

/** Ids that hold the part; those that begin or end with it first. At most `most`. */
export function matching(ids: Iterable<string>, part: string, most: number): string[] {
  const [ends, within]: [string[], string[]] = [[], []]
  for (const id of ids) {
    const lower = id.toLowerCase()
    if (lower.startsWith(part) || lower.endsWith(part)) ends.push(id)
    else if (lower.includes(part)) within.push(id)
  }
  return [...ends.sort(byLength), ...within.sort(byLength)].slice(0, most)
}

const byLength = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : 1)
