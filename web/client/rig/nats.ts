/** As much of NATS's protocol as it takes to publish: what a shop's system or a rider's gateway would do. */

import { connect } from 'node:net'
import type { Socket } from 'node:net'

export class Publisher {
  #socket: Socket
  #pongs: (() => void)[] = []
  #keys = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    let rest = ''
    socket.on('data', (data) => {
      const lines = (rest + data.toString()).split('\r\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line === 'PING') socket.write('PONG\r\n')
        else if (line === 'PONG') this.#pongs.shift()?.()
        else if (line.startsWith('-ERR')) throw new Error(line)
      }
    })
  }

  static async open(port: number): Promise<Publisher> {
    const socket = connect(port, '127.0.0.1')
    await new Promise((done, fail) => socket.once('connect', done).once('error', fail))
    const publisher = new Publisher(socket)
    socket.write('CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
    return publisher
  }

  publish(subject: string, body: unknown, headers: Record<string, string> = {}): void {
    const payload = Buffer.from(JSON.stringify(body))
    const all = Object.entries({ 'Idempotency-Key': `n-${process.pid}-${(this.#keys += 1)}`, ...headers })
    const head = Buffer.from(`NATS/1.0\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
    this.#socket.write(Buffer.concat([Buffer.from(`HPUB ${subject} ${head.length} ${head.length + payload.length}\r\n`), head, payload, Buffer.from('\r\n')]))
  }

  /** Resolves when the server has taken all that was published. */
  flush(): Promise<void> {
    this.#socket.write('PING\r\n')
    return new Promise((done) => this.#pongs.push(done))
  }

  close(): void {
    this.#socket.end()
  }
}
