import { expect, test } from 'vitest'
import source from '@/rider/worker.ts?raw'
import { workerScript } from '../../tools/worker.js'

const ORIGIN = 'https://shop.example'
const FILES = ['/assets/rider-1.js', '/icons/a.png']

/** A browser's caches, by name and path. */
class TestCaches {
  readonly all = new Map<string, Map<string, Response>>()
  constructor(private readonly fetch: (path: string) => Promise<Response>) {}
  open = async (name: string) => {
    const cache = this.all.get(name) ?? new Map<string, Response>()
    this.all.set(name, cache)
    return {
      match: async (path: string) => cache.get(path)?.clone(),
      addAll: async (requests: { path: string }[]) => {
        for (const { path } of requests) {
          const answer = await this.fetch(path)
          if (!answer.ok) throw new TypeError(path)
          cache.set(path, answer)
        }
      },
    }
  }
  keys = async () => [...this.all.keys()]
  delete = async (name: string) => this.all.delete(name)
}

/** A worker of one version, in a browser that may have others' caches. */
function worker(version: string, network: (path: string) => Promise<Response>, old?: TestCaches) {
  const caches = old ?? new TestCaches((path) => network(path))
  const listeners = new Map<string, (event: unknown) => void>()
  const scope = { addEventListener: (name: string, run: (event: unknown) => void) => listeners.set(name, run), clients: { claim: async () => {} }, location: new URL(ORIGIN) }
  class TestRequest {
    constructor(readonly path: string) {}
  }
  const fetch = (request: { url: string }): Promise<Response> => network(new URL(request.url).pathname)
  new Function('globalThis', 'caches', 'fetch', 'Request', workerScript(source, version, FILES))(scope, caches, fetch, TestRequest)
  const wait = async (name: string): Promise<void> => {
    let waited: Promise<unknown> = Promise.resolve()
    listeners.get(name)?.({ waitUntil: (what: Promise<unknown>) => (waited = what) })
    await waited
  }
  /** What the worker answers; `undefined` where it lets the request pass. */
  const ask = async (path: string, more: object = {}): Promise<string | undefined> => {
    let answer: Promise<Response> | undefined
    listeners.get('fetch')?.({ request: { url: ORIGIN + path, method: 'GET', mode: 'no-cors', ...more }, respondWith: (given: Promise<Response>) => (answer = given) })
    return answer && (await (await answer).text())
  }
  return { caches, wait, ask, names: () => [...caches.all.keys()] }
}

const page = (script: string) => async (path: string): Promise<Response> => new Response(path === '/rider' ? `<script src="/assets/${script}">` : `file ${path}`)
const NAVIGATE = { mode: 'navigate' }

test('once installed, the page and its files are there without a network, and nothing else is touched', async () => {
  let network = page('rider-1.js')
  const { wait, ask } = worker('v1', (path) => network(path))
  await wait('install')
  await wait('activate')
  network = () => Promise.reject(new TypeError('no network'))
  expect(await ask('/rider', NAVIGATE)).toContain('rider-1.js')
  expect(await ask('/rider/today?lang=en', NAVIGATE)).toContain('rider-1.js')
  expect(await ask('/assets/rider-1.js')).toBe('file /assets/rider-1.js')
  for (const path of ['/v1/screens', '/v1/riders/r1', '/assets/ops-1.js', '/riders']) expect(await ask(path), path).toBeUndefined()
  expect(await ask('/rider', { ...NAVIGATE, method: 'POST' })).toBeUndefined()
  expect(await ask('/ops', NAVIGATE)).toBeUndefined()
})

test('with a network the server’s page counts, unless it isn’t one', async () => {
  let network = page('rider-1.js')
  const { wait, ask } = worker('v1', (path) => network(path))
  await wait('install')
  network = async () => new Response('newer')
  expect(await ask('/rider', NAVIGATE)).toBe('newer')
  network = async () => new Response('bad gateway', { status: 502 })
  expect(await ask('/rider', NAVIGATE)).toContain('rider-1.js')
})

test('a newer version leaves the older one’s files alone until it takes over', async () => {
  const first = worker('v1', page('rider-1.js'))
  await first.wait('install')
  await first.caches.open('of another page')
  const second = worker('v2', page('rider-1.js'), first.caches)
  await second.wait('install')
  expect(second.names()).toEqual(['trunkline.rider.v1', 'of another page', 'trunkline.rider.v2'])
  expect(await first.ask('/assets/rider-1.js')).toBe('file /assets/rider-1.js')
  await second.wait('activate')
  expect(second.names()).toEqual(['of another page', 'trunkline.rider.v2'])
})

test('a page of another version isn’t put away', async () => {
  const { wait, names } = worker('v1', page('rider-2.js'))
  await expect(wait('install')).rejects.toThrow('another version')
  expect(names()).toEqual([])
})
