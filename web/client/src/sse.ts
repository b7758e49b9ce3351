/** The event-stream format of the HTML standard, as far as data goes: chunks in, the data of events out. */

export class EventStream {
  #rest = ''
  #data: string[] = []
  /** The server's `retry:`, in milliseconds. */
  retryMs: number | undefined

  /** Characters of an event that isn't whole yet. */
  get pending(): number {
    return this.#data.reduce((sum, line) => sum + line.length, this.#rest.length)
  }

  push(chunk: string): string[] {
    const events: string[] = []
    this.#rest += chunk
    for (;;) {
      const end = /\r\n|\n|\r/.exec(this.#rest)
      // A CR at the very end may be half of a CRLF.
      if (!end || (end[0] === '\r' && end.index === this.#rest.length - 1)) return events
      const line = this.#rest.slice(0, end.index)
      this.#rest = this.#rest.slice(end.index + end[0].length)
      if (line === '') {
        if (this.#data.length > 0) events.push(this.#data.join('\n'))
        this.#data = []
        continue
      }
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? []
      if (name === 'data') this.#data.push(value ?? '')
      else if (name === 'retry' && /^\d+$/.test(value ?? '')) this.retryMs = Number(value)
    }
  }
}
