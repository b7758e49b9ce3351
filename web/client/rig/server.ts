/**
 * A nats-server and a `trunkline serve` of a test's own, on loopback and free ports, with a store that is removed. The
 * binaries come from `TRUNKLINE` and `NATS_SERVER`, which the scripts set.
 */

import { spawn, execFileSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './wait.js'

/** The repository: this may run from where it was built to. */
const ROOT = (function up(folder: string): string {
  return existsSync(join(folder, 'nats.conf')) ? folder : up(dirname(folder))
})(dirname(fileURLToPath(import.meta.url)))

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => done(port))
    })
  })
}

function binary(name: string): string {
  const path = process.env[name]
  if (!path) throw new Error(`${name} isn't set: start this with scripts/web-client, scripts/interop or scripts/fault drain`)
  return resolve(path)
}

interface Child {
  process: ChildProcess
  log: string
}

export interface RigOptions {
  /** Settings of the server, as `TRUNKLINE_…` variables. */
  env?: Record<string, string>
  /** Leave the folder with store and logs where it is, and say where. */
  keep?: boolean
}

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'trunkline-web-'))
  readonly secret = join(this.folder, 'secret')
  httpPort = 0
  natsPort = 0
  #nats: Child | undefined
  #server: Child | undefined
  #keys = 0

  constructor(readonly options: RigOptions = {}) {
    writeFileSync(this.secret, randomBytes(32).toString('hex'), { mode: 0o600 })
    mkdirSync(join(this.folder, 'nats'))
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(options)
    try {
      rig.httpPort = await freePort()
      rig.natsPort = await freePort()
      await rig.startNats()
      await rig.startServer()
    } catch (error) {
      await rig.stop()
      throw error
    }
    return rig
  }

  get url(): string {
    return `http://127.0.0.1:${this.httpPort}`
  }

  async startNats(): Promise<void> {
    const args = ['--config', join(ROOT, 'nats.conf'), '--addr', '127.0.0.1', '--port', String(this.natsPort), '--http_port', String(await freePort())]
    const child = this.#spawn('nats', binary('NATS_SERVER'), args, join(this.folder, 'nats'))
    this.#nats = child
    await until('nats-server’s greeting', 20_000, () => this.#alive(child, () => greets(this.natsPort)))
  }

  async startServer(): Promise<void> {
    const args = ['serve', '--http', `127.0.0.1:${this.httpPort}`, '--nats', `nats://127.0.0.1:${this.natsPort}`, '--data', join(this.folder, 'data')]
    const child = this.#spawn('server', binary('TRUNKLINE'), args, ROOT)
    this.#server = child
    await until('the server’s /readyz', 60_000, () => this.#alive(child, () => this.ready()))
  }

  async ready(): Promise<boolean> {
    try {
      return (await fetch(this.url + '/readyz')).ok
    } catch {
      return false
    }
  }

  /** Asks the server to end; resolves when it has. */
  async stopServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM', ms = 60_000): Promise<number> {
    const began = Date.now()
    await end(this.#server, signal, ms)
    this.#server = undefined
    return Date.now() - began
  }

  /** Stops all and removes the store, unless it is to be kept. */
  async stop(): Promise<void> {
    await end(this.#server, 'SIGTERM', 20_000)
    await end(this.#nats, 'SIGTERM', 20_000)
    if (this.options.keep) console.log(`kept: ${this.folder}`)
    else rmSync(this.folder, { recursive: true, force: true })
  }

  /** The end of the server's log. */
  log(lines = 30): string {
    return readFileSync(join(this.folder, 'server.log'), 'utf8').split('\n').slice(-lines).join('\n')
  }

  token(role: string, sub: string, lives = '1h'): string {
    const env = { ...process.env, TRUNKLINE_AUTH__SECRET_FILE: this.secret }
    return execFileSync(binary('TRUNKLINE'), ['token', '--role', role, '--sub', sub, '--for', lives], { env }).toString().trim()
  }

  #shop: string | undefined

  /** A request of the shop's; fails on anything but success. */
  async ask(method: string, path: string, body?: unknown, token?: string): Promise<Record<string, unknown>> {
    this.#shop ??= this.token('operations', 'alice', '12h')
    const headers: Record<string, string> = { Authorization: `Bearer ${token ?? this.#shop}`, 'Idempotency-Key': `k-${(this.#keys += 1)}` }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const answer = await fetch(this.url + path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return text ? (JSON.parse(text) as Record<string, unknown>) : {}
  }

  async create(id: string, user = 'u-1'): Promise<void> {
    await this.ask('POST', '/v1/orders', {
      id, user_id: user, amount_minor: 4200, currency: 'CNY', items: 3,
      warehouse: { id: 'w-1', name: 'Pudong', lat: 31.2, lon: 121.4 },
      destination: { lat: 31.21, lon: 121.45 },
      contact: { name: 'Wang', phone: '13812345678' }, address: '1 Road',
    })
  }

  async pay(id: string): Promise<void> {
    await this.ask('POST', `/v1/orders/${id}/pay`, {})
  }

  /** From paid to delivering. */
  async depart(id: string, rider: string): Promise<void> {
    await this.ask('POST', `/v1/riders/${rider}/shift`, { on: true })
    await this.ask('POST', `/v1/warehouses/w-1/orders/${id}/stages/packed`, {})
    await this.ask('POST', `/v1/orders/${id}/assign`, { rider })
  }

  async fix(rider: string, lat: number, lon: number): Promise<void> {
    await this.ask('POST', `/v1/riders/${rider}/fix`, { lat, lon, fix_time_ms: Date.now() })
  }

  async deliver(id: string): Promise<void> {
    await this.ask('POST', `/v1/orders/${id}/deliver`, {})
  }

  /** The order as REST has it: `{state, version, epoch, …}`. */
  async order(id: string, token?: string): Promise<Record<string, unknown>> {
    return await this.ask('GET', `/v1/orders/${id}`, undefined, token)
  }

  #spawn(name: string, command: string, args: string[], cwd: string): Child {
    const log = join(this.folder, `${name}.log`)
    const out = openSync(log, 'a')
    const env = { ...process.env, ...this.options.env, TRUNKLINE_AUTH__SECRET_FILE: this.secret }
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', out, out] })
    closeSync(out)
    return { process: child, log }
  }

  async #alive(child: Child, look: () => Promise<boolean>): Promise<boolean> {
    if (child.process.exitCode !== null) throw new Error(`${child.log}:\n${readFileSync(child.log, 'utf8').slice(-3_000)}`)
    return await look()
  }
}

async function end(child: Child | undefined, signal: 'SIGTERM' | 'SIGKILL', ms: number): Promise<void> {
  if (!child || child.process.exitCode !== null || child.process.signalCode !== null) return
  const over = new Promise<void>((done) => child.process.once('exit', () => done()))
  child.process.kill(signal)
  const late = setTimeout(() => child.process.kill('SIGKILL'), ms)
  await over
  clearTimeout(late)
}

function greets(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('data', (data) => {
      socket.destroy()
      done(data.toString().startsWith('INFO'))
    })
    socket.once('error', () => done(false))
  })
}
