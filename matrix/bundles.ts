// The bundlers, configured as their manuals say, without anything special for twinstep. All write program.js.

import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import { rollup } from 'rollup';
import { build as vite } from 'vite';
import webpack from 'webpack';

type Bundle = (entry: string, folder: string) => Promise<unknown>;

/** Returns esbuild with a runtime's conditions, which select the package's exports, and more options. */
export const bundleFor =
  (conditions: readonly string[], options: object = {}): Bundle =>
  (entry, folder) =>
    esbuild.build({ ...common(entry, folder), conditions, platform: 'neutral', ...options });

const common = (entry: string, folder: string): object => ({
  // Names of chunks contain a hash of paths too, so that without this the size would change from run to run.
  absWorkingDir: dirname(entry),
  entryPoints: { program: entry },
  outdir: folder,
  bundle: true,
  format: 'esm',
  splitting: true,
  minify: true,
  logLevel: 'silent',
});

export const bundlers: Readonly<Record<string, Bundle>> = {
  esbuild: (entry, folder) => esbuild.build(common(entry, folder)),
  async Rollup(entry, folder) {
    const bundle = await rollup({ input: { program: entry }, plugins: [nodeResolve({ browser: true })] });
    await bundle.write({ dir: folder, format: 'es' });
    await bundle.close();
  },
  Vite: (entry, folder) =>
    vite({
      configFile: false,
      logLevel: 'silent',
      root: dirname(entry),
      base: './',
      build: {
        outDir: folder,
        copyPublicDir: false,
        // Keep the exports: the page that loads the entry calls them.
        rolldownOptions: {
          input: entry,
          preserveEntrySignatures: 'strict',
          output: { entryFileNames: 'program.js' },
        },
      },
    }),
  async webpack(entry, folder) {
    const compiler = webpack({
      mode: 'production',
      entry,
      experiments: { outputModule: true },
      output: { path: folder, filename: 'program.js', library: { type: 'module' } },
    });
    const stats = await promisify(compiler.run.bind(compiler))();
    await promisify(compiler.close.bind(compiler))();
    if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString());
  },
};
