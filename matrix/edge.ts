// Rows of edge runtimes: they do not allow compiling WebAssembly from bytes, or have no WebAssembly.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { EdgeVM } from '@edge-runtime/vm';
import { Miniflare } from 'miniflare';
import { entriesOf, programOf } from './entries.js';
import { bundleFor } from './bundles.js';
import { start } from './node.js';
import { installed, minor, TIMEOUT, versionOf, type Report, type Row } from './row.js';

/** A few months before the workerd of matrix/package.json, which refuses a date after its own. */
const COMPATIBILITY_DATE = '2026-03-01';

export function edgeRows(folder: string): Row[] {
  const esbuild = `a bundle by esbuild ${minor(versionOf('esbuild'))}`;
  const clock = 'from outside, since its own clock stops';
  return [
    {
      runtime: 'workerd',
      version: versionOf('@cloudflare/workerd-linux-64'),
      loading: 'its own configuration, a module for each file',
      backend: 'wasm',
      clock: `${clock}; with the start of the process`,
      run: () => workerd(folder),
    },
    {
      runtime: 'workerd',
      version: versionOf('workerd'),
      loading: `${esbuild}, condition \`workerd\`, in miniflare ${minor(versionOf('miniflare'))}`,
      backend: 'wasm',
      clock: `${clock}; with the start of the process`,
      run: () => miniflare(folder, 'handler.mjs'),
    },
    {
      runtime: 'workerd',
      version: versionOf('workerd'),
      loading: `${esbuild}, \`twinstep/sync\`, condition \`workerd\`, in miniflare ${minor(versionOf('miniflare'))}`,
      backend: 'wasm',
      clock: `${clock}; with the start of the process`,
      run: () => miniflare(folder, 'handler-sync.mjs'),
    },
    {
      runtime: 'Edge Runtime',
      version: versionOf('@edge-runtime/vm'),
      loading: `${esbuild}, \`twinstep/sync\`, condition \`edge-light\`, given the compiled module`,
      backend: 'wasm',
      run: () => edgeVM(folder, ['edge-light'], programOf('sync')),
    },
    {
      runtime: 'Edge Runtime',
      version: versionOf('@edge-runtime/vm'),
      loading: `${esbuild}, \`twinstep/sync\`, without the condition: no compiling from bytes`,
      backend: 'reference',
      reason: 'Wasm code generation disallowed by embedder',
      run: () => edgeVM(folder, [], programOf('sync')),
    },
    {
      runtime: 'Edge Runtime',
      version: versionOf('@edge-runtime/vm'),
      loading: `${esbuild}, condition \`edge-light\`, given the compiled module`,
      backend: 'wasm',
      run: () => edgeVM(folder, ['edge-light'], programOf()),
    },
    {
      runtime: 'Edge Runtime',
      version: versionOf('@edge-runtime/vm'),
      loading: `${esbuild}, without the condition: no compiling from bytes`,
      backend: 'reference',
      reason: 'Wasm code generation disallowed by embedder',
      run: () => edgeVM(folder, [], programOf()),
    },
    {
      runtime: 'Node without WebAssembly',
      version: versionOf('node22'),
      loading: `${esbuild}, Fastly's condition \`fastly\``,
      backend: 'reference',
      reason: 'this build of twinstep has no WebAssembly',
      run: () => fastly(folder, programOf()),
    },
    {
      runtime: 'Node without WebAssembly',
      version: versionOf('node22'),
      loading: `${esbuild}, \`twinstep/sync\`, Fastly's condition \`fastly\``,
      backend: 'reference',
      reason: 'WebAssembly cannot be compiled here',
      run: () => fastly(folder, programOf('sync')),
    },
  ];
}

async function workerd(folder: string): Promise<Report> {
  const dist = 'node_modules/twinstep/dist';
  const { exports } = JSON.parse(await readFile(join(folder, 'node_modules/twinstep/package.json'), 'utf8'));
  const files = (await readdir(join(folder, dist))).filter((name) => name.endsWith('.js'));
  // An entry imports its chunks relative to its own name, which is twinstep or twinstep/NAME: list them under both.
  const chunks = ['', 'twinstep/'].flatMap((prefix) => [
    ...files.map((name) => [prefix + name, 'esModule', `${dist}/${name}`]),
    [`${prefix}core.wasm`, 'wasm', `${dist}/core.wasm`],
  ]);
  const modules = [
    ['handler.mjs', 'esModule', 'handler.mjs'],
    ['program.mjs', 'esModule', 'program.mjs'],
    ...entriesOf(exports, 'workerd').map(([name, path]) => [name, 'esModule', join('node_modules/twinstep', path)]),
    ...chunks,
  ].map(([name, type, path]) => `(name = "${name}", ${type} = embed "${path}")`);
  await writeFile(
    join(folder, 'workerd.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
    const config :Workerd.Config = (
      services = [(name = "main", worker = .worker)],
      sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
    );
    const worker :Workerd.Worker = (
      modules = [${modules.join(', ')}],
      compatibilityDate = "${COMPATIBILITY_DATE}",
    );`,
  );
  const started = performance.now();
  const child = spawn(
    installed('@cloudflare/workerd-linux-64/bin/workerd'),
    ['serve', 'workerd.capnp', '--control-fd=3'],
    { cwd: folder, stdio: ['ignore', 'inherit', 'inherit', 'pipe'], timeout: TIMEOUT },
  );
  const kill = (): boolean => child.kill();
  process.once('exit', kill);
  try {
    const address = `http://127.0.0.1:${await portOf(child)}`;
    return await timedFromOutside(started, async (path) => (await fetch(address + path)).json());
  } finally {
    kill();
    process.off('exit', kill);
  }
}

/** Returns the port. workerd writes it to the pipe of `--control-fd`, as a line of JSON. */
async function portOf(child: ChildProcess): Promise<number> {
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`workerd exited with ${code} before it listened.`);
  });
  const [line] = await Promise.race([once(child.stdio[3] as Readable, 'data'), failed]);
  return JSON.parse(String(line)).port;
}

async function timedFromOutside(started: number, get: (path: string) => Promise<unknown>): Promise<Report> {
  await get('/first');
  const coldStart = performance.now() - started;
  return { ...((await get('/')) as Report), coldStart };
}

async function miniflare(folder: string, handler: string): Promise<Report> {
  const out = join(folder, `miniflare-${handler}`);
  await bundleFor(['workerd'], { loader: { '.wasm': 'copy' } })(join(folder, handler), out);
  // The entry comes first.
  const names = (await readdir(out)).toSorted((a, b) => Number(b === 'program.js') - Number(a === 'program.js'));
  const modules = names.map((name) => ({
    type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule',
    path: join(out, name),
  }));
  const started = performance.now();
  const server = new Miniflare({ modules, modulesRoot: out, compatibilityDate: COMPATIBILITY_DATE });
  try {
    const signal = AbortSignal.timeout(TIMEOUT);
    const get = async (path: string): Promise<unknown> =>
      (await server.dispatchFetch(`http://worker${path}`, { signal })).json();
    return await timedFromOutside(started, get);
  } finally {
    await server.dispose();
  }
}

async function edgeVM(folder: string, conditions: readonly string[], program: string): Promise<Report> {
  const out = join(folder, `edge-vm-${conditions.join()}-${program}`);
  const options = { format: 'iife', globalName: 'program', splitting: false, plugins: [asNext] };
  await bundleFor(conditions, options)(join(folder, program), out);
  const code = await readFile(join(out, 'program.js'), 'utf8');
  const core = await WebAssembly.compile(await readFile(join(folder, 'node_modules/twinstep/dist/core.wasm')));
  const vm = new EdgeVM({
    // As in Vercel's edge. By default EdgeVM allows both.
    codeGeneration: { strings: false, wasm: false },
    extend: (context: object) => Object.assign(context, { core }),
  });
  return vm.evaluate(`const started = performance.now(); ${code}; program.train({}, started)`);
}

/** Loads `?module` as Next's bundler does: as a global with the compiled module. */
const asNext = {
  name: 'as-next',
  setup(build: any) {
    build.onResolve({ filter: /\.wasm\?module$/ }, () => ({ path: 'core', namespace: 'as-next' }));
    build.onLoad({ filter: /^core$/, namespace: 'as-next' }, () => ({ contents: 'export default globalThis.core;' }));
  },
};

async function fastly(folder: string, program: string): Promise<Report> {
  const out = `fastly-${program}`;
  await bundleFor(['fastly'])(join(folder, program), join(folder, out));
  const how = { program: `./${out}/program.js`, without: ['WebAssembly'] };
  return start(installed('node22/bin/node'), [], folder, how);
}
