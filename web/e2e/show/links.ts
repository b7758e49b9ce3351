/** Takes pictures of the pages that links lead to: `--out DIR --prefix NAME NAME=URL…`. For `scripts/demo --pictures`, whose server runs. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { sleep } from '../../client/rig/wait.js'
import { DESK, PHONE, launch } from '../rig/browser.js'

/** What says that a page shows what it is for. */
const SHOWN: Record<string, string> = { ops: 'overlay-riders', customer: 'rider-marker', rider: 'current-stop' }
/** For tiles and what moves. */
const SETTLE_MS = 5_000
const PATIENCE_MS = 60_000

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: { out: { type: 'string' }, prefix: { type: 'string', default: '' } } })
  if (!values.out) throw new Error('--out names the folder')
  mkdirSync(values.out, { recursive: true })
  const browser = await launch()
  let failed = 0
  try {
    for (const link of positionals) {
      const [name = '', url = ''] = [link.slice(0, link.indexOf('=')), link.slice(link.indexOf('=') + 1)]
      for (const [size, context] of [['desk', DESK], ['phone', PHONE]] as const) {
        if (size === 'desk' && name === 'rider') continue
        const opened = await browser.newContext({ ...context, locale: 'zh-CN', permissions: ['geolocation'] })
        try {
          const page = await opened.newPage()
          await page.goto(url)
          const what = SHOWN[name]
          if (what !== undefined) await page.getByTestId(what).first().waitFor({ state: 'attached', timeout: PATIENCE_MS })
          await sleep(SETTLE_MS)
          const { data } = await (await opened.newCDPSession(page)).send('Page.captureScreenshot', { format: 'webp', quality: 78 })
          writeFileSync(join(values.out, `${values.prefix}${name}-${size}.webp`), Buffer.from(data, 'base64'))
        } catch (error) {
          failed += 1
          console.error(`${name} (${size}): ${String(error)}`)
        } finally {
          await opened.close()
        }
      }
    }
  } finally {
    await browser.close()
  }
  return failed === 0 ? 0 : 1
}
