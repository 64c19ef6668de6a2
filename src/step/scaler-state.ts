// What a gradient scaler holds, and how steps change it.

import { LEAST_SCALE, MOST_SCALE, readScalerDict, type ScalerStateDict } from '../inputs/scaler-dict.js';
import { ScalerMemory } from './scaler-memory.js';
import type { Scaling } from './scaling.js';

/** All that a scaler holds. */
export class ScalerState implements Scaling {
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
