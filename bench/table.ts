// Formats a record as a text table, for the terminal.

import { BASELINE, UNCLIPPED } from './contenders.js';
import type { RunRecord } from './record.js';

/** Formats a size: 1000000 as 1e6. */
export const sizeName = (size: number): string => size.toExponential().replace('e+', 'e');

export const percent = (part: number): string => `${part < 0.005 ? '<1' : (100 * part).toFixed(0)} %`;

/** Rounds to hundredths below 10, otherwise to three digits; below 0.1 to two digits. */
export function nanoseconds(ns: number): string {
  if (ns < 0.1) return ns.toPrecision(2);
  return ns.toFixed(ns < 10 ? 2 : ns < 100 ? 1 : 0);
}

/** Aligns the cells of each column: the first column left, the others right. */
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

/** Returns a table by optimizer: ns per parameter of one step, percentage of the roof, error and memory. */
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
    const shown = cells.filter(([, ...measured]) => measured.some((cell) => cell !== ''));
    return shown.length === 0 ? [] : [[optimizer], ...shown];
  });
  const head = ['', ...sizes.map((size) => `${sizeName(size)}${' '.repeat(6)}`), 'error', 'bytes'];
  return aligned([head, ...lines]).join('\n');
}

export const legend =
  'By size: ns per parameter of one step, and the percentage of the roof, which the probes measure (medians over ' +
  'rounds).\nerror: largest relative error of one update, against float64. bytes: peak memory per parameter.\n' +
  `${BASELINE} is measured in the rounds of every optimizer.`;

/** Returns whether its times count: those of WebGPU in software say nothing. */
export const isHardware = (name: string, { machine }: RunRecord): boolean => machine.hasGpu || !name.includes('webgpu');

/** The size to quote figures for: the one nearest to a million. */
export const mainSize = ({ settings: { sizes } }: RunRecord): number =>
  sizes.toSorted((a, b) => Math.abs(Math.log(a / 1e6)) - Math.abs(Math.log(b / 1e6)))[0];

/** Returns a line about how much longer a step takes that clips, unless none was measured. */
export function clippingLines(record: RunRecord): string[] {
  const size = mainSize(record);
  const slower = record.rows
    .filter((row) => row.size === size && row.ratios[UNCLIPPED] !== undefined && isHardware(row.contender, record))
    .map(({ contender, ratios }) => `${contender} ${(1 / ratios[UNCLIPPED][1]).toFixed(2)}`);
  if (slower.length === 0) return [];
  const what = 'Clipping by the norm of all gradients makes a step take this many times as long';
  return [`${what}, at ${sizeName(size)}: ${slower.join('; ')}.`];
}

/** Returns a line for each contender that is missing or was not measured at a size, with the reason. */
export function omissionLines({ absences, omissions }: Pick<RunRecord, 'absences' | 'omissions'>): string[] {
  const missing = absences.map(({ contender, because, install }) => {
    return `${contender} is missing: ${because.replace(/\.$/, '')}.${install === undefined ? '' : ` It needs ${install}.`}`;
  });
  const unmeasured = new Map<string, string[]>();
  for (const { contender, sizes, because } of omissions) {
    const how = `Not measured at ${sizes.map(sizeName).join(', ')}, because ${because}`;
    unmeasured.set(how, [...(unmeasured.get(how) ?? []), contender]);
  }
  return [...missing, ...Array.from(unmeasured, ([how, who]) => `${how}: ${who.join('; ')}.`)];
}
