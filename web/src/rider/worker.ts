/**
 * The rider's page without a network. What the page is made of is put away when this worker is installed, under a name that is its
 * contents' hash; the page itself is asked for from the server first, for a moment, and then taken from there. Data are never kept:
 * whatever isn't a file of the page goes past this worker.
 *
 * A newer worker waits until no page of the older one is open, so that no page loses its files under its feet; the older one's
 * files go when it takes over.
 *
 * Built by `tools/worker.ts`, which fills in the names. It imports nothing.
 */

interface Waits extends Event {
  waitUntil(what: Promise<unknown>): void
}

interface Fetches extends Waits {
  request: Request
  respondWith(answer: Promise<Response>): void
}

interface Worker {
  addEventListener(name: 'install' | 'activate', run: (event: Waits) => void): void
  addEventListener(name: 'fetch', run: (event: Fetches) => void): void
  clients: { claim(): Promise<void> }
  location: Location
}

declare const __VERSION__: string
declare const __FILES__: readonly string[]

const worker = globalThis as unknown as Worker
const PREFIX = 'trunkline.rider.'
const NAME = PREFIX + __VERSION__
const PAGE = '/rider'
/** So long the server has to answer with the page. */
const PAGE_MS = 2_500
const FILES = new Set(__FILES__)

worker.addEventListener('install', (event) => event.waitUntil(install()))

async function install(): Promise<void> {
  // Hashed files are taken from the browser's cache where it has them; the rest from the server.
  const file = (path: string): Request => new Request(path, path.startsWith('/assets/') ? {} : { cache: 'reload' })
  const cache = await caches.open(NAME)
  await cache.addAll([PAGE, ...__FILES__].map(file))
  // While servers are being replaced, the page may be one version's and this worker another's: then later.
  const text = (await (await cache.match(PAGE))?.text()) ?? ''
  if (!__FILES__.every((path) => !path.startsWith('/assets/') || text.includes(path))) {
    await caches.delete(NAME)
    throw new Error('the page is of another version')
  }
}

worker.addEventListener('activate', (event) => {
  const remove = async (): Promise<void> => {
    const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME)
    await Promise.all(old.map((name) => caches.delete(name)))
    await worker.clients.claim()
  }
  event.waitUntil(remove())
})

worker.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  if (request.method !== 'GET' || url.origin !== worker.location.origin) return
  if (request.mode === 'navigate') {
    if (url.pathname === PAGE || url.pathname.startsWith(PAGE + '/')) event.respondWith(page(request))
  } else if (FILES.has(url.pathname)) event.respondWith(file(request, url.pathname))
})

/** From the server, if it answers soon and well; else as it was put away. */
async function page(request: Request): Promise<Response> {
  const abort = new AbortController()
  const timer = setTimeout(() => abort.abort(), PAGE_MS)
  try {
    const answer = await fetch(request, { signal: abort.signal })
    if (answer.ok) return answer
    return (await kept(PAGE)) ?? answer
  } catch (error) {
    const found = await kept(PAGE)
    if (found) return found
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function file(request: Request, path: string): Promise<Response> {
  return (await kept(path)) ?? (await fetch(request))
}

async function kept(path: string): Promise<Response | undefined> {
  return await (await caches.open(NAME)).match(path)
}
