// What the package adds to a bundle of `import { adamw } from 'twinstep'`.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress } from 'node:zlib';
import { transform } from 'esbuild';
import { bundlers } from './bundles.js';

/** kB (1000 bytes), minified and compressed with brotli: what is imported at first, without the kernel that an optimizer loads when it is made, and all
 * files. */
const BUDGETS: Readonly<Record<string, { readonly cpu: number; readonly all: number }>> = {
  esbuild: { cpu: 17.2, all: 41.9 },
  Rollup: { cpu: 17.2, all: 41.9 },
};

/** Words of rules and algorithms that `adamw` is no part of. The shaders, loaded late, are there by name, all of them. */
const UNUSED = ['schedulefree_', 'ScheduleFree', 'NAdam', 'radam', 'extrapolate', 'slow_param'];

export async function checkSizes(folder: string): Promise<string[]> {
  const problems: string[] = [];
  await writeFile(join(folder, 'adamw.mjs'), "export { adamw } from 'twinstep';\n");
  for (const [bundler, budget] of Object.entries(BUDGETS)) {
    const out = join(folder, `size-${bundler}`);
    await bundlers[bundler](join(folder, 'adamw.mjs'), out);
    const files = await Promise.all((await readdir(out)).map((name) => measure(out, name)));
    const sum = (some: typeof files): number => some.reduce((total, { size }) => total + size, 0) / 1000;
    const atFirst = loadedWith('program.js', files);
    const initial = files.filter(({ name }) => atFirst.has(name));
    const sizes = { cpu: sum(initial), all: sum(files) };
    console.log(`adamw by ${bundler}: ${sizes.cpu.toFixed(2)} kB, with WebGPU and threads ${sizes.all.toFixed(2)} kB`);
    for (const part of ['cpu', 'all'] as const) {
      if (sizes[part] <= budget[part]) continue;
      problems.push(`Expected a bundle by ${bundler} (${part}) of at most ${budget[part]} kB, got ${sizes[part]} kB.`);
    }
    // The names of files that are loaded late are no words of the code.
    const late = /\w+:\(\)=>import\("[^"]*"\)/g;
    const code = initial.map((file) => file.code.replace(late, '')).join('\n');
    for (const name of UNUSED) {
      if (code.includes(name)) problems.push(`Expected no ${name} in a bundle by ${bundler} of adamw alone.`);
    }
  }
  return problems;
}

async function measure(folder: string, name: string): Promise<{ name: string; code: string; size: number }> {
  const { code } = await transform(await readFile(join(folder, name), 'utf8'), { minify: true, format: 'esm' });
  return { name, code, size: (await promisify(brotliCompress)(code)).length };
}

/** A file, and those that it imports before it runs. */
function loadedWith(
  name: string,
  files: readonly { name: string; code: string }[],
  loaded: Set<string> = new Set(),
): Set<string> {
  if (loaded.has(name)) return loaded;
  loaded.add(name);
  const { code } = files.find((file) => file.name === name)!;
  // Minified: `from"./chunk.js"` and `import"./chunk.js"`, but not `import("./chunk.js")`.
  for (const [, next] of code.matchAll(/(?:from|import)"\.\/([^"]+)"/g)) loadedWith(next, files, loaded);
  return loaded;
}
