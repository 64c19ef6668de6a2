// `npm run bench`: nanoseconds per parameter of one step, by optimizer, backend and size, beside the plain JS loop of AdamW.
// Contenders take turns in many short rounds, and ratios are medians over rounds: a machine's drift is in both sides.

import Benchmark from 'benchmark';
import { SingleBar } from 'cli-progress';
import { openDevice } from '../tools/dawn.js';
import { contenders } from './contenders.js';

const quick = process.argv.includes('--quick');
const sizes = quick ? [1e3, 1e5, 1e6] : [1e3, 1e4, 1e5, 1e6, 1e7];
const rounds = quick ? 5 : 15;
const secondsPerRound = quick ? 0.05 : 0.15;

const opened = await openDevice();
const device = typeof opened === 'string' ? undefined : opened.device;
const adapter = typeof opened === 'string' ? `none (${opened})` : opened.adapter;
console.log(`Node ${process.version}, ${process.arch}; WebGPU adapter: ${adapter}`);

const everyone = contenders(device, adapter.includes('SwiftShader'));
const runs = sizes.flatMap((size) => everyone.filter(({ most }) => size <= most).map(({ name }) => [size, name]));
const bar = new SingleBar({ format: '[{bar}] {percentage}% | {name} | {size}', noTTYOutput: true });
bar.start(runs.length * rounds, 0, { name: '', size: '' });

const rows: Record<string, Record<string, string>> = {};
for (const size of sizes) {
  const present = everyone.filter(({ most }) => size <= most);
  const opens = await Promise.all(present.map((contender) => contender.open(size)));
  const times: number[][] = present.map(() => []);
  for (const { step } of opens) await warmUp(step, size);
  for (let round = 0; round < rounds; round++) {
    for (const [i, { step }] of opens.entries()) {
      times[i].push((await time(step)) / size);
      bar.increment({ name: present[i].name, size: size.toExponential() });
    }
  }
  opens.forEach(({ close }) => close());
  present.forEach(({ name }, i) => {
    const ratio = median(times[0].map((plain, round) => plain / times[i][round]));
    rows[name] = { ...rows[name], [size.toExponential()]: `${median(times[i]).toPrecision(3)} (${ratio.toFixed(2)}x)` };
  });
}
bar.stop();
console.log('ns per parameter of one step (speed-up over the plain JS loop of AdamW), medians');
console.table(rows);
process.exit(0);

/** Until the engine has compiled for speed: some millions of elements, and a pause in which it can. */
async function warmUp(step: () => unknown, size: number): Promise<void> {
  for (let done = 0; done < 4e6; done += Math.max(size, 4e4)) await step();
  await new Promise((resolve) => setTimeout(resolve, 100));
}

/** Nanoseconds of one call: the median of benchmark.js' samples. Only steps on the GPU are waited for. */
function time(step: () => unknown): Promise<number> {
  return new Promise((resolve) => {
    const options = {
      maxTime: secondsPerRound,
      minSamples: 3,
      onComplete(this: Benchmark) {
        resolve(1e9 * median(this.stats.sample));
      },
    };
    const isAsync = step() instanceof Promise;
    const deferred = (done: { resolve: () => void }): void =>
      void (step() as Promise<unknown>).then(() => done.resolve());
    new Benchmark(isAsync ? { ...options, defer: true, fn: deferred } : { ...options, fn: step }).run({ async: true });
  });
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}
