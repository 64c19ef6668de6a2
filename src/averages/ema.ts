// Averages the weights of an optimizer. An average is itself an optimizer, whose gradients are those weights.

import type { GroupOptions } from '../algorithms/algorithm.js';
import * as algorithms from '../algorithms/index.js';
import type { EmaOptions } from '../algorithms/index.js';
import { creator, type MachineOptions } from '../create.js';
import { Optimizer } from '../optimizer.js';
import { expect, expectArguments, isRecord, show } from '../errors.js';

/** The type of the values in `optimizer.params`. */
export type Memory = Float32Array | GPUBufferBinding;

/** Options that an average takes from its optimizer, or does not have. */
const unavailable = ['backend', 'device', 'keepGrads', 'threads', 'wasm'] as const;

const createEma = /* @__PURE__ */ creator(algorithms.ema);

/**
 * Creates an exponential moving average of the weights of `optimizer`, on the same backend. It starts as a copy of
 * them; `average.step(optimizer.params)` updates it. Get its weights from `average.params` or `read`; save and load it
 * like any optimizer, also in checkpoints. It can outlive the optimizer, runs on one thread and keeps no gradients.
 * Rejects with an Error for a `decay` that is not as documented, and for options of the backend.
 */
export async function ema<Shown extends Memory, Options extends GroupOptions>(
  optimizer: Optimizer<Shown, Options>,
  options: Partial<EmaOptions> = {},
): Promise<Optimizer<Shown, EmaOptions>> {
  expectArguments(arguments.length, 2, 'ema');
  checkOptimizer(optimizer, 'ema');
  expect(isRecord(options), 'the options of ema', 'a record', options);
  const given = unavailable.find((option) => Object.hasOwn(options, option));
  if (given !== undefined) {
    const has = 'ema has "decay", and runs where its optimizer does';
    throw new TypeError(`Unknown option ${show(given)}, got ${show((options as MachineOptions)[given])}; ${has}.`);
  }
  const { backend, wasm } = Optimizer.stateOf(optimizer);
  const { device } = backend;
  const names = Object.keys(optimizer.params);
  const copies = await Promise.all(names.map((name) => optimizer.read(name)));
  const params = Object.fromEntries(names.map((name, i) => [name, copies[i]]));
  const average = await createEma(params, {
    ...options,
    backend: optimizer.backend.name,
    device,
    wasm,
    keepGrads: false,
  });
  return average as Optimizer<unknown, EmaOptions> as Optimizer<Shown, EmaOptions>;
}

export function checkOptimizer(value: unknown, method: string): void {
  expect(value instanceof Optimizer, `the first argument of ${method}`, 'an optimizer', value);
}
