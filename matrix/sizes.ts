// Measures the size of a bundle of `import { adamw }` from each entry that creates optimizers.

import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress } from 'node:zlib';
import { transform } from 'esbuild';
import { vulkanEnvironment } from '../tools/vulkan.mjs';
import { bundlers } from './bundles.js';
import { root } from './row.js';

/** Names of rules, algorithms and labels that `adamw` does not use. */
const UNUSED = [
  'schedulefree_',
  'ScheduleFree',
  'NAdam',
  'radam',
  'extrapolate',
  'slow_param',
  'revectorize',
  'twinstep scaler',
];

/**
 * In kB (1000 bytes), minified and compressed with brotli: `loaded` are the files loaded to create an optimizer and step,
 * including its kernels, and `all` all files. `unused` are names that the loaded files must not have.
 */
const ENTRIES: readonly Entry[] = [
  {
    name: 'twinstep',
    backend: 'wasm',
    call: 'await adamw',
    unused: UNUSED,
    budgets: { esbuild: { loaded: 20.3, all: 59.5 }, Rollup: { loaded: 20.3, all: 58.1 } },
  },
  {
    name: 'twinstep/sync',
    backend: 'wasm',
    call: 'adamw',
    unused: [...UNUSED, 'requestAdapter', 'SharedArrayBuffer'],
    budgets: { esbuild: { loaded: 22.1, all: 28.2 }, Rollup: { loaded: 21.7, all: 27.8 } },
  },
  {
    name: 'twinstep/webgpu',
    backend: 'webgpu',
    call: 'await adamw',
    unused: [...UNUSED, 'WebAssembly', 'Plain JavaScript', 'SharedArrayBuffer'],
    budgets: { esbuild: { loaded: 34.1, all: 43.5 }, Rollup: { loaded: 33.9, all: 41.5 } },
  },
];

interface Entry {
  readonly name: string;
  readonly backend: string;
  /** How a program creates an optimizer. */
  readonly call: string;
  readonly unused: readonly string[];
  readonly budgets: Readonly<Record<string, Sizes>>;
}

interface Sizes {
  readonly loaded: number;
  readonly all: number;
}

const programOf = ({ name, call, backend }: Entry): string => `
import { adamw } from '${name}';
const optimizer = ${call}({ w: new Float32Array(64).fill(1) });
optimizer.step({ w: new Float32Array(64).fill(1) });
if (optimizer.backend.name !== '${backend}' || optimizer.stepOf('w') !== 1) throw new Error(optimizer.backend.reason);
`;

export async function checkSizes(folder: string): Promise<string[]> {
  const problems: string[] = [];
  for (const entry of ENTRIES) problems.push(...(await checkEntry(folder, entry)));
  return problems;
}

async function checkEntry(folder: string, entry: Entry): Promise<string[]> {
  const problems: string[] = [];
  const label = entry.name.replace('/', '-');
  const program = join(folder, `${label}-adamw.mjs`);
  await writeFile(program, programOf(entry));
  for (const [bundler, budget] of Object.entries(entry.budgets)) {
    const out = join(folder, `size-${label}-${bundler}`);
    await bundlers[bundler](program, out);
    const files = await Promise.all((await readdir(out)).map((name) => measure(out, name)));
    const sum = (some: typeof files): number => some.reduce((total, { size }) => total + size, 0) / 1000;
    const names = await loadedBy(out, entry);
    const initial = files.filter(({ name }) => names.has(name));
    const sizes = { loaded: sum(initial), all: sum(files) };
    const step = `${initial.length} files, ${sizes.loaded.toFixed(2)} kB for a step`;
    console.log(`adamw of ${entry.name} by ${bundler}: ${step}, ${sizes.all.toFixed(2)} kB in all`);
    for (const part of ['loaded', 'all'] as const) {
      if (sizes[part] <= budget[part]) continue;
      const which = `a bundle of ${entry.name} by ${bundler} (${part})`;
      problems.push(`Expected ${which} of at most ${budget[part]} kB, got ${sizes[part]} kB.`);
    }
    // Ignore the names of files that are loaded late.
    const late = /(\w+:\(\)=>)?import\("[^"]*"\)/g;
    const code = initial.map((file) => file.code.replace(late, '')).join('\n');
    for (const name of entry.unused) {
      if (code.includes(name)) problems.push(`Expected no ${name} in a bundle of ${entry.name} by ${bundler}.`);
    }
  }
  // Bundlers may copy files that the code names.
  for (const bundler of Object.keys(bundlers)) {
    const out = join(folder, `files-${label}-${bundler}`);
    await bundlers[bundler](program, out);
    const others = (await readdir(out, { recursive: true })).filter((name) => /\.(?!js$)\w+$/.test(name));
    if (others.length > 0) problems.push(`Expected only JavaScript in a bundle by ${bundler} of adamw, got ${others}.`);
  }
  return problems;
}

async function measure(folder: string, name: string): Promise<{ name: string; code: string; size: number }> {
  const { code } = await transform(await readFile(join(folder, name), 'utf8'), { minify: true, format: 'esm' });
  return { name, code, size: (await promisify(brotliCompress)(code)).length };
}

/** Hooks of Node's loader that print the URL of each loaded file. */
const HOOKS = `
import { writeSync } from 'node:fs';
export function load(url, context, next) {
  writeSync(1, url + '\\n');
  return next(url, context);
}
`;

/** Returns a URL of a module with this code. */
const moduleOf = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;

/** Gives a process of Node a `navigator.gpu`. */
const GPU = `
import { create } from ${JSON.stringify(pathToFileURL(join(root, 'node_modules/webgpu/index.js')).href)};
// Keeps the object: Dawn's devices end with it.
globalThis.dawn = create([]);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: globalThis.dawn }, configurable: true });
`;

/** Runs the bundle in a folder. Returns the names of the files that it loads. */
async function loadedBy(folder: string, { backend }: Entry): Promise<ReadonlySet<string>> {
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const register = `import { register } from 'node:module'; register(${JSON.stringify(moduleOf(HOOKS))});`;
  const isOnGpu = backend === 'webgpu';
  const before = [moduleOf(register), ...(isOnGpu ? [moduleOf(GPU)] : [])].flatMap((each) => ['--import', each]);
  const env = isOnGpu ? { ...process.env, ...(await vulkanEnvironment()) } : process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [...before, join(folder, 'program.js')], { env });
  return new Set(stdout.split('\n').map((url) => basename(url)));
}
