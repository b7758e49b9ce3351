import { fileURLToPath, URL } from 'node:url'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'
import { riderWorker } from './tools/worker.js'

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** The client is used from its sources: one build, and what a page doesn't use is left out. */
export const alias = [
  { find: /^@trunkline\/client$/, replacement: at('client/src/index.ts') },
  { find: /^@trunkline\/client\/(rest|replay)$/, replacement: at('client/src') + '/$1.ts' },
  { find: /^@\//, replacement: at('src') + '/' },
]

/** Where `npm run dev` finds a server: a `trunkline serve` of one's own. */
const server = process.env['TRUNKLINE_URL'] ?? 'http://127.0.0.1:8080'
const pages: Record<string, string> = { '/t/': '/customer.html', '/rider': '/rider.html', '/ops': '/ops.html' }

export default defineConfig({
  plugins: [
    vue(),
    {
      // As the binary serves them: a page for each kind of address.
      name: 'pages',
      configureServer({ middlewares }) {
        middlewares.use((request, _response, next) => {
          const path = (request.url ?? '').split(/[?#]/)[0] ?? ''
          const page = Object.entries(pages).find(([prefix]) => path.startsWith(prefix))
          if (page && !path.includes('.', path.lastIndexOf('/')) ) request.url = page[1]
          else if (page && path.startsWith('/t/')) request.url = page[1]
          next()
        })
      },
    },
    riderWorker(at('src/rider/worker.ts')),
  ],
  define: { __VUE_OPTIONS_API__: 'false', __VUE_PROD_DEVTOOLS__: 'false', __VUE_I18N_LEGACY_API__: 'false', __INTLIFY_PROD_DEVTOOLS__: 'false' },
  resolve: { alias },
  server: {
    host: '127.0.0.1',
    proxy: { '/v1': { target: server, ws: true }, '/base-map': server },
  },
  build: {
    target: 'es2022',
    // What a page needs comes by its own tags; a policy without inline scripts has no room for the polyfill.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: { input: [at('customer.html'), at('rider.html'), at('ops.html')] },
  },
})
