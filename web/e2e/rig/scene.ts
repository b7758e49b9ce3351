/**
 * Where the screens are seen at work: a server and a nats-server of a test's own, other traffic, and guests, each a browser
 * context with a network of its own. What goes wrong is left in a folder that is named.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { Publisher } from '../../client/rig/nats.js'
import { Rig } from '../../client/rig/server.js'
import { until } from '../../client/rig/wait.js'
import { launch } from './browser.js'
import { Cable } from './cable.js'

export interface GuestOptions extends BrowserContextOptions {
  /** `true` without it: reaches the server by a network of its own that can be cut. */
  cable?: boolean
}

/** One who looks at a screen. */
export class Guest {
  /** What the page said went wrong: uncaught errors, and what its policy forbade. */
  readonly wrong: string[] = []
  /** The console's lines, the newest last. */
  readonly console: string[] = []

  constructor(
    readonly name: string,
    readonly context: BrowserContext,
    readonly page: Page,
    readonly cable: Cable,
  ) {
    page.on('pageerror', (error) => this.wrong.push((error.stack ?? String(error)).split('\n').slice(0, 8).join('\n')))
    page.on('console', (line) => {
      this.console.push(`${line.type()}: ${line.text()}`)
      if (/Content Security Policy|Uncaught|\[Vue warn\]|\[intlify\]/.test(line.text())) this.wrong.push(line.text())
    })
  }

  /** Opens a path of the server's. */
  async open(path: string): Promise<void> {
    await this.page.goto(this.cable.url + path)
  }

  /** From now on a reload is noticed. */
  async mark(): Promise<void> {
    await this.page.evaluate(() => Object.assign(globalThis, { unreloaded: true }))
  }

  /** Whether the page is the same as at `mark`. */
  async isUnreloaded(): Promise<boolean> {
    return await this.page.evaluate(() => 'unreloaded' in globalThis)
  }
}

/** Other traffic: `trunkline simulate`. */
export class Simulation {
  constructor(
    readonly process: ChildProcess,
    readonly log: string,
  ) {}

  get ended(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  /** Its exit code, when it has ended by itself. */
  async end(): Promise<number | null> {
    if (!this.ended) await new Promise((done) => this.process.once('exit', done))
    return this.process.exitCode
  }

  /** Asks it to end early; its exit code. */
  async stop(): Promise<number | null> {
    if (!this.ended) this.process.kill('SIGINT')
    return await this.end()
  }
}

export class Scene {
  readonly guests: Guest[] = []
  #simulations: Simulation[] = []
  #cables: Cable[] = []
  #nats: Publisher | undefined

  private constructor(
    readonly rig: Rig,
    readonly browser: Browser,
  ) {}

  /** `env` are settings of the server. */
  static async start(env: Record<string, string> = {}, flags: string[] = []): Promise<Scene> {
    const rig = await Rig.start({ env })
    try {
      return new Scene(rig, await launch(flags))
    } catch (error) {
      await rig.stop()
      throw error
    }
  }

  async guest(name: string, options: GuestOptions = {}): Promise<Guest> {
    const { cable: own = true, ...more } = options
    const cable = own || !this.#cables[0] ? await Cable.start(this.rig.httpPort) : this.#cables[0]
    if (!this.#cables.includes(cable)) this.#cables.push(cable)
    const context = await this.browser.newContext({ locale: 'zh-CN', timezoneId: 'Asia/Shanghai', ...more })
    const guest = new Guest(name, context, await context.newPage(), cable)
    this.guests.push(guest)
    return guest
  }

  async leave(guest: Guest): Promise<void> {
    await guest.context.close()
    this.guests.splice(this.guests.indexOf(guest), 1)
  }

  async nats(): Promise<Publisher> {
    return (this.#nats ??= await Publisher.open(this.rig.natsPort))
  }

  /** The cell's rules: what isn't named has its default. */
  async rules(rules: object): Promise<void> {
    const nats = await this.nats()
    nats.publish('control.default.rules', { rules_version: 4, ...rules })
    await nats.flush()
  }

  /** What the cell's clock shows. */
  async cellTime(): Promise<number> {
    return (await this.rig.ask('GET', '/v1/cell'))['cell_time_ms'] as number
  }

  /** Other traffic in the cell; `args` are the simulator's. Resolves when it has begun. */
  async simulate(...args: string[]): Promise<Simulation> {
    const nth = this.#simulations.length + 1
    const [log, token] = [join(this.rig.folder, `simulate-${nth}.log`), join(this.rig.folder, 'shop.token')]
    writeFileSync(token, this.rig.token('system', 'shop', '12h'), { mode: 0o600 })
    const where = ['--http', this.rig.url, '--nats', `nats://127.0.0.1:${this.rig.natsPort}`, '--token-file', token]
    const out = openSync(log, 'a')
    const child = spawn(process.env['TRUNKLINE'] ?? '', ['simulate', ...where, ...args], { stdio: ['ignore', out, out] })
    closeSync(out)
    const simulation = new Simulation(child, log)
    this.#simulations.push(simulation)
    await until('the simulation begins', 60_000, () => {
      const said = readFileSync(log, 'utf8')
      if (simulation.ended && !said.includes('times life’s pace') && !said.includes("times life's pace")) throw new Error(said)
      return said.includes('pace')
    })
    return simulation
  }

  /** A link's token for one order. */
  async share(order: string, lives_s = 3_600): Promise<{ share: string; token: string }> {
    return (await this.rig.ask('POST', `/v1/orders/${order}/shares`, { expires_in_s: lives_s })) as { share: string; token: string }
  }

  /** What each guest saw, what the server said, and what is known of an order, in a folder; its path. */
  async evidence(order?: string): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'trunkline-screens-'))
    for (const guest of this.guests) {
      const file = (suffix: string): string => join(folder, `${guest.name}.${suffix}`)
      await guest.page.screenshot({ path: file('png'), timeout: 10_000 }).catch(() => undefined)
      writeFileSync(file('html'), await guest.page.content().catch(String))
      writeFileSync(file('log'), [guest.page.url(), `network: ${guest.cable.state}`, ...guest.wrong, '---', ...guest.console].join('\n'))
    }
    if (order) {
      const [state, track, alerts] = await Promise.all(
        [`/v1/orders/${order}`, `/v1/orders/${order}/track?format=json&limit=500`, `/v1/alerts?order=${order}`].map((path) => this.rig.ask('GET', path).catch(String)),
      )
      writeFileSync(join(folder, `${order}.json`), JSON.stringify({ state, track, alerts }, null, 1))
    }
    writeFileSync(join(folder, 'server.log'), this.rig.log(400))
    for (const [n, { log }] of this.#simulations.entries()) writeFileSync(join(folder, `simulate-${n + 1}.log`), readFileSync(log))
    return folder
  }

  async stop(): Promise<void> {
    for (const simulation of this.#simulations) if (!simulation.ended) simulation.process.kill('SIGKILL')
    this.#nats?.close()
    await this.browser.close().catch(() => undefined)
    for (const cable of this.#cables) await cable.stop()
    await this.rig.stop()
  }
}

/** A folder of base maps for `map.folder`, with copies of these files. */
export function mapsFolder(at: string, files: { pmtiles?: string; ground?: string }): string {
  const folder = join(at, 'maps')
  mkdirSync(folder, { recursive: true })
  if (files.pmtiles) writeFileSync(join(folder, 'default.pmtiles'), readFileSync(files.pmtiles))
  if (files.ground) writeFileSync(join(folder, 'default.geojson'), readFileSync(files.ground))
  return folder
}
