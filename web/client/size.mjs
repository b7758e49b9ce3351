// What a page pays for it: the whole package, bundled, minified and compressed.
import { build } from 'esbuild'
import { gzipSync } from 'node:zlib'

const MAX = 8_000
const bundle = await build({ entryPoints: ['src/index.ts'], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false })
const bytes = gzipSync(bundle.outputFiles[0].contents, { level: 9 }).length
console.log(`@trunkline/client: ${bundle.outputFiles[0].contents.length} bytes minified, ${bytes} compressed (at most ${MAX})`)
if (bytes > MAX) process.exit(1)
