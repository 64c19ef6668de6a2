// The scale of the loss, as PyTorch's torch.amp.GradScaler: halved after an overflow, doubled after many steps without.

import { isDevice } from '../backends/backend.js';
import { expect, expectArguments, expectOptions, isCount, ownOf, unexpected } from '../errors.js';
import { checkScalerNumber, readScalerDict, type ScalerStateDict } from '../inputs/scaler-dict.js';
import { ScalerState } from './scaler-state.js';
import { SCALING, type Scaling } from './scaling.js';

/** The options of `gradScaler`. */
export interface GradScalerOptions {
  /** The first scale, from 2^-126 to 2^126. Rounded to f32. Default 65536. */
  initScale?: number | undefined;
  /** Multiplies the scale after `growthInterval` updates without an overflow. More than 1. Default 2. */
  growthFactor?: number | undefined;
  /** Multiplies the scale after an overflow. More than 0, less than 1. Default 0.5. */
  backoffFactor?: number | undefined;
  /** The number of updates without an overflow after which the scale grows, from 1. Default 2000. */
  growthInterval?: number | undefined;
  /**
   * The number of optimizers that use the scaler. The scale is updated when each of them has stepped once. Default 1.
   */
  optimizers?: number | undefined;
  /** The device of the optimizers, so that `buffer` can be used before the first step. Default: that of the first step. */
  device?: GPUDevice | undefined;
}

/** What `read()` of a scaler resolves to. */
export interface ScalerReading {
  /** The scale. */
  scale: number;
  /** The updates without an overflow since the scale changed last. */
  growthTracker: number;
  /** The updates that found an infinity or NaN since the scaler was made. */
  skipped: number;
}

const optionNames = ['initScale', 'growthFactor', 'backoffFactor', 'growthInterval', 'optimizers', 'device'];

const DISPOSED = 'This scaler has been disposed of.';

/**
 * A loss scale that adapts itself, made by `gradScaler`. Multiply the loss by it, and pass the scaler to each step as the
 * option `scaler`: the step divides the gradients by the scale, and is left out if they hold an infinity or NaN. After
 * the step of the last of its `optimizers`, the scale is updated.
 *
 * All methods and properties throw an Error after `dispose()`, and what reads or writes a GPU once its device is lost.
 *
 * @example
 * const scaler = gradScaler({ initScale: 1024 });
 * const scaled = { bias: grads.bias.map((value) => value * scaler.scale) }; // by a backward pass of scale * loss
 */
export class GradScaler {
  /** Undefined after `dispose()`. */
  #state: ScalerState | undefined;

  /** Do not call this: use `gradScaler`. */
  constructor(dict: ScalerStateDict, optimizers: number, device: GPUDevice | undefined) {
    this.#state = new ScalerState(dict, optimizers, device);
  }

  /** What a step uses. @internal */
  get [SCALING](): Scaling {
    return this.#open();
  }

  /**
   * The scale, for the loss, as a number. On the CPU and before the first step.
   *
   * @returns An f32, `initScale` at first.
   * @throws TypeError if the scaler is on a GPU, where `buffer` has the scale.
   */
  get scale(): number {
    const { place, scale } = this.#open();
    if (place !== 'GPU') return scale;
    throw new TypeError(
      'The scale is on a GPU: bind scaler.buffer in your kernel of the loss, or await scaler.read().',
    );
  }

  /**
   * The scale, for the loss, on the GPU: one f32, which each update changes in place. The buffer has STORAGE, UNIFORM,
   * COPY_SRC and COPY_DST usage.
   *
   * @returns A frozen binding of 4 bytes, always the same object.
   * @throws TypeError on the CPU, where `scale` has it, and before the first step if the option `device` was not passed.
   */
  get buffer(): GPUBufferBinding {
    const { place, gpu } = this.#open();
    if (place === 'GPU') return gpu!.binding;
    throw new TypeError(
      place === 'CPU'
        ? 'The scale is on the CPU: use the number scaler.scale.'
        : 'The scale is on no GPU before the first step: pass the option device to gradScaler().',
    );
  }

  /**
   * Resolves to the scale and counters as of the call. On the GPU, as of the steps that were submitted.
   *
   * @returns A promise of `{ scale, growthTracker, skipped }`.
   * @throws An Error if the device is lost. The promise rejects with it.
   * @example const { scale, skipped } = await gradScaler().read();
   */
  async read(): Promise<ScalerReading> {
    expectArguments(arguments.length, 0, 'read');
    const { place, gpu, dict, skipped } = this.#open();
    if (place === 'GPU') return gpu!.read();
    return { scale: dict.scale, growthTracker: dict._growth_tracker, skipped };
  }

  /**
   * Resolves to the state in the names of PyTorch's GradScaler. On the GPU, as of the steps that were submitted.
   *
   * @returns A promise of `{ scale, growth_factor, backoff_factor, growth_interval, _growth_tracker }`.
   * @throws An Error if some of `optimizers` have stepped since the latest update, and not all. The promise rejects with
   *   it.
   * @example const dict = await gradScaler().stateDict();
   */
  async stateDict(): Promise<ScalerStateDict> {
    expectArguments(arguments.length, 0, 'stateDict');
    const state = this.#open();
    state.checkRound('saved');
    const dict = { ...state.dict };
    if (state.place !== 'GPU') return dict;
    const { scale, growthTracker } = await state.gpu!.read();
    return { ...dict, scale, _growth_tracker: growthTracker };
  }

  /**
   * Loads a state dict, also PyTorch's: scale, factors, interval, and the count of updates without an overflow. On the
   * GPU it is written at this point of the queue.
   *
   * @param dict - What `stateDict()` resolved to, or the `state_dict()` of PyTorch's GradScaler.
   * @returns A promise of undefined.
   * @throws TypeError for a dict that is not as documented, and the Error of `stateDict()`. The promise rejects with
   *   them, and then nothing has changed.
   * @example
   * const scaler = gradScaler();
   * await scaler.loadStateDict(await gradScaler({ initScale: 1024 }).stateDict());
   * scaler.scale; // 1024
   */
  async loadStateDict(dict: ScalerStateDict): Promise<void> {
    expectArguments(arguments.length, 1, 'loadStateDict');
    const state = this.#open();
    state.checkRound('loaded');
    state.dict = readScalerDict(dict);
    state.gpu?.write(state.dict);
    if (state.place === 'GPU') await state.gpu!.checkAlive();
  }

  /**
   * Frees the buffer on the GPU. A second call does nothing.
   *
   * @throws TypeError for arguments.
   * @example gradScaler().dispose();
   */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    this.#state?.gpu?.buffer.destroy();
    this.#state = undefined;
  }

  #open(): ScalerState {
    if (this.#state === undefined) throw new Error(DISPOSED);
    return this.#state;
  }
}

/**
 * Creates a scaler of the loss for gradients of small range, such as f16. Names, defaults and arithmetic are those of
 * torch.amp.GradScaler, except that the scale stays from 2^-126 to 2^126, and is updated by the step itself.
 *
 * @param options - `initScale`, `growthFactor`, `backoffFactor`, `growthInterval`, `optimizers` and `device`.
 * @returns The scaler, at once.
 * @throws TypeError for any option that is not as documented.
 * @example
 * const scaler = gradScaler({ growthInterval: 500 });
 * scaler.scale; // 65536
 */
export function gradScaler(options: GradScalerOptions = {}): GradScaler {
  expectArguments(arguments.length, 1, 'gradScaler');
  const given: GradScalerOptions = options;
  expectOptions(options, 'gradScaler', optionNames);
  const own = ownOf(given);
  const { initScale = 65536, growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000, optimizers = 1 } = own;
  const { device } = own;
  checkScalerNumber('scale', 'initScale', initScale);
  checkScalerNumber('growth_factor', 'growthFactor', growthFactor);
  checkScalerNumber('backoff_factor', 'backoffFactor', backoffFactor);
  checkScalerNumber('growth_interval', 'growthInterval', growthInterval);
  if (!isCount(optimizers, 1)) throw unexpected('optimizers', 'a whole number of at least 1', optimizers);
  expect(device === undefined || isDevice(device), 'device', 'a GPUDevice', device);
  const dict = {
    scale: Math.fround(initScale),
    growth_factor: growthFactor,
    backoff_factor: backoffFactor,
    growth_interval: growthInterval,
    _growth_tracker: 0,
  };
  return new GradScaler(dict, optimizers, device);
}
