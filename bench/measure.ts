// One measurement, in the process of a contender, by benchmark.js.

import Benchmark from 'benchmark';
import { setTimeout } from 'node:timers/promises';
import type { Opened } from './contender.js';
import { median } from './statistics.js';

/** Elements after which an engine has compiled for speed, and seconds after which that was long enough. */
const [ELEMENTS, PATIENCE] = [4e6, 0.3];

export async function warmUp({ step, steps = 1 }: Opened, length: number): Promise<void> {
  const end = performance.now() + 1000 * PATIENCE;
  // A call costs something, however few its elements.
  const elements = Math.max(length * steps, 4e3);
  for (let done = 0; done < ELEMENTS && performance.now() < end; done += elements) await step();
}

/** In which an engine compiles, in a thread of its own. */
export const pause = (): Promise<void> => setTimeout(100);

/** What a call took in the latest measurement, so that the next one finds at once how many calls make a sample. */
const latest = new WeakMap<Opened, number>();

/** Seconds of one step: the median of benchmark.js' samples, five of which take so many seconds together. */
export async function time(opened: Opened, seconds: number): Promise<number> {
  const { step, steps = 1 } = opened;
  const first = step();
  const isAsync = first instanceof Promise;
  await first;
  const minTime = seconds / 5;
  // Some more calls than it takes, or every second sample would be a little short, and taken again.
  const initCount = Math.ceil((1.2 * minTime) / (latest.get(opened) ?? Infinity)) || 1;
  // Of the first samples benchmark.js does not count the time.
  const options = { maxTime: seconds / 2, minTime, minSamples: 3, initCount };
  const call = await new Promise<number>((resolve, reject) => {
    const deferred = (done: { resolve: () => void }): void =>
      void (step() as Promise<unknown>).then(() => done.resolve(), reject);
    const bench = new Benchmark(isAsync ? { ...options, defer: true, fn: deferred } : { ...options, fn: step });
    bench.on('error', () => reject(bench.error as unknown as Error));
    bench.on('complete', () => resolve(median(bench.stats.sample)));
    bench.run({ async: isAsync });
  });
  latest.set(opened, call);
  return call / steps;
}
