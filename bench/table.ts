// A record as a table of text, for the terminal.

import { BASELINE } from './contenders.js';
import type { RunRecord } from './record.js';

/** A size as people say it. */
export const sizeName = (size: number): string => size.toExponential().replace('e+', 'e');

export const percent = (part: number): string => `${part < 0.005 ? '<1' : (100 * part).toFixed(0)} %`;

/** To a hundredth, or to three digits; what is shorter, to two. */
export function nanoseconds(ns: number): string {
  if (ns < 0.1) return ns.toPrecision(2);
  return ns.toFixed(ns < 10 ? 2 : ns < 100 ? 1 : 0);
}

/** Lines of a table, their cells under each other: the first column to the left, the others to the right. */
export function aligned(lines: readonly (readonly string[])[]): string[] {
  const columns = Math.max(...lines.map((line) => line.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...lines.map((line) => (line[i] ?? '').length)));
  return lines.map((line) =>
    line
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

/** By optimizer: ns per parameter of one step, the part of the roof that it reaches, error and memory. */
export function table({ contenders, rows, machine, settings: { sizes } }: RunRecord): string {
  const optimizers = [...new Set(contenders.map(({ optimizer }) => optimizer))].filter((name) => name !== 'probe');
  const lines = optimizers.flatMap((optimizer) => {
    const own = rows.filter((row) => row.optimizer === optimizer);
    const cells = contenders
      .filter(({ name, optimizer: of }) => of === optimizer || own.some(({ contender }) => contender === name))
      .map(({ name, error, bytes }) => [
        `  ${name}${name.includes('webgpu') && !machine.hasGpu ? ' (software)' : ''}`,
        ...sizes.map((size) => {
          const row = own.find(({ contender, size: of }) => contender === name && of === size);
          if (row === undefined) return '';
          const roof = row.ratios.roof === undefined ? '' : ` ${percent(row.ratios.roof[1]).padStart(5)}`;
          return `${nanoseconds(row.ns)}${roof || ' '.repeat(6)}`;
        }),
        error?.toExponential(1) ?? '',
        bytes?.toFixed(1) ?? '',
      ]);
    const told = cells.filter(([, ...measured]) => measured.some((cell) => cell !== ''));
    return told.length === 0 ? [] : [[optimizer], ...told];
  });
  const head = ['', ...sizes.map((size) => `${sizeName(size)}${' '.repeat(6)}`), 'error', 'bytes'];
  return aligned([head, ...lines]).join('\n');
}

export const legend =
  'By size: ns per parameter of one step, and how much of what the probes allow it reaches (both are medians over ' +
  'rounds).\nerror: of one update, the largest of any parameter, against float64. bytes: per parameter, at most.\n' +
  `${BASELINE} is measured in the rounds of every optimizer.`;

/** Who is not there, and what is not measured, with the reasons. */
export function leftOut({ absences, omissions }: Pick<RunRecord, 'absences' | 'omissions'>): string[] {
  const missing = absences.map(({ contender, because, install }) => {
    return `${contender} is not there: ${because.replace(/\.$/, '')}.${install === undefined ? '' : ` It takes ${install}.`}`;
  });
  const unmeasured = new Map<string, string[]>();
  for (const { contender, sizes, because } of omissions) {
    const how = `Left out at ${sizes.map(sizeName).join(', ')}, since ${because}`;
    unmeasured.set(how, [...(unmeasured.get(how) ?? []), contender]);
  }
  return [...missing, ...Array.from(unmeasured, ([how, who]) => `${how}: ${who.join('; ')}.`)];
}
