// Who is there: each contender in a process of its own, where it tells its version, takes one update, whose error is
// known, and three steps, whose memory is.

import { availableParallelism } from 'node:os';
import type { Contender, Most } from './contender.js';
import { BASELINE, contenders } from './contenders.js';
import { updateGrads } from './models.js';
import { Process } from './process.js';
import { largestError } from './truth.js';

export interface Entrant {
  readonly contender: Contender;
  /** Whether it was asked for, and is not only there for others to be compared with. */
  readonly isChosen: boolean;
  readonly version: string;
  readonly most: Most;
  /** The largest of one update, relative to the parameter in float64. */
  readonly error?: number;
  /** Per parameter, at most. */
  readonly bytes?: number;
}

/** A contender that cannot be had. */
export interface Absence {
  readonly contender: string;
  readonly because: string;
  readonly install?: string;
}

const grads = updateGrads(4096);
const everything: Most = { size: Infinity, because: '' };

/** The contenders whose names contain `only`, in whatever case, and those that they are compared with. */
export function choose(only: string): ReadonlyMap<Contender, { isChosen: boolean }> {
  const text = only.toLowerCase();
  const chosen = contenders.filter(({ name, optimizer }) => {
    return optimizer !== 'probe' && name.toLowerCase().includes(text);
  });
  const beside = new Set([BASELINE, ...chosen.flatMap(({ limits }) => Object.values(limits).flat())]);
  const all = contenders.filter((each) => chosen.includes(each) || beside.has(each.name));
  return new Map(all.map((each) => [each, { isChosen: chosen.includes(each) }]));
}

export async function enter(
  choice: ReturnType<typeof choose>,
  memoryLength: number,
  progress: (contender: string) => void,
): Promise<{ entrants: readonly Entrant[]; absences: readonly Absence[] }> {
  const entrants: Entrant[] = [];
  const absences: Absence[] = [];
  const queue = choice.entries();
  const clerk = async (): Promise<void> => {
    for (const [contender, { isChosen }] of queue) {
      const { name, install } = contender;
      try {
        entrants.push(await meet(contender, isChosen, memoryLength));
      } catch (error) {
        absences.push({ contender: name, because: (error as Error).message, install });
      }
      progress(name);
    }
  };
  // Nothing is timed yet, so each core takes its share.
  await Promise.all(Array.from({ length: availableParallelism() }, clerk));
  const names = Array.from(choice.keys(), ({ name }) => name);
  return {
    entrants: entrants.toSorted((a, b) => names.indexOf(a.contender.name) - names.indexOf(b.contender.name)),
    absences: absences.toSorted((a, b) => names.indexOf(a.contender) - names.indexOf(b.contender)),
  };
}

async function meet(contender: Contender, isChosen: boolean, memoryLength: number): Promise<Entrant> {
  const { process, told } = await Process.of(contender);
  try {
    const [most] = [contender.most, told.most, everything]
      .filter((each) => each !== undefined)
      .toSorted((a, b) => a.size - b.size);
    const entrant = { contender, isChosen, version: told.version, most };
    const { optimizer } = contender;
    if (optimizer === 'probe' || !isChosen) return entrant;
    const { params } = await process.ask({ do: 'update', grads: Array.from(grads) });
    // A kernel alone is part of what another contender shows whole.
    if (params === undefined) return entrant;
    const length = told.memoryLength ?? (most.size === 0 ? memoryLength : Math.min(memoryLength, most.size));
    const { bytes } = await process.ask({ do: 'memory', length });
    return { ...entrant, error: largestError(optimizer, grads, params), bytes: bytes / length };
  } finally {
    await process.end();
  }
}
