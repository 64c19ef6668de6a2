// The matrix as a table, on the console and in the README.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { checksum } from './judge.js';
import { minor, root, type Report, type Row } from './row.js';

/** A row as it came out; without a report it could not run. */
export interface Result {
  readonly row: Row;
  readonly report?: Report;
  readonly problems: readonly string[];
}

export function printTable(results: readonly Result[]): void {
  const lines = results.map(({ row, report, problems }) => [
    `${row.runtime} ${row.version}`,
    row.loading.replaceAll('`', ''),
    report === undefined ? (row.mayLack ?? 'FAILED') : report.name,
    report === undefined ? '' : checksum(report.bits),
    report === undefined ? '' : report.coldStart.toFixed(0),
    problems.length > 0 ? 'wrong, see below' : (row.clock ?? report?.adapter ?? ''),
  ]);
  const head = ['runtime', 'loaded', 'backend', 'checksum', 'ms to first step', ''];
  const all = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...all.map((line) => line[column].length)));
  for (const line of all)
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
}

const BEGIN = '<!-- Written by `npm run test:matrix -- --write`. -->\n';
const END = '\n<!-- So far. -->';

/** Holds the README against the results, or writes them there. */
export async function checkReadme(results: readonly Result[], write: boolean): Promise<string[]> {
  const path = join(root, 'README.md');
  const readme = await readFile(path, 'utf8');
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) return ['The README lacks the comments between which the table of runtimes stands.'];
  const updated = readme.slice(0, begin + BEGIN.length) + markdown(results) + readme.slice(end);
  const formatted = await format(updated, { ...(await resolveConfig(path)), filepath: path });
  if (formatted === readme) return [];
  if (!write) return ["The README's table of runtimes is another one; `npm run test:matrix -- --write` writes it."];
  await writeFile(path, formatted);
  return [];
}

/**
 * Says what is expected of each row, which is what came out, or the run has failed: so the table is the same on a
 * machine where Deno finds no adapter. Patch levels are left out, for the updates of one change nothing here.
 */
function markdown(results: readonly Result[]): string {
  const lines = results.map(({ row: { runtime, version, loading, backend, mayLack } }) => {
    return `| ${runtime} ${minor(version)} | ${loading} | \`${backend}\`${mayLack === undefined ? '' : ', given an adapter'} |`;
  });
  return `\n${['| runtime | loaded | backend |', '| --- | --- | --- |', ...lines].join('\n')}\n`;
}
