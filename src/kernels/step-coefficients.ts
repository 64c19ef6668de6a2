// The step arithmetic of an algorithm without tensors: computes its kernel's scalars.

import type { GivenOptions } from '../inputs/given.js';
import type { AnyAlgorithm } from '../algorithms/algorithm.js';
import * as algorithms from '../algorithms/index.js';
import { readOnly } from '../inputs/assignments.js';
import { StepArithmetic } from '../step/arithmetic.js';
import { averageScalars } from '../step/mode.js';
import { resolveOptions, showOptions } from '../inputs/options.js';
import { canCount, countFrom, expect, expectArguments, expectOptions, isRecord, list, ownOf } from '../errors.js';
import type { KernelName } from './table.js';
import type { Floats } from '../platform.js';

/** The name of an algorithm: 'adamw', ... */
export type AlgorithmName = keyof typeof algorithms;

/** The options of an algorithm. */
export type OptionsOf<Name extends AlgorithmName> = Mutable<(typeof algorithms)[Name]['defaults']>;
type Mutable<Options> = { -readonly [Key in keyof Options]: Options[Key] };

/** The state between steps: numbers, for JSON. */
export type CoefficientsState = Readonly<Record<string, number>>;

/** Computes the scalars of one step after another. */
export interface StepCoefficients<Options> {
  /** The kernel that takes these scalars. */
  readonly kernel: KernelName;
  /** Assignments are checked, and take effect at the next step. */
  readonly options: Options;
  /** The number of completed steps, including the one that `next` began. */
  readonly step: number;
  /** The state from which `coefficients(name, options, state)` continues. */
  readonly state: CoefficientsState;
  /**
   * Begins the next step: computes its scalars, and counts it.
   *
   * @throws The error of a function in the options, or TypeError for a bad value that it returns. Then the
   *   step has not begun.
   * @example
   * const made = coefficients('adamw', { lr: 0.01 });
   * made.next();
   * made.step; // 1
   */
  next(): void;
  /**
   * Returns the scalars of this step for a tensor.
   *
   * @param tensor - `decays`: whether weight decay applies to the tensor, default true. `isFirst`: whether this is the
   *   tensor's first step, by default whether it is the first of all.
   * @returns A new array of f32, in the order of `kernels[name].scalars`.
   * @throws TypeError for another argument, and before the first `next()`.
   * @example
   * const made = coefficients('adamw', { lr: 0.01 });
   * made.next();
   * const bias = made.scalars({ decays: false });
   */
  scalars(tensor?: { decays?: boolean | undefined; isFirst?: boolean | undefined }): Floats;
  /**
   * For Schedule-Free, returns the scalars of the kernel `extrapolate`, which moves parameters to the average or back.
   *
   * @param toAverage - true: from y to the average x. false: back.
   * @returns A new array of f32, in the order of `kernels.extrapolate.scalars`.
   * @throws TypeError for another argument, and for an algorithm without an average.
   * @example const scalars = coefficients('sgdScheduleFree').average(true);
   */
  average(toAverage: boolean): Floats;
}

/**
 * Computes the scalars of an algorithm's kernel at each step, for tensors that all step together. Bias corrections,
 * schedule, decay and Schedule-Free's sums are computed in f64 and rounded once.
 *
 * @param name - The algorithm: 'adamw', ...
 * @param options - Its options, with its defaults, except `decayMask`: see `scalars`.
 * @param state - The `state` from which to continue. Default: before the first step.
 * @returns The arithmetic. Call `next()` at each step, then `scalars()`.
 * @throws TypeError for an unknown name or option, or a value that is not as documented.
 * @example
 * const made = coefficients('adamw', { lr: 0.01 });
 * made.next();
 * const scalars = made.scalars(); // for the kernel made.kernel
 */
export function coefficients<Name extends AlgorithmName>(
  name: Name,
  options: GivenOptions<OptionsOf<Name>> = {},
  state: CoefficientsState = { step: 0 },
): StepCoefficients<OptionsOf<Name>> {
  expectArguments(arguments.length, 3, 'coefficients');
  const isOne = typeof name === 'string' && Object.hasOwn(algorithms, name);
  expect(isOne, 'the algorithm', `one of ${list(Object.keys(algorithms), Infinity)}`, name);
  expect(isRecord(options), `the options of ${name}`, 'a record', options);
  expect(isRecord(state), 'the state', 'a record', state);
  const algorithm = ownOf(algorithms[name]) as unknown as AnyAlgorithm;
  const resolved = resolveOptions(algorithm, options as Record<string, unknown>, {}, '');
  const { decayMask } = resolved;
  expect(decayMask === undefined, 'decayMask', 'undefined: use scalars({ decays })', decayMask);
  const rule = algorithm.rule(resolved);
  const arithmetic = new StepArithmetic(algorithm, rule, resolved, '');
  const saved = ownOf(state);
  let { step } = saved;
  expect(canCount(step), 'step', countFrom(0), step);
  for (const key of Object.keys(arithmetic.state)) {
    if (step === 0) break;
    expect(Number.isFinite(saved[key]), key, 'a finite number', saved[key]);
    arithmetic.state[key] = saved[key];
  }

  const write = (completed: number, isFirst: boolean, decays: boolean): Floats => {
    const scalars = new Float32Array(rule.scalars.length);
    arithmetic.write(scalars, completed, isFirst, decays);
    return scalars;
  };
  /** The scalars of the current step, computed when it begins: later changes of options apply to the next step. */
  let current: readonly (readonly Floats[])[] = [];
  const made: StepCoefficients<OptionsOf<Name>> = {
    kernel: rule.name as KernelName,
    options: showOptions(algorithm, resolved, {}, '').view as OptionsOf<Name>,
    get step() {
      return step;
    },
    get state() {
      return { step, ...arithmetic.state };
    },
    next() {
      expectArguments(arguments.length, 0, 'next');
      arithmetic.begin(step);
      const flags = [false, true];
      current = flags.map((isFirst) => flags.map((decays) => write(step, isFirst, decays)));
      arithmetic.commit(true);
      step += 1;
    },
    scalars(tensor = {}) {
      expectArguments(arguments.length, 1, 'scalars');
      expectOptions(tensor, 'scalars', ['decays', 'isFirst']);
      const { decays = true, isFirst = step === 1 } = ownOf(tensor);
      expect(typeof decays === 'boolean', 'decays', 'true or false', decays);
      expect(typeof isFirst === 'boolean', 'isFirst', 'true or false', isFirst);
      expect(current.length > 0, 'the step', 'begun by next()', step);
      return current[Number(isFirst)][Number(decays)].slice();
    },
    average(toAverage) {
      expectArguments(arguments.length, 1, 'average');
      expect(typeof toAverage === 'boolean', 'toAverage', 'true or false', toAverage);
      const { average } = algorithm;
      expect(average !== undefined, 'the algorithm', 'one with an average', name);
      const scalars = averageScalars(algorithm, resolved, toAverage);
      return Float32Array.from(average.rule.scalars, (scalar) => scalars[scalar]);
    },
  };
  return readOnly(made, 'coefficients', 'assign to an option, as options.lr.');
}
