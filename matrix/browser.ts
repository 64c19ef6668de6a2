// Rows of Chromium: the package by each bundler, unbundled, under a strict policy, with threads, and on WebGPU.

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import sirv from 'sirv';
import { entriesOf, programOf } from './entries.js';
import { bundlers } from './bundles.js';
import { launch } from './chromium.js';
import { checkPrograms } from './docs.js';
import { minor, TIMEOUT, versionOf, type Report, type Row } from './row.js';

/** Lacks 'wasm-unsafe-eval', which WebAssembly needs. */
const POLICY = "default-src 'none'; script-src 'self'";

const bundledBy = (name: string): string => `a bundle by ${name} ${minor(versionOf(name.toLowerCase()))}`;

const page = (head = ''): string =>
  `<!doctype html><link rel="icon" href="data:,">${head}<script type="module" src="page.mjs"></script>`;

/** Returns the rows, the check of the pages of docs/, and `close`, which stops the browser and the server. */
export async function browserRows(
  folder: string,
): Promise<{ rows: Row[]; checkPrograms(): Promise<string[]>; close(): Promise<void> }> {
  const { exports } = JSON.parse(await readFile(join(folder, 'node_modules/twinstep/package.json'), 'utf8'));
  const imports = Object.fromEntries(
    entriesOf(exports).map(([name, path]) => [name, `./${join('node_modules/twinstep', path)}`]),
  );
  await writeFile(join(folder, 'page.html'), page());
  await writeFile(join(folder, 'plain.html'), page(`<script type="importmap">${JSON.stringify({ imports })}</script>`));
  const server = await serve(folder);
  const address = `http://localhost:${(server.address() as AddressInfo).port}`;
  const browser = await launch();

  const open = async (path: string): Promise<Report> => {
    const context = await browser.newContext();
    const timer = setTimeout(() => context.close(), TIMEOUT);
    try {
      const tab = await context.newPage();
      await tab.goto(`${address}/${path}`);
      return await tab.evaluate('globalThis.report');
    } finally {
      clearTimeout(timer);
      await context.close();
    }
  };
  const row = (loading: string, backend: Row['backend'], run: () => Promise<Report>, reason?: string): Row => ({
    runtime: 'Chromium',
    version: browser.version(),
    loading,
    backend,
    reason,
    run,
  });

  const rows = Object.entries(bundlers).map(([name, bundle]) =>
    row(bundledBy(name), 'wasm', async () => {
      await bundle(join(folder, 'program.mjs'), join(folder, name));
      return open(`page.html?program=./${name}/program.js`);
    }),
  );
  const bundled = 'program=./esbuild/program.js';
  rows.push(
    row('`<script type="module">`, unbundled files', 'wasm', () => open('plain.html?program=./program.mjs')),
    row('`<script type="module">`, `dist/min`, no import map', 'wasm', async () => {
      await writeFile(join(folder, 'min.mjs'), withPaths(await readFile(join(folder, 'program.mjs'), 'utf8')));
      return open('page.html?program=./min.mjs');
    }),
    row(
      `${bundledBy('esbuild')}, under a policy without \`'wasm-unsafe-eval'\``,
      'reference',
      () => open(`strict/page.html?${bundled}`),
      'Content Security Policy',
    ),
    row(
      `${bundledBy('esbuild')}, \`threads: 2\`, cross-origin isolated`,
      'wasm',
      () => open(`isolated/page.html?${bundled}&threads=2`),
      'WebAssembly SIMD on 2 threads',
    ),
    row(
      `${bundledBy('esbuild')}, \`threads: 2\`, not isolated`,
      'wasm',
      () => open(`page.html?${bundled}&threads=2`),
      'One thread, not 2: there is no SharedArrayBuffer',
    ),
    row(`${bundledBy('esbuild')}, \`backend: 'webgpu'\``, 'webgpu', () => open(`page.html?${bundled}&backend=webgpu`)),
  );
  for (const [entry, backend] of [
    ['sync', 'wasm'],
    ['webgpu', 'webgpu'],
  ] as const) {
    for (const [name, bundle] of Object.entries(bundlers)) {
      const out = `${name}-${entry}`;
      const run = async (): Promise<Report> => {
        await bundle(join(folder, programOf(entry)), join(folder, out));
        return open(`page.html?program=./${out}/program.js`);
      };
      rows.push(row(`${bundledBy(name)}, \`twinstep/${entry}\``, backend, run));
    }
    const files = `\`<script type="module">\`, unbundled files, \`twinstep/${entry}\``;
    rows.push(row(files, backend, () => open(`plain.html?program=./${programOf(entry)}`)));
  }
  rows.push(
    row(
      `${bundledBy('esbuild')}, \`twinstep/sync\`, under a policy without \`'wasm-unsafe-eval'\``,
      'reference',
      () => open('strict/page.html?program=./esbuild-sync/program.js'),
      'Content Security Policy',
    ),
  );
  const close = async (): Promise<void> => {
    await browser.close();
    server.close();
  };
  return { rows, checkPrograms: () => checkPrograms(folder, browser, address), close };
}

/** Returns a program that imports the files of the package by path: the minified ones, and kernels.js. */
const withPaths = (program: string): string =>
  program
    .replace("'twinstep'", "'./node_modules/twinstep/dist/min/twinstep.js'")
    .replace("'twinstep/kernels'", "'./node_modules/twinstep/dist/kernels.js'")
    .replace(/'twinstep\/(schedules|checkpoint)'/g, "'./node_modules/twinstep/dist/min/$1.js'");

/** The same files are also served under these prefixes, with these headers. */
const headers: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '/strict/': { 'Content-Security-Policy': POLICY },
  '/isolated/': { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
};

async function serve(folder: string): Promise<Server> {
  const files = sirv(folder, { dev: true });
  const server = createServer((request, response) => {
    const prefix = Object.keys(headers).find((each) => request.url!.startsWith(each));
    if (prefix !== undefined) {
      request.url = request.url!.slice(prefix.length - 1);
      for (const [name, value] of Object.entries(headers[prefix])) response.setHeader(name, value);
    }
    files(request, response);
  }).listen(0, 'localhost');
  await once(server, 'listening');
  return server;
}
