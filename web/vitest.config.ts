import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'
import { alias } from './vite.config.js'

export default defineConfig({
  plugins: [vue()],
  resolve: { alias },
  test: { include: ['test/**/*.test.ts'], environment: 'happy-dom', testTimeout: 20_000 },
})
