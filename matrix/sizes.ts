// Measures the size of a bundle of `import { adamw } from 'twinstep'`.

import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress } from 'node:zlib';
import { transform } from 'esbuild';
import { bundlers } from './bundles.js';

/**
 * In kB (1000 bytes), minified and compressed with brotli: the files loaded to create an optimizer and step on the CPU,
 * including the kernel, and all files.
 */
const BUDGETS: Readonly<Record<string, { readonly cpu: number; readonly all: number }>> = {
  esbuild: { cpu: 15.8, all: 44 },
  Rollup: { cpu: 15.8, all: 43.3 },
};

/** Names of rules and algorithms that `adamw` does not use. The late chunks with all shaders are not searched. */
const UNUSED = ['schedulefree_', 'ScheduleFree', 'NAdam', 'radam', 'extrapolate', 'slow_param', 'revectorize'];

const PROGRAM = `
import { adamw } from 'twinstep';
const optimizer = await adamw({ w: new Float32Array(64).fill(1) });
optimizer.step({ w: new Float32Array(64).fill(1) });
if (optimizer.backend.name !== 'wasm' || optimizer.stepOf('w') !== 1) throw new Error(optimizer.backend.reason);
`;

export async function checkSizes(folder: string): Promise<string[]> {
  const problems: string[] = [];
  await writeFile(join(folder, 'adamw.mjs'), PROGRAM);
  for (const [bundler, budget] of Object.entries(BUDGETS)) {
    const out = join(folder, `size-${bundler}`);
    await bundlers[bundler](join(folder, 'adamw.mjs'), out);
    const files = await Promise.all((await readdir(out)).map((name) => measure(out, name)));
    const sum = (some: typeof files): number => some.reduce((total, { size }) => total + size, 0) / 1000;
    const loaded = await loadedBy(out);
    const initial = files.filter(({ name }) => loaded.has(name));
    const sizes = { cpu: sum(initial), all: sum(files) };
    const step = `${initial.length} files, ${sizes.cpu.toFixed(2)} kB for a step on the CPU`;
    console.log(`adamw by ${bundler}: ${step}, ${sizes.all.toFixed(2)} kB in all`);
    for (const part of ['cpu', 'all'] as const) {
      if (sizes[part] <= budget[part]) continue;
      problems.push(`Expected a bundle by ${bundler} (${part}) of at most ${budget[part]} kB, got ${sizes[part]} kB.`);
    }
    // Ignore the names of files that are loaded late.
    const late = /\w+:\(\)=>import\("[^"]*"\)/g;
    const code = initial.map((file) => file.code.replace(late, '')).join('\n');
    for (const name of UNUSED) {
      if (code.includes(name)) problems.push(`Expected no ${name} in a bundle by ${bundler} of adamw alone.`);
    }
  }
  // Bundlers may copy files that the code names.
  for (const bundler of Object.keys(bundlers)) {
    const out = join(folder, `files-${bundler}`);
    await bundlers[bundler](join(folder, 'adamw.mjs'), out);
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

/** Runs the bundle in a folder. Returns the names of the files that it loads. */
async function loadedBy(folder: string): Promise<ReadonlySet<string>> {
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const register = `import { register } from 'node:module'; register(${JSON.stringify(moduleOf(HOOKS))});`;
  const args = ['--import', moduleOf(register), join(folder, 'program.js')];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return new Set(stdout.split('\n').map((url) => basename(url)));
}
