// Packs and installs the package, runs the rows and the checks, and prints the results.

import { rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { browserRows } from './browser.js';
import { edgeRows } from './edge.js';
import { writePrograms } from './entries.js';
import { jestRows } from './jest.js';
import { judge } from './judge.js';
import { checkMaps } from './maps.js';
import { allocations, nodeRows } from './node.js';
import { checkPackage } from './package.js';
import { here, output, root, type Row } from './row.js';
import { checkSizes } from './sizes.js';
import { checkPage, printTable, type Result } from './table.js';
import { checkTypes } from './types.js';

/** Runs everything. Returns a sentence for each problem. */
export async function runMatrix(write: boolean): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'twinstep-matrix-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const tarball = await install(folder);
  const results: Result[] = [];
  const runAll = async (rows: readonly Row[]): Promise<void> => {
    for (const row of rows) results.push(await runRow(row));
  };
  await runAll([...nodeRows(folder), ...jestRows(folder), ...edgeRows(folder)]);
  const browserProblems = await attempt(async () => {
    const { rows, checkPrograms, close } = await browserRows(folder);
    try {
      await runAll(rows);
      return await checkPrograms();
    } finally {
      await close();
    }
  });
  printTable(results);
  return [
    ...results.flatMap(({ problems }) => problems),
    ...browserProblems,
    ...(await attempt(() => checkWorker(folder))),
    ...(await attempt(() => checkAllocations(folder))),
    ...(await attempt(() => checkPackage(tarball, folder))),
    ...(await attempt(() => checkMaps(folder))),
    ...(await attempt(() => checkTypes(folder))),
    ...(await attempt(() => checkSizes(folder))),
    ...(await attempt(() => checkPage(results, write))),
  ];
}

/** Runs a check. If it throws, that is a problem like others, and the other checks still run. */
async function attempt(check: () => Promise<string[]>): Promise<string[]> {
  try {
    return await check();
  } catch (error) {
    return [describe(error)];
  }
}

const describe = (error: unknown): string => (error instanceof Error ? error.stack! : String(error));

/** Packs the package and installs the tarball into an empty folder, with the programs. Returns the tarball's path. */
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
  await writePrograms(folder);
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
    return { row, problems: [`${title}: ${describe(error)}`] };
  }
}

/** Checks examples/worker with the installed package. Throws at the first problem. */
async function checkWorker(folder: string): Promise<string[]> {
  const { testWorker } = await import(pathToFileURL(join(here, 'worker.mjs')).href);
  await testWorker({ packageFolder: folder, toolsFolder: here });
  return [];
}

async function checkAllocations(folder: string): Promise<string[]> {
  const problems: string[] = [];
  for (const { version, allocated } of await allocations(folder)) {
    for (const [way, { bytes, below }] of Object.entries(allocated)) {
      console.log(`Node ${version}: a step of ${way} allocates ${bytes.toFixed(3)} bytes of heap`);
      if (bytes < below) continue;
      problems.push(`Expected a step of ${way} in Node ${version} to allocate less than ${below} bytes, got ${bytes}.`);
    }
  }
  return problems;
}
