import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { vulkanEnvironment } from './tools/vulkan.mjs';

// Set before the workers are forked, so that they find the Vulkan driver.
Object.assign(process.env, await vulkanEnvironment());

export default defineConfig({
  plugins: [
    {
      name: 'wgsl',
      transform: (code, id) => (id.endsWith('.wgsl') ? `export default ${JSON.stringify(code)};` : undefined),
    },
  ],
  resolve: {
    // Test the published files.
    alias: [
      { find: /^twinstep$/, replacement: fileURLToPath(new URL('dist/index.js', import.meta.url)) },
      { find: /^twinstep\/webgpu$/, replacement: fileURLToPath(new URL('dist/webgpu.js', import.meta.url)) },
      { find: /^twinstep\/sync$/, replacement: fileURLToPath(new URL('dist/sync.js', import.meta.url)) },
      { find: /^twinstep\/kernels$/, replacement: fileURLToPath(new URL('dist/kernels.js', import.meta.url)) },
      { find: /^twinstep\/schedules$/, replacement: fileURLToPath(new URL('dist/schedules.js', import.meta.url)) },
      { find: /^twinstep\/checkpoint$/, replacement: fileURLToPath(new URL('dist/checkpoint.js', import.meta.url)) },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // Let Node load dist/: vitest would load a module twice if another one imports it late. And the examples of pages
    // and comments.
    server: { deps: { external: [/\/dist\//, /\/build\/(docs|tags)\//] } },
    pool: 'forks',
    execArgv: ['--expose-gc'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
