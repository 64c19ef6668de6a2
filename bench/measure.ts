// Measures a contender with benchmark.js, in the contender's own process.

import Benchmark from 'benchmark';
import { setTimeout } from 'node:timers/promises';
import type { Opened } from './contender.js';
import { median } from './statistics.js';

/** The warm-up ends after this many elements, since the engine has optimized by then, or after this many seconds. */
const [ELEMENTS, MAX_SECONDS] = [4e6, 0.3];

export async function warmUp({ step, steps = 1 }: Opened, length: number): Promise<void> {
  const end = performance.now() + 1000 * MAX_SECONDS;
  // A call has a fixed cost, so count at least 4e3 elements.
  const elements = Math.max(length * steps, 4e3);
  for (let done = 0; done < ELEMENTS && performance.now() < end; done += elements) await step();
}

/** Waits while the engine compiles in a background thread. */
export const pause = (): Promise<void> => setTimeout(100);

/** Seconds per call in the last measurement, from which the next one computes how many calls make a sample. */
const lastCallTime = new WeakMap<Opened, number>();

/** Returns seconds per step: the median of benchmark.js' samples. Five samples take `seconds` together. */
export async function time(opened: Opened, seconds: number): Promise<number> {
  const { step, steps = 1 } = opened;
  const first = step();
  const isAsync = first instanceof Promise;
  await first;
  const minTime = seconds / 5;
  // 20% more calls than needed: otherwise every second sample is slightly too short and benchmark.js repeats it.
  const initCount = Math.ceil((1.2 * minTime) / (lastCallTime.get(opened) ?? Infinity)) || 1;
  // Half of `seconds`, since benchmark.js does not count the time of the first samples.
  const options = { maxTime: seconds / 2, minTime, minSamples: 3, initCount };
  const call = await new Promise<number>((resolve, reject) => {
    const deferred = (done: { resolve: () => void }): void =>
      void (step() as Promise<unknown>).then(() => done.resolve(), reject);
    const bench = new Benchmark(isAsync ? { ...options, defer: true, fn: deferred } : { ...options, fn: step });
    bench.on('error', () => reject(bench.error as unknown as Error));
    bench.on('complete', () => resolve(median(bench.stats.sample)));
    bench.run({ async: isAsync });
  });
  lastCallTime.set(opened, call);
  return call / steps;
}
