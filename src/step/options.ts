// Reads and checks the options of a step.

import { expect, expectOptions, isRecord, show } from '../errors.js';
import { isEachClipped, maySkip, type GradientOptions } from '../backends/gradient-options.js';
import type { GpuMemory } from '../backends/memory.js';
import type { GradScaler } from './scaler.js';
import { scalingOf } from './scaling.js';
import { reset } from './request.js';
import type { OptimizerState } from './state.js';

/** A limit of each tensor's norm. */
export interface PerTensor {
  /** The largest L2 norm of the gradient of a tensor. More than 0, or Infinity. */
  readonly perTensor: number;
}

/** The options of a step. */
export interface StepOptions {
  /**
   * true: this call has only some of the step's gradients, and the next call continues the same step. false: this call
   * completes the step. Default false.
   */
  more?: boolean | undefined;
  /**
   * Multiplies the gradients of this call, in addition to the groups' own `gradScale`: a number of at least 0, or on the
   * GPU a buffer of one f32 with STORAGE usage, which is read when the step runs. Default 1.
   */
  gradScale?: number | GpuMemory | undefined;
  /**
   * Clips gradients by their L2 norm, after `gradScale`, `scaler` and `maxValue`. A number: all gradients of the step
   * together, as torch.nn.utils.clip_grad_norm_: each is multiplied by min(1, maxNorm/(norm + 1e-6)). `{ perTensor }`:
   * each by its own norm. More than 0; Infinity only measures, for `gradNorm()`. A norm that is not finite skips the
   * step. Default: no clipping.
   */
  maxNorm?: number | PerTensor | undefined;
  /**
   * Clamps each value of the gradients to at most this magnitude, after `gradScale` and `scaler`, as
   * torch.nn.utils.clip_grad_value_. More than 0. Default: no clipping.
   */
  maxValue?: number | undefined;
  /** Divides each tensor's gradient by its L2 norm. A norm that is not finite skips the step. Default false. */
  normalize?: boolean | undefined;
  /**
   * Skips the step if a gradient holds an infinity or NaN: no parameter, slot or bias correction changes. Schedules
   * count the step. Default false.
   */
  ifFinite?: boolean | undefined;
  /** Divides the gradients by the scale of the loss, skips the step as `ifFinite` does, and updates the scale. */
  scaler?: GradScaler | undefined;
}

const optionNames = ['more', 'gradScale', 'maxNorm', 'maxValue', 'normalize', 'ifFinite', 'scaler'];
const normNames = ['perTensor'];
const POSITIVE = 'a finite number of more than 0';
const NORM = 'a finite number of more than 0, or Infinity';
const SCALE = 'a finite number of at least 0 (maximize steps up the gradient)';

/** Reads and checks the options of a step. Reads each once: a getter may return another value the next time. */
export function readStepOptions(state: OptimizerState, options: StepOptions | undefined): void {
  const { request } = state;
  if (!request.isPlain) reset(request);
  if (options === undefined) return;
  // `expect` would widen the types of `options`.
  const given: StepOptions = options;
  expect(isRecord(options), 'the options of a step', 'a record', options);
  checkNames(options, 'a step', optionNames);
  request.isPlain = false;
  request.more = flag('more', own(given, 'more'));
  readGradientOptions(state, given);
  request.maySkip = maySkip(request);
  request.isEachClipped = isEachClipped(request);
  checkTogether(state);
}

function readGradientOptions(state: OptimizerState, given: StepOptions): void {
  const { request, backend } = state;
  const gradScale = own(given, 'gradScale');
  const maxNorm = own(given, 'maxNorm');
  const maxValue = own(given, 'maxValue');
  const normalize = flag('normalize', own(given, 'normalize'));
  const ifFinite = flag('ifFinite', own(given, 'ifFinite'));
  const scaler = own(given, 'scaler');
  if (scaler !== undefined) {
    request.scaler = scalingOf(scaler);
    request.scaler.enter(state, backend.device);
  }
  if (typeof gradScale === 'object' && gradScale !== null && backend.checkScale !== undefined) {
    backend.checkScale(gradScale, request.scaler?.memory(backend.device!));
    request.scaleBuffer = gradScale;
  } else if (gradScale !== undefined) {
    const isScale = typeof gradScale === 'number' && Math.fround(gradScale) < Infinity && gradScale >= 0;
    expect(isScale, 'gradScale', SCALE, gradScale);
    request.gradScale = gradScale as number;
  }
  expect(maxValue === undefined || isPositive(maxValue), 'maxValue', POSITIVE, maxValue);
  if (maxNorm !== undefined) readMaxNorm(request, maxNorm);
  if (maxNorm !== undefined && normalize) {
    throw new TypeError(
      `Cannot combine normalize and maxNorm, got maxNorm ${show(maxNorm)}: normalize sets each norm to 1.`,
    );
  }
  request.maxValue = maxValue ?? 0;
  request.normalizes = normalize;
  request.ifFinite = ifFinite;
}

function readMaxNorm(request: GradientOptions, maxNorm: NonNullable<StepOptions['maxNorm']>): void {
  let most: unknown = maxNorm;
  request.isPerTensor = isRecord(maxNorm);
  if (isRecord(maxNorm)) {
    checkNames(maxNorm, 'maxNorm', normNames);
    most = Object.hasOwn(maxNorm, 'perTensor') ? maxNorm.perTensor : undefined;
  }
  const isNorm = isPositive(most) || most === Infinity;
  expect(isNorm, request.isPerTensor ? 'maxNorm.perTensor' : 'maxNorm', NORM, most);
  request.maxNorm = most as number;
}

/** Throws if the algorithm, the backend, or a step in several calls does not take these options. */
function checkTogether({ request, isUnfinished, hasLookahead, algorithm, backend }: OptimizerState): void {
  const isClipped = request.maySkip || request.maxValue > 0;
  if (!isClipped && request.gradScale === 1 && request.scaleBuffer === undefined) return;
  const name = nameOf(request);
  if (algorithm.defaults.gradScale === undefined) {
    throw new TypeError(`${algorithm.name} takes no ${name}: its gradients are weights.`);
  }
  if (!isClipped) return;
  if (request.more || isUnfinished) {
    throw new Error(`${name} needs all gradients of a step in one call, without \`more\`.`);
  }
  if (backend.measure !== undefined || !request.maySkip) return;
  const who = hasLookahead ? 'Lookahead' : algorithm.name;
  if (algorithm.corrections !== undefined && !hasLookahead) return;
  const others = 'adam and adamw can, all can on the CPU, and maxValue never skips';
  throw new TypeError(`${name} may skip a step; ${who} cannot skip steps on the GPU: ${others}.`);
}

/** Returns the name of an option that was given. */
function nameOf({ maxNorm, normalizes, scaler, ifFinite, maxValue }: GradientOptions): string {
  if (maxNorm > 0) return 'maxNorm';
  if (normalizes) return 'normalize';
  if (scaler !== undefined) return 'scaler';
  return ifFinite ? 'ifFinite' : maxValue > 0 ? 'maxValue' : 'gradScale';
}

const own = <Name extends keyof StepOptions>(options: StepOptions, name: Name): StepOptions[Name] =>
  Object.hasOwn(options, name) ? options[name] : undefined;

/** Throws unless all names of a record are among these. A for...in loop allocates nothing. */
function checkNames(record: object, what: string, names: readonly string[]): void {
  for (const name in record) {
    if (Object.hasOwn(record, name) && !names.includes(name)) expectOptions(record, what, names);
  }
}

/** Returns the value of an option that is true or false, by default false. */
function flag(name: string, value: unknown): boolean {
  expect(value === undefined || typeof value === 'boolean', name, 'true or false', value);
  return value === true;
}

/** Whether a value is more than 0, finite, and not 0 as f32. */
const isPositive = (value: unknown): value is number =>
  typeof value === 'number' && Math.fround(value) > 0 && Math.fround(value) < Infinity;
