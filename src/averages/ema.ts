// Averages of the weights of any optimizer: each is an optimizer itself, whose gradients are the weights.

import type { GroupOptions } from '../algorithms/algorithm.js';
import * as algorithms from '../algorithms/index.js';
import type { EmaOptions } from '../algorithms/index.js';
import { creator, type MachineOptions } from '../create.js';
import { Optimizer } from '../optimizer.js';
import { expect, expectArguments, isRecord, show } from '../errors.js';

/** What `optimizer.params` shows. */
export type Memory = Float32Array | GPUBufferBinding;

/** Options that an average takes over from its optimizer, or has no use for. */
const ofMachine = ['backend', 'device', 'keepGrads', 'threads', 'wasm'] as const;

const createEma = /* @__PURE__ */ creator(algorithms.ema);

/**
 * An exponential moving average of the weights of `optimizer`, on the same machine: it begins as a copy of them, and
 * `average.step(optimizer.params)` takes them in. `average.params` and `read` are the averages; it is saved, loaded and
 * put into checkpoints as any optimizer is, and may outlive the optimizer. Rejects with an Error for a `decay` that is
 * not as documented, and for options of the machine: it runs on one thread and keeps no gradients.
 */
export async function ema<Shown extends Memory, Options extends GroupOptions>(
  optimizer: Optimizer<Shown, Options>,
  options: Partial<EmaOptions> = {},
): Promise<Optimizer<Shown, EmaOptions>> {
  expectArguments(arguments.length, 2, 'ema');
  checkOptimizer(optimizer, 'what is averaged');
  expect(isRecord(options), 'the options of ema', 'a record', options);
  const given = ofMachine.find((option) => Object.hasOwn(options, option));
  if (given !== undefined) {
    const has = 'ema has "decay", and runs where its optimizer does';
    throw new TypeError(`Unknown option ${show(given)}, got ${show((options as MachineOptions)[given])}; ${has}.`);
  }
  const names = Object.keys(optimizer.params);
  const copies = await Promise.all(names.map((name) => optimizer.read(name)));
  const params = Object.fromEntries(names.map((name, i) => [name, copies[i]]));
  const average = await createEma(params, { ...options, ...optimizer.machine, keepGrads: false });
  return average as Optimizer<unknown, EmaOptions> as Optimizer<Shown, EmaOptions>;
}

export function checkOptimizer(value: unknown, what: string): void {
  expect(value instanceof Optimizer, what, 'an optimizer', value);
}
