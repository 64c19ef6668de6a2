// dist/: an entry for each kind of runtime, what they share, and core.wasm.
// dist/schedules.js and dist/checkpoint.js.
// Rollup starts from what tsc wrote into build/src.

import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { main as asc } from 'assemblyscript/asc';
import { rollup } from 'rollup';

/** Compiles assembly/ and gives it as hex: a module of its own, so that an entry which loads the file can leave it out. */
const assemblyscript = {
  name: 'assemblyscript',
  resolveId: (source) => (source.endsWith('core.wasm?hex') ? resolve('dist/core.wasm') : null),
  async load(id) {
    if (!id.endsWith('.wasm')) return null;
    await mkdir('dist', { recursive: true });
    const { error, stderr } = await asc(
      // No allocation happens in kernels, so the stub runtime leaves the module with no import but its memory.
      ['assembly/index.ts', '-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', '--importMemory', '-o', id],
    );
    if (error) this.error(`${error.message}\n${stderr}`);
    return `export const hex = ${JSON.stringify(await readFile(id, 'hex'))};`;
  },
};

/** Gives WGSL source as a string, without comments and needless space. */
const wgsl = {
  name: 'wgsl',
  resolveId: (source) => (source.endsWith('.wgsl') ? resolve('wgsl', basename(source)) : null),
  async load(id) {
    if (!id.endsWith('.wgsl')) return null;
    const source = (await readFile(id, 'utf8'))
      .replace(/\/\/.*$/gm, '')
      .replace(/\s+/g, ' ')
      .replace(/ ?([{}()[\],;:=*]) ?/g, '$1')
      .trim();
    return `export default ${JSON.stringify(source)};`;
  },
};

/** Gives a file, and those that it imports, as the text of one script without comments, for a thread to run. */
const text = {
  name: 'text',
  resolveId(source, importer) {
    return source.endsWith('?text') ? resolve(dirname(importer), source) : null;
  },
  async load(id) {
    if (!id.endsWith('?text')) return null;
    const bundle = await rollup({ input: id.slice(0, -'?text'.length) });
    const { output } = await bundle.generate({ format: 'iife' });
    const code = output[0].code.replace(/^\s*(\/\/.*|\/\*\*[^]*?\*\/)$/gm, '').replace(/^\s+/gm, '');
    return `export default ${JSON.stringify(code)};`;
  },
};

/** Modules that more than one entry has, or that are loaded late. */
const shared = {
  body: 'build/src/index.js',
  webgpu: 'build/src/backends/webgpu/open.js',
  wgsl: 'build/src/backends/webgpu/shaders.js',
  reference: 'build/src/backends/cpu/reference.js',
  threads: 'build/src/backends/cpu/threads/open.js',
  calibration: 'build/src/backends/calibration.js',
  core: 'build/src/entries/hex.js',
  table: 'build/src/kernels/index.js',
};

export default [
  {
    input: {
      index: 'build/src/entries/default.js',
      workerd: 'build/src/entries/workerd.js',
      'edge-light': 'build/src/entries/edge-light.js',
      fastly: 'build/src/entries/fastly.js',
      kernels: 'build/src/entries/kernels.js',
      'kernels-workerd': 'build/src/entries/kernels-workerd.js',
      'kernels-edge-light': 'build/src/entries/kernels-edge-light.js',
      'kernels-fastly': 'build/src/entries/kernels-fastly.js',
    },
    // Beside the entry, and for the runtime to load.
    external: ['./core.wasm', './core.wasm?module'],
    output: {
      dir: 'dist',
      format: 'es',
      // Names that a reader knows.
      minifyInternalExports: false,
      chunkFileNames: '[name].js',
      manualChunks: (id) => Object.keys(shared).find((name) => id === resolve(shared[name])),
    },
    plugins: [assemblyscript, wgsl, text],
  },
  // These stand alone: what they share with the others is a page of text, and cheaper twice than as one more file.
  {
    input: 'build/src/schedules/index.js',
    output: { file: 'dist/schedules.js', format: 'es' },
  },
  {
    input: 'build/src/checkpoint/index.js',
    output: { file: 'dist/checkpoint.js', format: 'es' },
  },
];
