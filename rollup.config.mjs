// Builds dist/ from build/src, which tsc writes: an entry for each kind of runtime, the chunks that they share,
// core.wasm, schedules.js and checkpoint.js. Then minifies for pages without a bundler, into dist/min.

import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { main as asc } from 'assemblyscript/asc';
import { minify } from 'rolldown/utils';
import { rollup } from 'rollup';

const assembly = resolve('assembly');
/** The files of assembly/ with kernels. */
const kernelFiles = Array.from(
  readFileSync('assembly/index.ts', 'utf8').matchAll(/from '\.\/(\w+)'/g),
  ([, file]) => file,
);

/** Compiles assembly/: all kernels into dist/core.wasm, and each file into a module as hex. */
const assemblyscript = {
  name: 'assemblyscript',
  async buildStart() {
    await mkdir('dist', { recursive: true });
    await mkdir('build/kernels', { recursive: true });
    await compile.call(this, 'index', 'dist/core.wasm');
    for (const file of kernelFiles) await compile.call(this, file, `build/kernels/${file}.wasm`);
  },
  resolveId(source) {
    const [, file] = /\bassembly((?:\/\w+)?\?(?:late|hex))$/.exec(source) ?? [];
    return file === undefined ? null : `${assembly}${file}`;
  },
  async load(id) {
    if (!id.startsWith(assembly)) return null;
    const path = (file) => JSON.stringify(`${assembly}/${file}?hex`);
    if (id.endsWith('assembly?late')) {
      const code = `export const hex = { ${kernelFiles.map((file) => `${file}: () => import(${path(file)})`)} };`;
      return { code, map: unmapped };
    }
    if (id.endsWith('assembly?hex')) {
      const imports = kernelFiles.map((file) => `import { hex as ${file} } from ${path(file)};`);
      return { code: `${imports.join('')} export const hex = { ${kernelFiles} };`, map: unmapped };
    }
    const hex = await readFile(`build/kernels/${kernelFileOf(id)}.wasm`, 'hex');
    return { code: `export const hex = ${JSON.stringify(hex)};`, map: unmapped };
  },
};

const kernelFileOf = (id) => id.slice(assembly.length + 1, -'?hex'.length);

async function compile(file, out) {
  const { error, stderr } = await asc(
    // Kernels do not allocate, so with the stub runtime the module imports only its memory.
    [`assembly/${file}.ts`, '-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', '--importMemory', '-o', out],
  );
  if (error) this.error(`${error.message}\n${stderr}`);
}

/** Of a module whose code is not in src/: none of its lines is mapped. */
const unmapped = { mappings: '' };

/** Loads JavaScript with its source map. */
const maps = {
  name: 'maps',
  async load(id) {
    if (!id.endsWith('.js')) return null;
    const [code, map] = await Promise.all([id, `${id}.map`].map((path) => readFile(path, 'utf8')));
    return { code, map };
  },
};

const minified = {
  name: 'minified',
  async renderChunk(code, { fileName }) {
    const result = await minify(fileName, code, { module: true, sourcemap: true });
    if (result.errors.length > 0) this.error(String(result.errors[0].message));
    return { code: result.code, map: result.map };
  },
};

/** Loads WGSL source as a string, without comments and unnecessary spaces. */
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
    return { code: `export default ${JSON.stringify(source)};`, map: unmapped };
  },
};

/** Loads a file and its imports as the text of one script, without comments, for a thread to run. */
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
    return { code: `export default ${JSON.stringify(code)};`, map: unmapped };
  },
};

/**
 * The files of dist/ besides entries and kernels, and which files of src/ they have: the first match wins. A bundler loads
 * a shared file whole, so each use has a file of its own. The shader of a rule has one, too.
 */
const chunks = {
  'lookahead-state': /^src\/averages\/lookahead-state/,
  shapes: /^src\/inputs\/shapes/,
  averages: /^src\/averages/,
  calibration: /^src\/backends\/calibration/,
  f32: /^src\/math\/f32/,
  extrapolate: /^src\/rules\/extrapolate/,
  reference: /^src\/(backends\/cpu\/reference|rules\/(?!scalars|table|rule\.))/,
  threads: /^src\/backends\/cpu\/threads/,
  wide: /^src\/backends\/cpu\/wide/,
  node: /^src\/backends\/cpu\/(node|shared)/,
  scaler: /^src\/(step\/scaler[.-]|inputs\/scaler)/,
  // A scaler needs it at once, and steps on the CPU without one do not.
  'gpu-buffers': /^src\/backends\/webgpu\/buffers/,
  'gpu-memory': /^src\/backends\/webgpu\/locate/,
  'webgpu-all': /^src\/backends\/webgpu\/open-all/,
  'rule-shaders': /^src\/backends\/webgpu\/rule-shaders/,
  wgsl: /wgsl\/(prelude|scalar|vec4)|^src\/backends\/webgpu\/shaders/,
  'webgpu-backend': /\.wgsl$|^src\/backends\/webgpu/,
  'kernels-shared': /^src\/kernels/,
  'sync-shared': /^src\/(sync|backends\/cpu\/now)\./,
  state: /^src\/(algorithms\/schedule-state|state\/(?!dict|lazy|save\.))/,
  edge: /^src\/entries\/edge\.js/,
  'index-shared': /^src\/index/,
  body: /^src\/(?!entries|webgpu)/,
};

const built = resolve('build');
function chunkOf(id) {
  const file = /assembly\/(\w+)\?hex$/.exec(id)?.[1];
  if (file !== undefined) return `wasm-${file}`;
  const rule = /(\w+)\.wgsl$/.exec(id)?.[1];
  if (rule !== undefined && existsSync(`src/rules/${rule}.ts`)) return `wgsl-${rule}`;
  const path = id.replace(`${built}/`, '');
  return Object.keys(chunks).find((name) => chunks[name].test(path));
}

/** The package has src/ for debuggers: source maps do not repeat it. */
const mapped = { sourcemap: true, sourcemapExcludeSources: true };

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
      webgpu: 'build/src/entries/webgpu.js',
      sync: 'build/src/entries/sync.js',
      'sync-workerd': 'build/src/entries/sync-workerd.js',
      'sync-edge-light': 'build/src/entries/sync-edge-light.js',
      'sync-fastly': 'build/src/entries/sync-fastly.js',
    },
    // The runtime loads these from the entry's folder.
    external: ['./core.wasm', './core.wasm?module'],
    output: {
      dir: 'dist',
      format: 'es',
      // Keep readable names.
      minifyInternalExports: false,
      chunkFileNames: '[name].js',
      manualChunks: chunkOf,
      onlyExplicitManualChunks: true,
      // What is loaded late would be imported at once.
      hoistTransitiveImports: false,
      ...mapped,
    },
    plugins: [assemblyscript, wgsl, text, maps],
  },
  // These share little code with the entries: a second copy costs less than another file.
  ...['schedules', 'checkpoint'].map((name) => ({
    input: `build/src/${name}/index.js`,
    output: { file: `dist/${name}.js`, format: 'es', ...mapped },
    plugins: [maps],
  })),
  {
    input: {
      twinstep: 'dist/index.js',
      schedules: 'dist/schedules.js',
      checkpoint: 'dist/checkpoint.js',
    },
    // One file has all that the first step on the CPU needs, except the kernel: late chunks import from it.
    preserveEntrySignatures: 'allow-extension',
    output: {
      dir: 'dist/min',
      format: 'es',
      chunkFileNames: '[name].js',
      hoistTransitiveImports: false,
      ...mapped,
    },
    plugins: [maps, minified],
  },
];
