/**
 * Why something couldn't be delivered, as it is sent: a name that each page says in its reader's language, with the rider's own words
 * after it, or these alone. Pure.
 */

/** What the form offers; `other` is said in the rider's own words. */
export const REASONS = ['nobody', 'no_answer', 'wrong_address', 'refused', 'damaged', 'other'] as const
export type Reason = (typeof REASONS)[number]

/** `nobody`, `nobody: the bell is broken`, or `the bridge is closed`. */
export function reasonSent(reason: Reason, text: string): string {
  return [reason === 'other' ? '' : reason, text.trim()].filter(Boolean).join(': ')
}

/** As it was sent: its name, where it has one, and the rider's words. */
export function reasonRead(sent: string): { name?: Reason; text: string } {
  const [head = '', ...rest] = sent.split(': ')
  const name = REASONS.find((reason) => reason !== 'other' && reason === head)
  return name === undefined ? { text: sent } : { name, text: rest.join(': ') }
}
