// Rows of Node, Deno and Bun.

import { programOf } from './entries.js';
import { installed, output, versionOf, type Report, type Row } from './row.js';

const runtimes = [
  ...['node20', 'node22', 'node24', 'node26'].map((name) => ({
    runtime: 'Node',
    from: name,
    file: 'bin/node',
    args: [] as string[],
  })),
  { runtime: 'Deno', from: '@deno/linux-x64-glibc', file: 'deno', args: ['run', '--cached-only', '--allow-read'] },
  { runtime: 'Bun', from: '@oven/bun-linux-x64', file: 'bin/bun', args: ['--no-install'] },
];

/** Versions whose V8 can widen the kernels. */
const WIDE = new Set(['node24', 'node26']);

/** Runs a copy of matrix/start.mjs in the program's folder. */
export async function start(command: string, args: readonly string[], folder: string, how: object): Promise<Report> {
  return JSON.parse(await output(command, [...args, 'start.mjs', JSON.stringify(how)], folder));
}

export function nodeRows(folder: string): Row[] {
  const program = `./${programOf()}`;
  const loading = '`import` from node_modules';
  const rows: Row[] = runtimes.map(({ runtime, from, file, args }) => ({
    runtime,
    version: versionOf(from),
    loading,
    backend: 'wasm',
    run: () => start(installed(`${from}/${file}`), args, folder, { program }),
  }));
  for (const { runtime, from, file, args } of runtimes) {
    const add = (how: string, what: object, reason: string): void => {
      const run = () => start(installed(`${from}/${file}`), args, folder, { program, ...what });
      rows.push({ runtime, version: versionOf(from), loading: `${loading}, ${how}`, backend: 'wasm', reason, run });
    };
    add('`twinstep/sync`', { program: `./${programOf('sync')}` }, 'WebAssembly SIMD, ');
    add('`threads: 2`', { options: { threads: 2 } }, 'WebAssembly SIMD on 2 threads');
    if (!WIDE.has(from)) continue;
    add('wide SIMD', { wide: true }, 'WebAssembly SIMD, ');
    add('wide SIMD, `threads: 2`', { wide: true, options: { threads: 2 } }, 'WebAssembly SIMD on 2 threads');
  }
  const deno = runtimes.find(({ runtime }) => runtime === 'Deno')!;
  for (const [how, what] of [
    ["`backend: 'webgpu'`", { program, options: { backend: 'webgpu' } }],
    ['`twinstep/webgpu`', { program: `./${programOf('webgpu')}` }],
  ] as const) {
    rows.push({
      runtime: 'Deno',
      version: versionOf(deno.from),
      loading: `${loading}, ${how}`,
      backend: 'webgpu',
      mayLack: 'navigator.gpu has no adapter',
      run: () => start(installed(`${deno.from}/${deno.file}`), deno.args, folder, what),
    });
  }
  return rows;
}

/** The output of test/support/allocations.mjs. */
type Allocated = Record<string, { bytes: number; below: number }>;

/** Measures how many bytes of heap a step allocates, by backend and way of passing gradients, in each Node. */
export async function allocations(folder: string): Promise<{ version: string; allocated: Allocated }[]> {
  const rows = [];
  for (const { runtime, from, file } of runtimes) {
    if (runtime !== 'Node') continue;
    const args = ['--expose-gc', '--min-semi-space-size=512', '--max-semi-space-size=512', 'allocations.mjs'];
    const allocated = JSON.parse(await output(installed(`${from}/${file}`), args, folder));
    rows.push({ version: versionOf(from), allocated });
  }
  return rows;
}
