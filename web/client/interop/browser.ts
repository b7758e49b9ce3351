/** A Chromium as the tests use it. Its path comes from `CHROMIUM`, which scripts/interop sets. */

import { chromium } from 'playwright-core'
import type { Browser } from 'playwright-core'

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
]

export async function launch(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM']
  if (!executablePath) throw new Error('CHROMIUM isn’t set: start this with scripts/interop')
  return await chromium.launch({ executablePath, args: FLAGS })
}
