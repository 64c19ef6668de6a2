// Prints the table of the matrix, and writes it into docs/edge.md.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { checksum } from './judge.js';
import { minor, root, type Report, type Row } from './row.js';

/** The result of a row. Without a report, it could not run. */
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

/** Compares the table in docs/edge.md with the results, or writes it. */
export async function checkPage(results: readonly Result[], write: boolean): Promise<string[]> {
  const path = join(root, 'docs/edge.md');
  const page = await readFile(path, 'utf8');
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) return ['docs/edge.md lacks the comments that mark the table of runtimes.'];
  const updated = page.slice(0, begin + BEGIN.length) + markdown(results) + page.slice(end);
  const formatted = await format(updated, { ...(await resolveConfig(path)), filepath: path });
  if (formatted === page) return [];
  if (!write)
    return ['The table of runtimes in docs/edge.md is out of date; `npm run test:matrix -- --write` updates it.'];
  await writeFile(path, formatted);
  return [];
}

/**
 * Returns the table with the expected backends, not the found ones (a difference is a problem anyway), so that it is
 * the same on a machine where Deno finds no adapter. Leaves out patch levels, so that patches do not change the table.
 */
function markdown(results: readonly Result[]): string {
  const lines = results.map(({ row: { runtime, version, loading, backend, mayLack } }) => {
    return `| ${runtime} ${minor(version)} | ${loading} | \`${backend}\`${mayLack === undefined ? '' : ', given an adapter'} |`;
  });
  return `\n${['| runtime | loaded | backend |', '| --- | --- | --- |', ...lines].join('\n')}\n`;
}
