// The run: packs, installs, runs the rows and the checks, and prints what came out.

import { rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { browserRows } from './browser.js';
import { edgeRows } from './edge.js';
import { judge } from './judge.js';
import { allocations, nodeRows } from './node.js';
import { checkPackage } from './package.js';
import { here, output, root, type Row } from './row.js';
import { checkSizes } from './sizes.js';
import { checkReadme, printTable, type Result } from './table.js';

/** Runs all of it, and gives what is wrong, in sentences. */
export async function runMatrix(write: boolean): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'twinstep-matrix-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const tarball = await install(folder);
  const results: Result[] = [];
  const runAll = async (rows: readonly Row[]): Promise<void> => {
    for (const row of rows) results.push(await runRow(row));
  };
  await runAll([...nodeRows(folder), ...edgeRows(folder)]);
  const trouble = await attempt(async () => {
    const { rows, close } = await browserRows(folder);
    await runAll(rows).finally(close);
    return [];
  });
  printTable(results);
  return [
    ...results.flatMap(({ problems }) => problems),
    ...trouble,
    ...(await attempt(() => checkWorker(folder))),
    ...(await attempt(() => checkAllocations(folder))),
    ...(await attempt(() => checkPackage(tarball, folder))),
    ...(await attempt(() => checkSizes(folder))),
    ...(await attempt(() => checkReadme(results, write))),
  ];
}

/** A check that cannot be made is one more problem, and no end of the others. */
async function attempt(check: () => Promise<string[]>): Promise<string[]> {
  try {
    return await check();
  } catch (error) {
    return [told(error)];
  }
}

const told = (error: unknown): string => (error instanceof Error ? error.stack! : String(error));

/** Installs the tarball into an empty folder, the programs beside it. */
async function install(folder: string): Promise<string> {
  await output('npm', ['pack', '--pack-destination', folder], root);
  const tarball = join(
    folder,
    (await readdir(folder)).find((name) => name.endsWith('.tgz'))!,
  );
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  await output('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball], folder);
  for (const name of ['program.mjs', 'start.mjs', 'page.mjs', 'handler.mjs'])
    await cp(join(here, name), join(folder, name));
  await cp(join(root, 'test/support/allocations.mjs'), join(folder, 'allocations.mjs'));
  return tarball;
}

async function runRow(row: Row): Promise<Result> {
  const title = `${row.runtime} ${row.version}, ${row.loading}`;
  try {
    const report = await row.run();
    return { row, report, problems: judge(row, report).map((problem) => `${title}: ${problem}`) };
  } catch (error) {
    if (row.mayLack !== undefined && String(error).includes(row.mayLack)) return { row, problems: [] };
    return { row, problems: [`${title}: ${told(error)}`] };
  }
}

/** examples/worker, over the package as installed; it throws at the first thing that is wrong. */
async function checkWorker(folder: string): Promise<string[]> {
  const { testWorker } = await import(pathToFileURL(join(here, 'worker.mjs')).href);
  await testWorker({ packageFolder: folder, toolsFolder: here });
  return [];
}

async function checkAllocations(folder: string): Promise<string[]> {
  const problems: string[] = [];
  for (const { version, taken } of await allocations(folder)) {
    for (const [way, { bytes, below }] of Object.entries(taken)) {
      console.log(`Node ${version}: a step of ${way} takes ${bytes.toFixed(3)} bytes of heap`);
      if (bytes < below) continue;
      problems.push(`Expected a step of ${way} in Node ${version} to allocate less than ${below} bytes, got ${bytes}.`);
    }
  }
  return problems;
}
