/**
 * The network between one browser and the server: a TCP relay on a port of its own that can be cut with a reset, as when a phone
 * changes its network, or go silent, as in a tunnel: then nothing comes through and nobody is told. What was on its way while it
 * was silent arrives afterwards, as TCP's repetitions would.
 *
 * It knows no HTTP, so it can't help either side. It counts what crossed it, both ways, as bytes of the wire.
 */

import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'

export type CableState = 'whole' | 'cut' | 'silent'

export class Cable {
  /** Bytes towards the browser and away from it, since the start or the last `count`. */
  down = 0
  up = 0
  #state: CableState = 'whole'
  #server: Server
  #sockets = new Set<Socket>()
  /** Browser's sockets that came while it was silent: they wait for an answer. */
  #waiting = new Set<Socket>()

  private constructor(readonly target: number) {
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#take(socket))
  }

  /** A whole one, to a port of 127.0.0.1. */
  static async start(target: number): Promise<Cable> {
    const cable = new Cable(target)
    await new Promise<void>((done) => cable.#server.listen(0, '127.0.0.1', done))
    return cable
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get state(): CableState {
    return this.#state
  }

  /** Resets all that is open, and lets nobody in until `mend`. Returns how many sockets that were. */
  cut(): number {
    this.#state = 'cut'
    const open = this.#sockets.size
    for (const socket of this.#sockets) socket.resetAndDestroy()
    this.#waiting.clear()
    return open
  }

  /** From now on nothing comes through, until `mend`. */
  silence(): void {
    this.#state = 'silent'
    for (const socket of this.#sockets) socket.pause()
  }

  mend(): void {
    this.#state = 'whole'
    for (const socket of this.#sockets) socket.resume()
    for (const socket of this.#waiting) this.#join(socket)
    this.#waiting.clear()
  }

  /** Begins to count anew. */
  count(): void {
    this.down = this.up = 0
  }

  async stop(): Promise<void> {
    this.cut()
    await new Promise((done) => this.#server.close(done))
  }

  #take(socket: Socket): void {
    this.#keep(socket)
    if (this.#state === 'cut') socket.resetAndDestroy()
    else if (this.#state === 'silent') this.#waiting.add(socket)
    else this.#join(socket)
  }

  #join(here: Socket): void {
    const there = connect(this.target, '127.0.0.1')
    this.#keep(there)
    const relay = (from: Socket, to: Socket, counted: (bytes: number) => void): void => {
      from.on('data', (data) => {
        counted(data.length)
        if (to.write(data)) return
        from.pause()
        to.once('drain', () => this.#state === 'silent' || from.resume())
      })
      from.on('end', () => to.end())
      from.on('close', () => to.destroy())
    }
    relay(here, there, (bytes) => (this.up += bytes))
    relay(there, here, (bytes) => (this.down += bytes))
    here.resume()
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    // A reset is what it is for; the other side hears of it by `close`.
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#waiting.delete(socket)
    })
  }
}
