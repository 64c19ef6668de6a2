// Averages the weights of an optimizer. An average is itself an optimizer, whose gradients are those weights.

import type { EmaOptions } from '../algorithms/index.js';
import type { CreateSync, MachineOptions } from '../create.js';
import type { GivenOptions, Tensors } from '../inputs/given.js';
import { Optimizer } from '../optimizer.js';
import { expect, expectArguments, isRecord, show } from '../errors.js';

/** The type of the values in `optimizer.params`. */
export type Memory = Float32Array | GPUBufferBinding;

/** Options that an average takes from its optimizer, or does not have. */
const unavailable = ['backend', 'device', 'keepGrads', 'shapes', 'threads', 'wasm'] as const;

/** `ema` of an entry. */
export type Ema = <Shown extends Memory, Names extends string>(
  optimizer: Optimizer<Shown, any, Names>,
  options?: GivenOptions<EmaOptions>,
) => Promise<Optimizer<Shown, EmaOptions, Names>>;

/** `ema` of `twinstep/sync`. */
export type EmaSync = <Names extends string>(
  optimizer: Optimizer<Float32Array, any, Names>,
  options?: GivenOptions<EmaOptions>,
) => Optimizer<Float32Array, EmaOptions, Names>;

/** Creates an average of arrays. */
type CreateEma = (params: Tensors<Float32Array>, options: never) => Promise<Optimizer<any, EmaOptions>>;

/** Returns the public function `ema`. `create` creates the optimizer that is the average, on the kind `only` if given. */
export function emaBy(create: CreateEma, only?: 'GPU'): Ema {
  return async function ema(optimizer, options = {}) {
    const given = readOptions(arguments.length, optimizer, options, only);
    const names = Object.keys(optimizer.params) as never[];
    const copies = await Promise.all(names.map((name) => optimizer.read(name)));
    const average = await create(Object.fromEntries(names.map((name, i) => [name, copies[i]])), given as never);
    return average as never;
  };
}

/** Returns the same at once, for optimizers on the CPU. */
export function syncEmaBy(create: CreateSync<EmaOptions>): EmaSync {
  return function ema(optimizer, options = {}) {
    const given = readOptions(arguments.length, optimizer, options, 'CPU');
    return create(optimizer.params, given as never) as never;
  };
}

/** Checks the arguments of `ema`. Returns the options of its optimizer. */
function readOptions(
  count: number,
  optimizer: Optimizer<any, any, any>,
  options: GivenOptions<EmaOptions>,
  only: 'CPU' | 'GPU' | undefined,
): GivenOptions<EmaOptions> & MachineOptions {
  expectArguments(count, 2, 'ema');
  checkOptimizer(optimizer, 'ema');
  expect(isRecord(options), 'the options of ema', 'a record', options);
  const given = unavailable.find((option) => Object.hasOwn(options, option));
  if (given !== undefined) {
    const has = 'ema has "decay", and runs where its optimizer does';
    throw new TypeError(`Unknown option ${show(given)}, got ${show((options as MachineOptions)[given])}; ${has}.`);
  }
  const { backend, wasm } = Optimizer.stateOf(optimizer);
  const { device } = backend;
  const isHere = only === undefined || (device === undefined) === (only === 'CPU');
  expect(isHere, 'the optimizer', `on the ${only} (\`twinstep\` has averages on both)`, optimizer);
  const { shapes } = optimizer;
  return { ...options, backend: optimizer.backend.name, device, wasm, keepGrads: false, shapes };
}

export function checkOptimizer(value: unknown, method: string): void {
  expect(value instanceof Optimizer, `the first argument of ${method}`, 'an optimizer', value);
}
