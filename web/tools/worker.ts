/**
 * Makes `dist/rider-sw.js` of `src/rider/worker.ts` after each build: with the list of the files that the rider's page is made of
 * (all that its HTML names; not what it loads later when it is asked for, as the map), and with a version that is their contents' hash.
 */

import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import type { Plugin } from 'vite'

/** Files with names of their own. */
const PUBLIC = ['/rider.webmanifest', '/icons/mark.svg', '/icons/rider-192.png', '/icons/rider-512.png', '/icons/rider-maskable-512.png']

export function riderWorker(source: string): Plugin {
  return {
    name: 'rider-worker',
    apply: 'build',
    writeBundle({ dir = 'dist' }) {
      const page = readFileSync(join(dir, 'rider.html'), 'utf8')
      // The build names in the HTML also what the page's files import at once.
      const named = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, path]) => path ?? '')
      const files = [...new Set([...named, ...PUBLIC])].sort()
      const text = readFileSync(source, 'utf8')
      const hash = createHash('sha256').update(page).update(text)
      for (const file of files) hash.update(file).update(readFileSync(join(dir, file)))
      writeFileSync(join(dir, 'rider-sw.js'), workerScript(text, hash.digest('hex').slice(0, 16), files))
    },
  }
}

/** The worker as JavaScript, with its names filled in. */
export function workerScript(source: string, version: string, files: readonly string[]): string {
  const { outputText } = ts.transpileModule(source, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.None, removeComments: true } })
  return outputText.replace(/\b__VERSION__\b/g, JSON.stringify(version)).replace(/\b__FILES__\b/g, JSON.stringify(files))
}
