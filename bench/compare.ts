// The comparison: contenders of one optimizer and the probes that limit them take turns in many short rounds, size after
// size. Ratios are of times within a round.

import { BASELINE, contenderOf } from './contenders.js';
import type { Available } from './check.js';
import { pause } from './measure.js';
import { Process } from './process.js';
import { median, pairedRatio, roof, type Quartiles } from './statistics.js';
import { firstUpdate, type OptimizerName } from './truth.js';

export interface Settings {
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** What a measurement takes at least. */
  readonly seconds: number;
}

/** A contender at a size. */
export interface Row {
  readonly contender: string;
  /** Whose rounds they were: a probe is measured in those of each optimizer that it limits. */
  readonly optimizer: OptimizerName;
  readonly size: number;
  /** Nanoseconds per parameter of one step, the median of all rounds. */
  readonly ns: number;
  /** Times of its limits, by their label, over its own; and of `BASELINE`, by that name. */
  readonly ratios: Readonly<Record<string, Quartiles>>;
}

/** What was not measured, and why. */
export interface Omission {
  readonly contender: string;
  readonly sizes: readonly number[];
  readonly because: string;
}

export interface Comparison {
  readonly rows: readonly Row[];
  readonly omissions: readonly Omission[];
}

const optimizers = Object.keys(firstUpdate) as OptimizerName[];

/** Those who are measured together: the contenders of an optimizer, their limits, and the baseline. */
function together(optimizer: OptimizerName, size: number, available: readonly Available[]): readonly Available[] {
  const able = available.filter(({ most }) => size <= most.size);
  const own = able.filter(({ contender, isChosen }) => isChosen && contender.optimizer === optimizer);
  if (own.length === 0) return [];
  const beside = new Set([BASELINE, ...own.flatMap(({ contender }) => Object.values(contender.limits).flat())]);
  return able.filter((each) => own.includes(each) || beside.has(each.contender.name));
}

/** How many measurements there will be, at most. */
export const countOf = (available: readonly Available[], { sizes, rounds }: Settings): number =>
  optimizers
    .flatMap((optimizer) => sizes.map((size) => rounds * together(optimizer, size, available).length))
    .reduce((sum, count) => sum + count, 0);

export async function compare(
  available: readonly Available[],
  settings: Settings,
  progress: (contender: string, size: number) => void,
): Promise<Comparison> {
  const { sizes } = settings;
  const rows: Row[] = [];
  const omissions = available
    .filter(({ isChosen }) => isChosen)
    .map(({ contender: { name }, most }): Omission => {
      return { contender: name, sizes: sizes.filter((size) => size > most.size), because: most.because };
    })
    .filter((omission) => omission.sizes.length > 0);
  const processes = new Map<Available, Process>();
  const start = async (each: Available): Promise<void> =>
    void processes.set(each, (await Process.of(each.contender)).process);
  const end = async (leaving: readonly Available[]): Promise<void> => {
    await Promise.all(leaving.map((each) => processes.get(each)!.end()));
    for (const each of leaving) processes.delete(each);
  };
  for (const optimizer of optimizers) {
    const everyone = new Set(sizes.flatMap((size) => together(optimizer, size, available)));
    await Promise.all([...everyone].filter((each) => !processes.has(each)).map(start));
    for (const size of sizes) {
      const present = together(optimizer, size, available).map((each): Running => {
        return { name: each.contender.name, process: processes.get(each)! };
      });
      const times = await measure(present, size, settings, progress, omissions);
      for (const name of times.keys()) rows.push(rowOf(name, optimizer, size, times));
    }
    // Probes and the baseline are there for the other optimizers, too.
    await end(
      [...processes.keys()].filter(({ contender: { name, optimizer: of } }) => of === optimizer && name !== BASELINE),
    );
  }
  await end([...processes.keys()]);
  return { rows, omissions };
}

interface Running {
  readonly name: string;
  readonly process: Process;
}

/** Seconds of a step, by contender and round; without those for whom it was too much. */
async function measure(
  present: readonly Running[],
  size: number,
  { rounds, seconds }: Settings,
  progress: (contender: string, size: number) => void,
  omissions: Omission[],
): Promise<ReadonlyMap<string, number[]>> {
  const times = new Map(present.map(({ name }): [string, number[]] => [name, []]));
  const each = async (ask: (running: Running) => Promise<unknown>): Promise<void> => {
    for (const running of present.filter(({ name }) => times.has(name))) {
      try {
        await ask(running);
      } catch (error) {
        times.delete(running.name);
        omissions.push({ contender: running.name, sizes: [size], because: (error as Error).message });
      }
    }
  };
  await each(({ process }) => process.ask({ do: 'open', length: size }));
  await pause();
  for (let round = 0; round < rounds; round++) {
    await each(async ({ name, process }) => {
      progress(name, size);
      times.get(name)!.push((await process.ask({ do: 'time', seconds })).seconds);
    });
  }
  await each(({ process }) => process.ask({ do: 'close' }));
  return times;
}

function rowOf(name: string, optimizer: OptimizerName, size: number, times: ReadonlyMap<string, number[]>): Row {
  const own = times.get(name)!;
  const sides = Object.entries({ ...contenderOf(name).limits, [BASELINE]: [BASELINE] });
  const ratios = sides
    .filter(([, names]) => names.length > 0 && names.every((each) => times.has(each)))
    .map(([label, names]) => [label, pairedRatio(roof(names.map((each) => times.get(each)!)), own)]);
  return { contender: name, optimizer, size, ns: (1e9 * median(own)) / size, ratios: Object.fromEntries(ratios) };
}
