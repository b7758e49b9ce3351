/** Times, spans and distances as people read them. All times are milliseconds since 1970. */

/** `14:05`; with the day where that isn't today. */
export function clock(ms: number, locale: string, now: number = Date.now()): string {
  const sameDay = new Date(ms).toDateString() === new Date(now).toDateString()
  const day: Intl.DateTimeFormatOptions = sameDay ? {} : { month: 'numeric', day: 'numeric' }
  return new Intl.DateTimeFormat(locale, { ...day, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(ms)
}

/** `14:05–14:20`. */
export function range(from: number, to: number, locale: string): string {
  const [a, b] = [clock(from, locale), clock(to, locale)]
  return a === b ? a : `${a}–${b}`
}

/** `38 s`, `4 min`, `2 h 5 min`, in the language's own words. */
export function span(ms: number, locale: string): string {
  const s = Math.max(Math.round(ms / 1000), 0)
  const part = (n: number, unit: 'second' | 'minute' | 'hour' | 'day'): string =>
    new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'short' }).format(n)
  if (s < 60) return part(s, 'second')
  const min = Math.round(s / 60)
  if (min < 60) return part(min, 'minute')
  if (min < 48 * 60) return [part(Math.floor(min / 60), 'hour'), ...(min % 60 ? [part(min % 60, 'minute')] : [])].join(' ')
  return part(Math.round(min / 1440), 'day')
}

/** `850 m`, `2.4 km`. */
export function distance(m: number, locale: string): string {
  const [n, unit, digits] = m < 950 ? [Math.round(m / 10) * 10, 'meter', 0] : [m / 1000, 'kilometer', m < 9_950 ? 1 : 0]
  return new Intl.NumberFormat(locale, { style: 'unit', unit: unit as string, unitDisplay: 'short', maximumFractionDigits: digits as number }).format(n as number)
}

/** An amount in the currency's minor units. */
export function money(minor: number, currency: string, locale: string): string {
  const format = new Intl.NumberFormat(locale, { style: 'currency', currency })
  return format.format(minor / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2))
}
