/** Runs a TypeScript module as the screens are built: `node tools/run.mjs MODULE ARGUMENTS…`. Its `main(args)` gives the exit code. */

import { loadConfigFromFile, runnerImport } from 'vite'

const [module, ...args] = process.argv.slice(2)
if (module === undefined) {
  console.error('usage: node tools/run.mjs MODULE ARGUMENTS…')
  process.exit(2)
}
const { config } = await loadConfigFromFile({ command: 'build', mode: 'production' }, 'vite.config.ts')
const { module: loaded } = await runnerImport(module, { resolve: config.resolve, logLevel: 'warn' })
process.exitCode = await loaded.main(args)
