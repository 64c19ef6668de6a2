// Measures contenders against each other. At each size, the contenders of one optimizer and the probes that limit them
// take turns in many short rounds. Ratios are of times in the same round.

import { BASELINE, contenderOf } from './contenders.js';
import type { Available } from './check.js';
import { pause } from './measure.js';
import { Process } from './process.js';
import { median, pairedRatio, roof, type Quartiles } from './statistics.js';
import { firstUpdate, type OptimizerName } from './truth.js';

export interface BenchSettings {
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Duration of one measurement. */
  readonly seconds: number;
}

/** Results of a contender at a size. */
export interface Row {
  readonly contender: string;
  /** The optimizer in whose rounds it was measured. A probe is measured for each optimizer that it limits. */
  readonly optimizer: OptimizerName;
  readonly size: number;
  /** Nanoseconds per parameter of one step, the median of all rounds. */
  readonly ns: number;
  /** Time of each limit (by label) and of `BASELINE` (by its name), divided by the contender's own time. */
  readonly ratios: Readonly<Record<string, Quartiles>>;
}

/** Sizes at which a contender was not measured, and why. */
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

/** Returns what is measured in the same rounds: the contenders of an optimizer, their limits, and the baseline. */
function measuredTogether(
  optimizer: OptimizerName,
  size: number,
  available: readonly Available[],
): readonly Available[] {
  const fitting = available.filter(({ sizeLimit }) => size <= sizeLimit.size);
  const own = fitting.filter(({ contender, isChosen }) => isChosen && contender.optimizer === optimizer);
  if (own.length === 0) return [];
  const comparedWith = new Set([BASELINE, ...own.flatMap(({ contender }) => Object.values(contender.limits).flat())]);
  return fitting.filter((each) => own.includes(each) || comparedWith.has(each.contender.name));
}

/** Upper bound of the number of measurements. */
export const countOf = (available: readonly Available[], { sizes, rounds }: BenchSettings): number =>
  optimizers
    .flatMap((optimizer) => sizes.map((size) => rounds * measuredTogether(optimizer, size, available).length))
    .reduce((sum, count) => sum + count, 0);

export async function compare(
  available: readonly Available[],
  settings: BenchSettings,
  progress: (contender: string, size: number) => void,
): Promise<Comparison> {
  const { sizes } = settings;
  const rows: Row[] = [];
  const omissions = available
    .filter(({ isChosen }) => isChosen)
    .map(({ contender: { name }, sizeLimit }): Omission => {
      return { contender: name, sizes: sizes.filter((size) => size > sizeLimit.size), because: sizeLimit.because };
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
    const needed = new Set(sizes.flatMap((size) => measuredTogether(optimizer, size, available)));
    await Promise.all([...needed].filter((each) => !processes.has(each)).map(start));
    for (const size of sizes) {
      const running = measuredTogether(optimizer, size, available).map((each): RunningContender => {
        return { name: each.contender.name, process: processes.get(each)! };
      });
      const times = await measure(running, size, settings, progress, omissions);
      for (const name of times.keys()) rows.push(rowOf(name, optimizer, size, times));
    }
    // The next optimizers need the probes and the baseline again.
    await end(
      [...processes.keys()].filter(({ contender: { name, optimizer: of } }) => of === optimizer && name !== BASELINE),
    );
  }
  await end([...processes.keys()]);
  return { rows, omissions };
}

interface RunningContender {
  readonly name: string;
  readonly process: Process;
}

/** Returns seconds per step, by contender and round. A contender that fails is left out. */
async function measure(
  running: readonly RunningContender[],
  size: number,
  { rounds, seconds }: BenchSettings,
  progress: (contender: string, size: number) => void,
  omissions: Omission[],
): Promise<ReadonlyMap<string, number[]>> {
  const times = new Map(running.map(({ name }): [string, number[]] => [name, []]));
  const forEach = async (ask: (contender: RunningContender) => Promise<unknown>): Promise<void> => {
    for (const contender of running.filter(({ name }) => times.has(name))) {
      try {
        await ask(contender);
      } catch (error) {
        times.delete(contender.name);
        omissions.push({ contender: contender.name, sizes: [size], because: (error as Error).message });
      }
    }
  };
  await forEach(({ process }) => process.ask({ do: 'open', length: size }));
  await pause();
  for (let round = 0; round < rounds; round++) {
    await forEach(async ({ name, process }) => {
      progress(name, size);
      times.get(name)!.push((await process.ask({ do: 'time', seconds })).seconds);
    });
  }
  await forEach(({ process }) => process.ask({ do: 'close' }));
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
