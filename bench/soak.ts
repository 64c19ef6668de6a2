// `npm run bench:soak`: takes a million steps and reports what grew: memory, GPU objects, the time of a step. Each way
// of stepping runs in its own process. Measurements follow each tenth of the steps.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { openDevice } from '../tools/dawn.js';
import { ways, type Stepping } from './steppings.js';

/** Steps between two waits for the GPU: at most this many are in flight. */
const CHUNK = 100;
const TENTHS = 10;
/** Growth counts from the second tenth on: in the first one the engine still compiles. */
const FIRST = 1;

/** Measurements after a tenth; bytes after a garbage collection. */
interface Sample {
  readonly nanoseconds: number;
  readonly heap: number;
  readonly resident: number;
  readonly gpuObjects: number;
}

export interface Soaked {
  readonly steps: number;
  readonly samples: readonly Sample[];
}

/** Upper bound of the growth from the second tenth to the last one. */
interface Bound {
  readonly what: string;
  growth(early: Sample, late: Sample): number;
  limit(steps: number): number;
  show(growth: number): string;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`;

export const bounds: readonly Bound[] = [
  {
    // Time of the fastest hundred steps of a tenth, which a busy machine hardly affects. If each step adds as little as
    // a thousandth of a step's work, the last steps take many times as long.
    what: 'time per step',
    growth: (early, late) => late.nanoseconds / early.nanoseconds,
    limit: () => 1.5,
    show: (growth) => `${growth.toFixed(2)}x`,
  },
  {
    // A leak of 32 bytes per step is 26 MB in 800,000 steps and 0.5 MB in 16,000. The engine's own growth was 0.2 MB.
    what: 'heap',
    growth: (early, late) => late.heap - early.heap,
    limit: () => 500_000,
    show: megabytes,
  },
  {
    // The engine and the allocators grow by up to 25 MB in about the first 50,000 steps. A leak in native code, of at
    // least 64 bytes per step, is 51 MB in 800,000 steps.
    what: 'resident memory',
    growth: (early, late) => late.resident - early.resident,
    limit: () => 40e6,
    show: megabytes,
  },
  {
    // encode() leaves a page of 64 runs and its bind group to the garbage collector: here one object per 16 steps. At
    // most a quarter of them may still be alive.
    what: 'GPU objects',
    growth: (early, late) => late.gpuObjects - early.gpuObjects,
    limit: (steps) => steps / 64,
    show: String,
  },
];

/** Takes `maxSteps` steps, or as many as `seconds` allow. */
export async function soak(stepping: Stepping, maxSteps: number, seconds: number): Promise<Soaked> {
  for (let warm = 0; warm < 5; warm++) await time(stepping);
  const byTime = (1000 * seconds) / (await time(stepping));
  const perTenth = Math.max(1, Math.floor(Math.min(maxSteps / CHUNK, byTime) / TENTHS));
  const samples: Sample[] = [];
  for (let tenth = 0; tenth < TENTHS; tenth++) {
    let fastest = Infinity;
    for (let chunk = 0; chunk < perTenth; chunk++) fastest = Math.min(fastest, await time(stepping));
    // Collect without a pause: training has none either, so objects that are only freed in a pause must count.
    globalThis.gc!();
    const { heapUsed, external, rss } = process.memoryUsage();
    // During this wait, finalizers subtract the collected objects from the count.
    await time(stepping);
    const nanoseconds = (1e6 * fastest) / CHUNK;
    samples.push({ nanoseconds, heap: heapUsed + external, resident: rss, gpuObjects: stepping.gpuObjects() });
  }
  return { steps: perTenth * TENTHS * CHUNK, samples };
}

/** Returns the milliseconds of a chunk. */
async function time({ step, settle }: Stepping): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < CHUNK; i++) step();
  await settle();
  return performance.now() - start;
}

/** Returns a sentence for each bound that was exceeded. */
export function violations(way: string, { steps, samples }: Soaked): string[] {
  return bounds.flatMap(({ what, growth, limit, show }) => {
    const grew = growth(samples[FIRST], samples.at(-1)!);
    const allowed = limit(steps);
    if (grew <= allowed) return [];
    return [`Expected ${what} of "${way}" to grow by at most ${show(allowed)} in ${steps} steps, got ${show(grew)}.`];
  });
}

/** Soaks each way in its own process, prints the growth, and returns all violations. */
async function main(steps: number, seconds: number): Promise<string[]> {
  const opened = await openDevice();
  if (typeof opened === 'string') console.log(`Skipped all ways on an adapter: ${opened}.`);
  const names = Object.keys(ways).filter((name) => typeof opened !== 'string' || !name.includes('adapter'));
  const rows: Record<string, Record<string, string | number>> = {};
  const problems: string[] = [];
  for (const name of names) {
    console.log(`${name} ...`);
    const args = ['--expose-gc', file, name, String(steps), String(seconds)];
    const soaked = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Soaked;
    problems.push(...violations(name, soaked));
    const [early, late] = [soaked.samples[FIRST], soaked.samples.at(-1)!];
    const growths = bounds.map(({ what, growth, show }) => [what, show(growth(early, late))]);
    const aStep = `${(late.nanoseconds / 1e3).toFixed(2)} µs`;
    rows[name] = { steps: soaked.steps, 'a step': aStep, ...Object.fromEntries(growths) };
  }
  console.log(`Node ${process.version}; growth from the second tenth of the steps to the last`);
  console.table(rows);
  return problems;
}

const file = fileURLToPath(import.meta.url);
const [, program, way, maxSteps, seconds] = process.argv;
if (program === file && way in ways) {
  const soaked = await soak(await ways[way](), Number(maxSteps), Number(seconds));
  process.stdout.write(JSON.stringify(soaked), () => process.exit(0));
} else if (program === file) {
  const problems = await (way === '--quick' ? main(2e4, 5) : main(1e6, 120));
  for (const problem of problems) console.log(problem);
  process.exit(problems.length > 0 ? 1 : 0);
}
