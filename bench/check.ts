// Checks which contenders are available. Each runs in its own process, which reports its version, the error of one
// update and the peak memory of three steps.

import { availableParallelism } from 'node:os';
import type { Contender, SizeLimit } from './contender.js';
import { BASELINE, contenders } from './contenders.js';
import { updateGrads } from './models.js';
import { Process } from './process.js';
import { largestError } from './truth.js';

/** A contender that is available, and what the check measured. */
export interface Available {
  readonly contender: Contender;
  /** Whether the user chose it. Otherwise it only serves as a comparison. */
  readonly isChosen: boolean;
  readonly version: string;
  readonly sizeLimit: SizeLimit;
  /** The largest error of one update, relative to the parameter in float64. */
  readonly error?: number;
  /** Peak bytes per parameter. */
  readonly bytes?: number;
}

/** A contender that is not available. */
export interface Missing {
  readonly contender: string;
  readonly because: string;
  readonly install?: string;
}

const grads = updateGrads(4096);
const anySize: SizeLimit = { size: Infinity, because: '' };

/** Returns the contenders whose names contain `only`, ignoring case, and those that they are compared with. */
export function choose(only: string): ReadonlyMap<Contender, { isChosen: boolean }> {
  const text = only.toLowerCase();
  const chosen = contenders.filter(({ name, optimizer }) => {
    return optimizer !== 'probe' && name.toLowerCase().includes(text);
  });
  const comparedWith = new Set([BASELINE, ...chosen.flatMap(({ limits }) => Object.values(limits).flat())]);
  const all = contenders.filter((each) => chosen.includes(each) || comparedWith.has(each.name));
  return new Map(all.map((each) => [each, { isChosen: chosen.includes(each) }]));
}

export async function checkAll(
  choice: ReturnType<typeof choose>,
  memoryLength: number,
  progress: (contender: string) => void,
): Promise<{ available: readonly Available[]; missing: readonly Missing[] }> {
  const available: Available[] = [];
  const missing: Missing[] = [];
  const queue = choice.entries();
  const worker = async (): Promise<void> => {
    for (const [contender, { isChosen }] of queue) {
      const { name, install } = contender;
      try {
        available.push(await checkOne(contender, isChosen, memoryLength));
      } catch (error) {
        missing.push({ contender: name, because: (error as Error).message, install });
      }
      progress(name);
    }
  };
  // One worker per core: nothing is timed yet.
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const names = Array.from(choice.keys(), ({ name }) => name);
  return {
    available: available.toSorted((a, b) => names.indexOf(a.contender.name) - names.indexOf(b.contender.name)),
    missing: missing.toSorted((a, b) => names.indexOf(a.contender) - names.indexOf(b.contender)),
  };
}

async function checkOne(contender: Contender, isChosen: boolean, memoryLength: number): Promise<Available> {
  const { process, loaded } = await Process.of(contender);
  try {
    const [sizeLimit] = [contender.sizeLimit, loaded.sizeLimit, anySize]
      .filter((each) => each !== undefined)
      .toSorted((a, b) => a.size - b.size);
    const checked = { contender, isChosen, version: loaded.version, sizeLimit };
    const { optimizer } = contender;
    if (optimizer === 'probe' || !isChosen) return checked;
    const { params } = await process.ask({ do: 'update', grads: Array.from(grads) });
    // A kernel alone computes no parameters: skip its error and memory.
    if (params === undefined) return checked;
    const length =
      loaded.memoryLength ?? (sizeLimit.size === 0 ? memoryLength : Math.min(memoryLength, sizeLimit.size));
    const { bytes } = await process.ask({ do: 'memory', length });
    return { ...checked, error: largestError(optimizer, grads, params, contender.isClipped), bytes: bytes / length };
  } finally {
    await process.end();
  }
}
