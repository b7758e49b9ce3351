import { defineConfig } from 'vitest/config'
import { alias } from './vite.config.js'

// The screens in a browser, against a server of their own: started by scripts/web-e2e, which says where server and browser are.
export default defineConfig({
  resolve: { alias },
  test: { include: ['e2e/**/*.test.ts'], testTimeout: 90_000, hookTimeout: 120_000, fileParallelism: false, bail: 1 },
})
