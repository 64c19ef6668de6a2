// Parses the options of `npm run bench -- ...`.

import { closeSync, openSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { BenchSettings } from './compare.js';
import { choose } from './check.js';

export interface BenchOptions extends BenchSettings {
  /** Measure only contenders with this in their name. */
  readonly only: string;
  /** Number of parameters to measure memory with. */
  readonly memoryLength: number;
  readonly memoryOnly: boolean;
  readonly record: boolean;
  readonly json?: string;
  readonly svg?: string;
}

const full = { sizes: [1e3, 1e4, 1e5, 1e6, 1e7, 3e7], rounds: 15, seconds: 0.1, memoryLength: 2e7 };
const quick = { sizes: [1e4, 1e6], rounds: 5, seconds: 0.01, memoryLength: 4e6 };

/** Throws a sentence for unknown options and bad values. */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      memory: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      sizes: { type: 'string' },
      json: { type: 'string' },
      svg: { type: 'string' },
    },
  });
  const { only, memory, record, json, svg } = values;
  if (record && (only !== '' || memory || values.quick || values.sizes !== undefined))
    throw new TypeError(
      'A record has all contenders and sizes: do not combine --record with --only, --memory, --quick or --sizes.',
    );
  if (![...choose(only).values()].some(({ isChosen }) => isChosen))
    throw new TypeError(`Expected --only to be part of a contender's name, got ${JSON.stringify(only)}.`);
  const preset = values.quick ? quick : full;
  const sizes = values.sizes === undefined ? preset.sizes : [...new Set(values.sizes.split(',').map(readSize))];
  for (const file of [json, svg]) if (file !== undefined) checkWritable(file);
  return { ...preset, sizes, only, memoryOnly: memory, record, json, svg };
}

function readSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1 && size <= 1e8) return size;
  throw new RangeError(
    `Expected --sizes as whole numbers from 1 to 1e8, separated by commas, got ${JSON.stringify(text)}.`,
  );
}

/** Throws before the run if the file cannot be written after it. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'));
  } catch (cause) {
    const why = (cause as Error).message;
    throw new TypeError(`Expected a writable file, got ${JSON.stringify(file)}: ${why}.`, { cause });
  }
}
