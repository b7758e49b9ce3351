/** A Chromium as the tests use it. Its path comes from `CHROMIUM`, which the scripts set. */

import { chromium } from 'playwright-core'
import type { Browser, BrowserContextOptions } from 'playwright-core'

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
]

export async function launch(more: string[] = []): Promise<Browser> {
  const executablePath = process.env['CHROMIUM']
  if (!executablePath) throw new Error('CHROMIUM isn’t set: start this with scripts/web-e2e, scripts/screens or scripts/budgets')
  return await chromium.launch({ executablePath, args: [...FLAGS, ...more] })
}

/** Sizes of a phone and of a desk. */
export const PHONE: BrowserContextOptions = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }
export const DESK: BrowserContextOptions = { viewport: { width: 1440, height: 900 } }
