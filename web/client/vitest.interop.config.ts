import { defineConfig } from 'vitest/config'

// Stock clients against the server: started by scripts/interop, which says where server and browser are.
export default defineConfig({ test: { include: ['interop/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false } })
