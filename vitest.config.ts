import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { vulkanEnvironment } from './tools/vulkan.mjs';

// The workers are forked after this, and so find the Vulkan driver.
Object.assign(process.env, await vulkanEnvironment());

export default defineConfig({
  resolve: {
    // What ships is what is tested.
    alias: [
      { find: /^twinstep$/, replacement: fileURLToPath(new URL('dist/index.js', import.meta.url)) },
      { find: /^twinstep\/kernels$/, replacement: fileURLToPath(new URL('dist/kernels.js', import.meta.url)) },
      { find: /^twinstep\/schedules$/, replacement: fileURLToPath(new URL('dist/schedules.js', import.meta.url)) },
      { find: /^twinstep\/checkpoint$/, replacement: fileURLToPath(new URL('dist/checkpoint.js', import.meta.url)) },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // Node itself loads it: through vitest a module that another one loads late would be there twice.
    server: { deps: { external: [/\/dist\//] } },
    pool: 'forks',
    execArgv: ['--expose-gc'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
