// `npm run bench:soak`: a million steps in a loop, and what has grown by then: memory, GPU objects, the time of a step.
// Each way of stepping runs in a process of its own, and is measured in tenths.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { openDevice } from '../tools/dawn.js';
import { ways, type Stepping } from './steppings.js';

/** Steps between two waits for the GPU: so many are in flight. */
const CHUNK = 100;
const TENTHS = 10;
/** The first tenth is the engine's, which compiles. */
const EARLY = 1;

/** What there is after a tenth; bytes after a garbage collection. */
interface Mark {
  readonly nanoseconds: number;
  readonly heap: number;
  readonly resident: number;
  readonly gpuObjects: number;
}

export interface Soaked {
  readonly steps: number;
  readonly marks: readonly Mark[];
}

/** A bound on the growth from an early tenth to the last one. */
interface Bound {
  readonly what: string;
  grew(early: Mark, late: Mark): number;
  most(steps: number): number;
  show(growth: number): string;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`;

export const bounds: readonly Bound[] = [
  {
    // Of the fastest hundred steps of a tenth, which a busy machine hardly slows; work that grows with history, by as
    // little as a thousandth of a step with each step, is many times as much in the end.
    what: 'time per step',
    grew: (early, late) => late.nanoseconds / early.nanoseconds,
    most: () => 1.5,
    show: (growth) => `${growth.toFixed(2)}x`,
  },
  {
    // What is kept of each step, 32 bytes say, is 26 MB in 800,000 and 0.5 in 16,000. The engine's own came to 0.2.
    what: 'heap',
    grew: (early, late) => late.heap - early.heap,
    most: () => 500_000,
    show: megabytes,
  },
  {
    // The engine and the allocators take up to 25 MB before they have found their size, within some 50,000 steps. What
    // native code keeps of each step, 64 bytes at least, is 51 MB in 800,000.
    what: 'resident memory',
    grew: (early, late) => late.resident - early.resident,
    most: () => 40e6,
    show: megabytes,
  },
  {
    // encode() leaves a page of 64 runs, and its bind group, to the collector: here an object in 16 steps. At most
    // a quarter of these may be left.
    what: 'GPU objects',
    grew: (early, late) => late.gpuObjects - early.gpuObjects,
    most: (steps) => steps / 64,
    show: String,
  },
];

/** So many steps, or as many as `seconds` allow. */
export async function soak(stepping: Stepping, most: number, seconds: number): Promise<Soaked> {
  for (let warm = 0; warm < 5; warm++) await time(stepping);
  const byTime = (1000 * seconds) / (await time(stepping));
  const perTenth = Math.max(1, Math.floor(Math.min(most / CHUNK, byTime) / TENTHS));
  const marks: Mark[] = [];
  for (let tenth = 0; tenth < TENTHS; tenth++) {
    let fastest = Infinity;
    for (let chunk = 0; chunk < perTenth; chunk++) fastest = Math.min(fastest, await time(stepping));
    // No pause is made, since training makes none: what waits for one is to be seen.
    globalThis.gc!();
    const { heapUsed, external, rss } = process.memoryUsage();
    // While these steps are waited for, what was collected is counted out.
    await time(stepping);
    const nanoseconds = (1e6 * fastest) / CHUNK;
    marks.push({ nanoseconds, heap: heapUsed + external, resident: rss, gpuObjects: stepping.gpuObjects() });
  }
  return { steps: perTenth * TENTHS * CHUNK, marks };
}

/** Milliseconds of a chunk. */
async function time({ step, settle }: Stepping): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < CHUNK; i++) step();
  await settle();
  return performance.now() - start;
}

/** A sentence for each bound that was left. */
export function complaints(way: string, { steps, marks }: Soaked): string[] {
  return bounds.flatMap(({ what, grew, most, show }) => {
    const growth = grew(marks[EARLY], marks.at(-1)!);
    const allowed = most(steps);
    if (growth <= allowed) return [];
    return [`Expected ${what} of "${way}" to grow by at most ${show(allowed)} in ${steps} steps, got ${show(growth)}.`];
  });
}

/** Soaks each way in a process of its own, prints what has grown, and gives all complaints. */
async function main(steps: number, seconds: number): Promise<string[]> {
  const opened = await openDevice();
  if (typeof opened === 'string') console.log(`The ways on an adapter are left out: ${opened}.`);
  const names = Object.keys(ways).filter((name) => typeof opened !== 'string' || !name.includes('adapter'));
  const rows: Record<string, Record<string, string | number>> = {};
  const problems: string[] = [];
  for (const name of names) {
    console.log(`${name} ...`);
    const args = ['--expose-gc', file, name, String(steps), String(seconds)];
    const soaked = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Soaked;
    problems.push(...complaints(name, soaked));
    const [early, late] = [soaked.marks[EARLY], soaked.marks.at(-1)!];
    const growths = bounds.map(({ what, grew, show }) => [what, show(grew(early, late))]);
    const aStep = `${(late.nanoseconds / 1e3).toFixed(2)} µs`;
    rows[name] = { steps: soaked.steps, 'a step': aStep, ...Object.fromEntries(growths) };
  }
  console.log(`Node ${process.version}; growth from the second tenth of the steps to the last`);
  console.table(rows);
  return problems;
}

const file = fileURLToPath(import.meta.url);
const [, program, way, most, seconds] = process.argv;
if (program === file && way in ways) {
  const soaked = await soak(await ways[way](), Number(most), Number(seconds));
  process.stdout.write(JSON.stringify(soaked), () => process.exit(0));
} else if (program === file) {
  const problems = await (way === '--quick' ? main(2e4, 5) : main(1e6, 120));
  for (const problem of problems) console.log(problem);
  process.exit(problems.length > 0 ? 1 : 0);
}
