// The scale of the loss, as PyTorch's torch.amp.GradScaler: halved after an overflow, doubled after many steps without.

import { isDevice } from '../backends/backend.js';
import { expect, expectArguments, expectOptions, isCount, ownOf, unexpected } from '../errors.js';
import {
  checkScalerNumber,
  LEAST_SCALE,
  MOST_SCALE,
  readScalerDict,
  type ScalerStateDict,
} from '../inputs/scaler-dict.js';
import { ScalerMemory } from './scaler-memory.js';
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

/** All that a scaler holds. */
class State implements Scaling {
  /** The state as it was made or loaded. On the CPU also as it was updated. */
  dict: ScalerStateDict;
  skipped = 0;
  /** Where the scaler is: undefined before the first step. */
  place: 'CPU' | 'GPU' | undefined;
  /** The state on the GPU. Not valid before `place` is 'GPU': the step that allocated it may have failed. */
  gpu: ScalerMemory | undefined;
  readonly #optimizers: number;
  /** The optimizers that have stepped in this round: the first `#count` of these. */
  readonly #stepped: (object | undefined)[] = [];
  #count = 0;
  /** Whether one of them has found an overflow. On the CPU. */
  #found = false;

  constructor(dict: ScalerStateDict, optimizers: number, device: GPUDevice | undefined) {
    this.dict = dict;
    this.#optimizers = optimizers;
    if (device !== undefined) {
      this.memory(device);
      this.place = 'GPU';
    }
  }

  get scale(): number {
    return this.dict.scale;
  }

  get isLast(): boolean {
    return this.#count === this.#optimizers - 1;
  }

  enter(optimizer: object, device: GPUDevice | undefined): void {
    const isHere =
      this.place === undefined || (device === undefined ? this.place === 'CPU' : this.gpu?.device === device);
    if (!isHere) {
      const there = device === undefined ? 'on the CPU' : 'on a GPU device';
      const here = this.place === 'CPU' ? 'the CPU' : device === undefined ? 'a GPU device' : 'another one';
      throw new TypeError(`The optimizer is ${there} and the scaler on ${here}: make a scaler for this optimizer.`);
    }
    if (!this.#stepped.includes(optimizer)) return;
    const left = this.#optimizers - this.#count;
    const which = `${left} of the ${this.#optimizers} optimizers of the scaler must step first`;
    throw new Error(`This optimizer has already stepped with this scale; ${which}.`);
  }

  memory(device: GPUDevice): GPUBuffer {
    if (this.gpu?.device !== device) {
      this.gpu?.buffer.destroy();
      this.gpu = new ScalerMemory(device, this.dict);
    }
    return this.gpu.buffer;
  }

  commit(optimizer: object, device: GPUDevice | undefined, found: boolean): void {
    this.place = device === undefined ? 'CPU' : 'GPU';
    if (!this.isLast) {
      this.#found ||= found;
      this.#stepped[this.#count] = optimizer;
      this.#count += 1;
      return;
    }
    if (device === undefined) this.#update(this.#found || found);
    this.#found = false;
    this.#stepped.fill(undefined);
    this.#count = 0;
  }

  checkDict(dict: unknown): void {
    this.checkRound('loaded');
    readScalerDict(dict);
  }

  /** Throws between the steps of a round. */
  checkRound(verb: string): void {
    if (this.#count === 0) return;
    const which = `${this.#count} of its ${this.#optimizers} optimizers have stepped`;
    throw new Error(`A scaler can be ${verb} only between updates of the scale, but ${which} since the latest one.`);
  }

  /** Updates the scale. On the CPU; wgsl/scaler.wgsl does the same. */
  #update(found: boolean): void {
    const { dict } = this;
    dict._growth_tracker = found ? 0 : dict._growth_tracker + 1;
    if (found) this.skipped += 1;
    else if (dict._growth_tracker >= dict.growth_interval) dict._growth_tracker = 0;
    else return;
    const scale = Math.fround(dict.scale * (found ? dict.backoff_factor : dict.growth_factor));
    if (scale >= LEAST_SCALE && scale <= MOST_SCALE) dict.scale = scale;
  }
}

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
  #state: State | undefined;

  /** Do not call this: use `gradScaler`. */
  constructor(dict: ScalerStateDict, optimizers: number, device: GPUDevice | undefined) {
    this.#state = new State(dict, optimizers, device);
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

  #open(): State {
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
