import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { afterEach, expect, test, vi } from 'vitest'
import { openRiderDb } from '@/rider/db.js'
import { ScreenOn } from '@/rider/device.js'
import { reasonRead, reasonSent } from '@/shared/trouble.js'
import { newName, settle } from './world.js'

afterEach(() => vi.unstubAllGlobals())

/** A browser's wake locks, which are given when the test says so. */
function wakeLocks() {
  const [open, held]: [(() => void)[], { released: boolean }[]] = [[], []]
  const request = (): Promise<object> =>
    new Promise((resolve) =>
      open.push(() => {
        const lock = { released: false, release: () => Promise.resolve(void (lock.released = true)) }
        held.push(lock)
        resolve(lock)
      }),
    )
  vi.stubGlobal('navigator', { wakeLock: { request } })
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' }) as unknown as Document
  return { open, held, page }
}

test('the screen is held by one lock, however often it is asked for', async () => {
  const { open, held, page } = wakeLocks()
  const leave = new AbortController()
  const screen = new ScreenOn(leave.signal, page)
  for (let i = 0; i < 3; i += 1) screen.set(true)
  page.dispatchEvent(new Event('visibilitychange'))
  expect(open.length).toBe(1)
  open[0]?.()
  await settle()
  screen.set(true)
  expect(open.length).toBe(1)
  screen.set(false)
  expect(held).toMatchObject([{ released: true }])
  // What comes when it isn't wanted any more is let go.
  screen.set(true)
  screen.set(false)
  open[1]?.()
  await settle()
  expect(held).toMatchObject([{ released: true }, { released: true }])
  screen.set(true)
  expect(open.length).toBe(3)
  open[2]?.()
  await settle()
  leave.abort()
  if (held[2]) held[2].released = true
  page.dispatchEvent(new Event('visibilitychange'))
  expect(open.length).toBe(3)
})

test('a page whose store another version wants makes room, and loads itself anew', async () => {
  const name = newName()
  const reload = vi.fn()
  await openRiderDb(name, reload)
  const newer = await openDB(name, 2)
  expect(newer.version).toBe(2)
  expect(reload).toHaveBeenCalledOnce()
  newer.close()
})

test('a reason is sent by its name with the rider’s words after it, or as these alone', () => {
  expect([reasonSent('nobody', ' '), reasonSent('nobody', ' rang: twice '), reasonSent('other', 'no bridge'), reasonSent('other', '')]).toEqual(['nobody', 'nobody: rang: twice', 'no bridge', ''])
  expect(reasonRead('nobody')).toEqual({ name: 'nobody', text: '' })
  expect(reasonRead('nobody: rang: twice')).toEqual({ name: 'nobody', text: 'rang: twice' })
  // Of an older page, or of somebody who writes as the names are.
  for (const text of ['Nobody at home: 3rd floor', 'other: x', 'no bridge']) expect(reasonRead(text)).toEqual({ text })
})
