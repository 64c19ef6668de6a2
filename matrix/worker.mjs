// Tests examples/worker in workerd, as deployed: bundled by esbuild with the published package, with miniflare's
// Durable Objects. To run it alone: `node matrix/worker.mjs`, after `npm run build`. `--package` is a folder where
// twinstep is installed, `--tools` one where esbuild and miniflare are.

import { readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { checks, SECRET } from './worker/checks.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '..');
const example = join(root, 'examples/worker');

/**
 * Runs all checks. Throws at the first failure. Returns the measurements. `packageFolder` is where twinstep is
 * installed, by default this repository; `toolsFolder` is where esbuild and miniflare are.
 */
export async function testWorker({ packageFolder = root, toolsFolder = here, log = console.log } = {}) {
  const require = createRequire(join(toolsFolder, 'package.json'));
  const esbuild = require('esbuild');
  const { Miniflare } = require('miniflare');
  const folder = await mkdtemp(join(tmpdir(), 'twinstep-worker-'));
  const running = new Set();
  try {
    const { sizes, modules } = await bundle(esbuild, packageFolder, folder);
    const start = async () => {
      let logged = '';
      const before = performance.now();
      const miniflare = new Miniflare({
        modules,
        modulesRoot: folder,
        compatibilityDate: compatibilityDate(),
        bindings: { SECRET },
        durableObjects: { MODELS: { className: 'UserModel', useSQLite: true } },
        durableObjectsPersist: join(folder, 'models'),
        handleRuntimeStdio: (_, stderr) => stderr.on('data', (chunk) => (logged += chunk)),
      });
      running.add(miniflare);
      const url = await miniflare.ready;
      const stop = async () => {
        running.delete(miniflare);
        await miniflare.dispose();
      };
      const ask = (path, init) => fetch(new URL(path, url), init);
      const milliseconds = performance.now() - before;
      const models = await miniflare.getDurableObjectNamespace('MODELS');
      /** Reads what is stored, through the backdoor of `tested`. `init` is a request that changes it. */
      const stored = async (user, init) => (await models.getByName(user).fetch('https://backdoor/', init)).json();
      return { url, fetch: ask, stop, milliseconds, stored, logged: () => logged };
    };

    // Load the example in Node too, with the package's entry for Node.
    await bundleForNode(esbuild, packageFolder, folder);
    const parts = await import(pathToFileURL(join(folder, 'parts.mjs')).href);
    const measured = { ...sizes };
    for (const [name, check] of Object.entries(checks)) {
      Object.assign(measured, await check({ start, parts, example }));
      log(`ok  ${name}`);
    }
    for (const [name, value] of Object.entries(measured)) log(`    ${name}: ${value}`);
    return measured;
  } finally {
    await Promise.all(Array.from(running, (miniflare) => miniflare.dispose()));
    await rm(folder, { recursive: true });
  }
}

/** Bundles the Worker as deployed, to measure it, and as tested: each is a JavaScript module and the kernels. */
async function bundle(esbuild, packageFolder, folder) {
  const options = {
    bundle: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker', 'browser'],
    loader: { '.wasm': 'copy' },
    plugins: [packageIn(packageFolder)],
    metafile: true,
    outdir: folder,
    logLevel: 'warning',
  };
  const { metafile } = await esbuild.build({ ...options, stdin: { contents: tested, resolveDir: example } });
  const inputs = Object.keys(metafile.inputs).filter((path) => path.includes('dist/'));
  const has = (name) => inputs.some((path) => path.endsWith(`dist/${name}`));
  if (!has('workerd.js') || !has('core.wasm') || has('index.js') || has('wasm-adam.js')) {
    throw new Error(`Expected the entry for workerd and its core.wasm to be bundled, got ${inputs.join(', ')}.`);
  }
  const files = Object.keys(metafile.outputs).map((path) => resolve(path));
  const script = files.find((path) => path.endsWith('.js'));
  const kernels = files.find((path) => path.endsWith('.wasm'));
  const shipped = { ...options, entryPoints: [join(example, 'worker.ts')], write: false };
  const [plain, minified] = await Promise.all(
    [false, true].map(async (minify) => {
      const { outputFiles } = await esbuild.build({ ...shipped, minify });
      return outputFiles.find(({ path }) => path.endsWith('.js')).contents;
    }),
  );
  const sizes = {
    'bundle, bytes': plain.length,
    'bundle minified, bytes': minified.length,
    'bundle minified and gzipped, bytes': gzipSync(minified).length,
    'core.wasm, bytes': statSync(kernels).size,
  };
  const modules = [
    { type: 'ESModule', path: script },
    { type: 'CompiledWasm', path: kernels },
  ];
  return { sizes, modules };
}

/** The Worker with a backdoor, by which the checks read and change what an object stores. */
const tested = `import { UserModel as Shipped } from './worker.ts';
  export { default } from './worker.ts';
  export class UserModel extends Shipped {
    constructor(state) {
      super(state);
      this.storage = state.storage;
    }
    async fetch(request) {
      if (request.url !== 'https://backdoor/') return super.fetch(request);
      if (request.method === 'PUT') {
        const { bytes, sha256 } = await request.json();
        await this.storage.put('clicks-1', { bytes: Uint8Array.from(bytes), sha256 });
      }
      if (request.method === 'POST') await this.alarm();
      const { bytes, sha256 } = (await this.storage.get('clicks-1')) ?? {};
      return Response.json({ bytes: bytes && [...bytes], sha256, alarm: await this.storage.getAlarm() });
    }
  }`;

/** Bundles the example's functions, and those of the package that the checks need, for Node. */
function bundleForNode(esbuild, packageFolder, folder) {
  return esbuild.build({
    stdin: {
      contents: `export { default as worker, UserModel } from './worker.ts';
        export * from './model.ts';
        export * from './features.ts';
        export { saveCheckpoint } from 'twinstep/checkpoint';
        export { adam } from 'twinstep';`,
      resolveDir: example,
    },
    bundle: true,
    format: 'esm',
    platform: 'node',
    plugins: [packageIn(packageFolder)],
    outfile: join(folder, 'parts.mjs'),
    logLevel: 'warning',
  });
}

/** Resolves twinstep to the package installed in a folder, for any importing file. */
const packageIn = (packageFolder) => ({
  name: 'package',
  setup(build) {
    build.onResolve({ filter: /^twinstep($|\/)/ }, ({ path, kind, pluginData }) =>
      pluginData === packageIn
        ? undefined
        : build.resolve(path, { kind, resolveDir: packageFolder, pluginData: packageIn }),
    );
  },
});

/** Returns the date in the example's configuration. */
const compatibilityDate = () =>
  /^compatibility_date = "(.+)"$/m.exec(readFileSync(join(example, 'wrangler.toml'), 'utf8'))[1];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folderOf = { type: 'string' };
  const { values } = parseArgs({ options: { package: folderOf, tools: folderOf } });
  await testWorker({ packageFolder: values.package, toolsFolder: values.tools });
}
