// What `npm run bench -- ...` is asked for.

import { closeSync, openSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Settings } from './compare.js';
import { choose } from './check.js';

export interface Asked extends Settings {
  /** Contenders have this in their name. */
  readonly only: string;
  /** Over how many parameters memory is measured. */
  readonly memoryLength: number;
  readonly memoryAlone: boolean;
  readonly record: boolean;
  readonly json?: string;
  readonly svg?: string;
}

const full = { sizes: [1e3, 1e4, 1e5, 1e6, 1e7, 3e7], rounds: 15, seconds: 0.1, memoryLength: 2e7 };
const quick = { sizes: [1e4, 1e6], rounds: 5, seconds: 0.01, memoryLength: 4e6 };

/** Throws a sentence for anything that is not known. */
export function readSettings(args: readonly string[]): Asked {
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
    throw new TypeError('A record is of everything: --record goes with none of --only, --memory, --quick and --sizes.');
  if (![...choose(only).values()].some(({ isChosen }) => isChosen))
    throw new TypeError(`Expected --only to be in the name of a contender, got ${JSON.stringify(only)}.`);
  const preset = values.quick ? quick : full;
  const sizes = values.sizes === undefined ? preset.sizes : [...new Set(values.sizes.split(',').map(readSize))];
  for (const file of [json, svg]) if (file !== undefined) checkWritable(file);
  return { ...preset, sizes, only, memoryAlone: memory, record, json, svg };
}

function readSize(text: string): number {
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1 && size <= 1e8) return size;
  throw new RangeError(
    `Expected sizes as whole numbers from 1 to 1e8 with commas between, got ${JSON.stringify(text)}.`,
  );
}

/** Throws now what would be lost at the end. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'));
  } catch (cause) {
    const why = (cause as Error).message;
    throw new TypeError(`Expected a file that can be written, got ${JSON.stringify(file)}: ${why}.`, { cause });
  }
}
