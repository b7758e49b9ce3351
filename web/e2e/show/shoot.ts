/** Takes pictures of the screens and writes the page that shows them. Started by scripts/screens, which explains it. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { BrowserContextOptions } from 'playwright-core'
import { sleep } from '../../client/rig/wait.js'
import { DESK, PHONE } from '../rig/browser.js'
import { Scene, mapsFolder } from '../rig/scene.js'
import { City } from './city.js'
import { EXHIBITS } from './exhibits.js'
import type { Exhibit } from './exhibits.js'

interface Look {
  language: 'zh-CN' | 'en'
  theme: 'light' | 'dark'
  size: 'phone' | 'desk'
}

/** What is still in motion when a screen is open: a map that fits itself, a marker that glides. */
const SETTLE_MS = 900
const QUALITY = 78

const LOOKS: Look[] = (['zh-CN', 'en'] as const).flatMap((language) =>
  (['light', 'dark'] as const).flatMap((theme) => (['phone', 'desk'] as const).map((size) => ({ language, theme, size }))),
)
/** Of states that aren't taken in every look: the console on a desk, the others on a phone. */
const FEW = (name: string): Look[] => {
  const size = name.startsWith('ops') ? 'desk' : 'phone'
  return [{ language: 'zh-CN', theme: 'light', size }, { language: 'en', theme: 'dark', size }]
}

const file = (name: string, { language, theme, size }: Look): string => `${name}-${language === 'en' ? 'en' : 'zh'}-${theme}-${size}.webp`

async function shoot(city: City, exhibit: Exhibit, look: Look, path: string): Promise<void> {
  const context: BrowserContextOptions = { ...(look.size === 'phone' ? PHONE : DESK), locale: look.language, colorScheme: look.theme, ...exhibit.context }
  const guest = await city.scene.guest(exhibit.name, context)
  try {
    await exhibit.open(city, guest)
    await sleep(SETTLE_MS)
    const cdp = await guest.context.newCDPSession(guest.page)
    const { data } = await cdp.send('Page.captureScreenshot', { format: 'webp', quality: QUALITY })
    writeFileSync(path, Buffer.from(data, 'base64'))
    if (guest.wrong.length > 0) throw new Error(`${exhibit.name}: ${guest.wrong.join('; ')}`)
  } finally {
    await city.scene.leave(guest)
  }
}

/** The page that shows the pictures that are there: the screens, and the chief ones over other cities. */
function index(out: string): string {
  const link = (name: string, look: Look): string => `[${look.language === 'en' ? 'English' : '中文'}, ${look.theme}, ${look.size}](${file(name, look)})`
  const section = (title: string, name: string, possible: readonly Look[]): string[] => {
    const looks = possible.filter((look) => existsSync(join(out, file(name, look))))
    return looks[0] ? [`## ${title}`, '', `![${title}](${file(name, looks[0])})`, '', looks.map((look) => link(name, look)).join(' · '), ''] : []
  }
  const chief = EXHIBITS.filter(({ main }) => main)
  const tail = `-${chief[0]!.name}-`
  const cities = [...new Set(readdirSync(out).filter((name) => name.includes(tail)).map((name) => name.slice(0, name.indexOf(tail))))].sort()
  const lines = [
    ...EXHIBITS.flatMap(({ name, title, main }) => section(title, name, main ? LOOKS : FEW(name))),
    ...cities.flatMap((city) => chief.flatMap(({ name, title }) => section(`${city}: ${title}`, `${city}-${name}`, LOOKS))),
  ]
  const demos = readdirSync(out, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort()
  for (const demo of demos) {
    lines.push(`## \`scripts/demo\`: ${demo}`, '', ...readdirSync(join(out, demo)).sort().map((name) => `![${name.replace('.webp', '')}](${demo}/${name})`), '')
  }
  return ['# The screens', '', 'Taken by `scripts/screens` of a running server with a simulated city, and by `scripts/demo --pictures`.', '', ...lines].join('\n')
}

export async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      out: { type: 'string' }, name: { type: 'string' }, only: { type: 'string' }, streets: { type: 'string' }, osm: { type: 'string' },
      ground: { type: 'string' }, pmtiles: { type: 'string' }, seed: { type: 'string', default: '7' },
    },
  })
  const out = resolve(values.out ?? '../docs/screens')
  mkdirSync(out, { recursive: true })
  const prefix = values.name === undefined ? '' : `${values.name}-`
  // One of a kind is enough to see the same screens over another city.
  const what = EXHIBITS.filter(({ name, main }) => (values.only ? name.includes(values.only) : prefix === '' || main))
  const maps = mapsFolder(mkdtempSync(join(tmpdir(), 'trunkline-maps-')), { ...(values.pmtiles && { pmtiles: values.pmtiles }), ...(values.ground && { ground: values.ground }) })
  const scene = await Scene.start({ TRUNKLINE_MAP__FOLDER: maps })
  let city: City | undefined
  try {
    const streets = values.osm ? ['--osm', values.osm] : values.streets ? ['--streets', values.streets] : []
    city = await City.start(scene, { streets, seed: Number(values.seed) })
    let failed = 0
    for (const exhibit of what) {
      for (const look of exhibit.main && prefix === '' ? LOOKS : FEW(exhibit.name)) {
        const picture = prefix + file(exhibit.name, look)
        try {
          await shoot(city, exhibit, look, join(out, picture))
          console.log(`${picture}  ${(statSync(join(out, picture)).size / 1_000).toFixed(0)} kB`)
        } catch (error) {
          failed += 1
          console.error(`${picture}: ${String(error)}`)
        }
      }
    }
    writeFileSync(join(out, 'README.md'), index(out))
    const bytes = readdirSync(out).reduce((sum, name) => sum + statSync(join(out, name)).size, 0)
    console.log(`${out}: ${(bytes / 1e6).toFixed(1)} MB in all; ${failed} pictures failed`)
    return failed === 0 ? 0 : 1
  } finally {
    city?.stop()
    await scene.stop()
    rmSync(dirname(maps), { recursive: true, force: true })
  }
}
