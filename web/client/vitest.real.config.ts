import { defineConfig } from 'vitest/config'

// Against the server and nats-server: started by scripts/web-client, which says where they are.
export default defineConfig({ test: { include: ['real/**/*.test.ts'], testTimeout: 90_000, hookTimeout: 90_000, fileParallelism: false } })
