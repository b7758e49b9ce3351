// Beside each built file its brotli and gzip forms, made once at their best, so that the server compresses nothing.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const COMPRESSIBLE = /\.(html|js|mjs|css|svg|json|webmanifest|txt)$/
/** A form that saves less isn't worth a second copy. */
const WORTH = 0.95

const files = readdirSync('dist', { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && COMPRESSIBLE.test(entry.name))
for (const entry of files) {
  const path = join(entry.parentPath, entry.name)
  const whole = readFileSync(path)
  const forms = { br: brotliCompressSync(whole, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: whole.length } }), gz: gzipSync(whole, { level: 9 }) }
  for (const [suffix, form] of Object.entries(forms)) if (form.length < whole.length * WORTH) writeFileSync(`${path}.${suffix}`, form)
}
