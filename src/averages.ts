// Averages of the weights of any optimizer: they are optimizers themselves, whose gradients are the weights.

import type { GroupOptions } from './algorithms/algorithm.js';
import * as algorithms from './algorithms/index.js';
import type { EmaOptions } from './algorithms/index.js';
import { creator } from './create.js';
import type { Gradients } from './gradients.js';
import { checkUsage } from './backends/webgpu/read.js';
import { isFloat32Array, type GpuMemory } from './memory.js';
import type { Optimizer } from './optimizer.js';
import { expect, isRecord, show } from './sentences.js';
import type { StateDict } from './state/dict.js';
import type { StepOptions } from './steps.js';

type Memory = Float32Array | GPUBufferBinding;

const createEma = creator(algorithms.ema);

/**
 * An exponential moving average of the weights of `optimizer`, on the same machine: it begins as a copy of them, and
 * `average.step(optimizer.params)` takes them in. `average.params` and `read` are the averages; it is saved, loaded and
 * put into checkpoints as any optimizer is. Throws a sentence for a `decay` that is not as documented.
 */
export async function ema<Shown extends Memory, Options extends GroupOptions>(
  optimizer: Optimizer<Shown, Options>,
  options: Partial<EmaOptions> = {},
): Promise<Optimizer<Shown, EmaOptions>> {
  const names = Object.keys(optimizer.params);
  const copies = await Promise.all(names.map((name) => optimizer.read(name)));
  const params = Object.fromEntries(names.map((name, i) => [name, copies[i]]));
  const { device, backend } = optimizer;
  const average = await createEma(params, { ...options, backend: backend.name, device, keepGrads: false });
  return average as Optimizer<unknown, EmaOptions> as Optimizer<Shown, EmaOptions>;
}

/** The options of `lookahead`. */
export interface LookaheadOptions {
  /** How many steps are looked ahead, at least 1. Default 5. */
  k?: number;
  /** How far the slow weights go towards those k steps ahead, more than 0 and at most 1. Default 0.5. */
  alpha?: number;
}

/** What `Lookahead` remembers, besides the parameters themselves. */
export interface LookaheadState {
  /** Completed steps. */
  steps: number;
  optimizer: StateDict;
  slow: StateDict;
  /** The slow weights by name. */
  slow_params: Record<string, Float32Array>;
}

/**
 * Lookahead (arXiv 1907.08610) over any optimizer: every `k` steps slow weights go by `alpha` towards the optimizer's,
 * which then begin anew from there; its moments go on. It is stepped in place of the optimizer, everything else is done
 * with `lookahead.optimizer` as ever. On the GPU the caller's buffers need COPY_SRC and COPY_DST usage.
 */
export async function lookahead<Shown extends Memory, Options extends GroupOptions>(
  optimizer: Optimizer<Shown, Options>,
  { k = 5, alpha = 0.5 }: LookaheadOptions = {},
): Promise<Lookahead<Shown, Options>> {
  expect(Number.isSafeInteger(k) && k >= 1, 'k', 'a whole number of at least 1', k);
  expect(alpha > 0 && alpha <= 1, 'alpha', 'a number of more than 0 and at most 1', alpha);
  for (const [name, param] of Object.entries(optimizer.params)) {
    if (!isFloat32Array(param)) checkUsage(param.buffer, 'COPY_DST', `Lookahead of ${show(name)}`);
  }
  return new Lookahead(optimizer, await ema(optimizer, { decay: () => 1 - alpha }), k);
}

export class Lookahead<Shown extends Memory, Options extends GroupOptions> {
  /** The optimizer that it was made over. */
  readonly optimizer: Optimizer<Shown, Options>;
  /** The slow weights, as an average. */
  readonly slow: Optimizer<Shown, EmaOptions>;
  readonly #k: number;
  #steps = 0;

  /** Use `lookahead`. */
  constructor(optimizer: Optimizer<Shown, Options>, slow: Optimizer<Shown, EmaOptions>, k: number) {
    this.optimizer = optimizer;
    this.slow = slow;
    this.#k = k;
  }

  /** One step of the optimizer, and every k-th time of the slow weights; arguments and errors are the optimizer's. */
  step(grads?: Gradients, options: StepOptions = {}): void {
    if (arguments.length === 0) this.optimizer.step();
    else this.optimizer.step(grads, options);
    if (options.more === true || !this.#isTurn()) return;
    this.slow.step(this.optimizer.params);
    const { device } = this.optimizer;
    const encoder = device?.createCommandEncoder({ label: 'twinstep lookahead' });
    this.#beginAnew(encoder);
    if (encoder !== undefined) device!.queue.submit([encoder.finish()]);
  }

  /** The same, recorded into the caller's encoder. */
  encode(encoder: GPUCommandEncoder, ...rest: [grads?: Record<string, GpuMemory | null>, options?: StepOptions]): void {
    this.optimizer.encode(encoder, ...rest);
    if (rest[1]?.more === true || !this.#isTurn()) return;
    this.slow.encode(encoder, this.optimizer.params as Record<string, GPUBufferBinding>);
    this.#beginAnew(encoder);
  }

  /** The optimizer's state dict, the slow weights, and how many steps there were. */
  async stateDict(): Promise<LookaheadState> {
    const names = Object.keys(this.slow.params);
    const steps = this.#steps;
    const [optimizer, slow, ...values] = await Promise.all([
      this.optimizer.stateDict(),
      this.slow.stateDict(),
      ...names.map((name) => this.slow.read(name)),
    ]);
    return { steps, optimizer, slow, slow_params: Object.fromEntries(names.map((name, i) => [name, values[i]])) };
  }

  /** Takes over what `stateDict()` gave. Throws a sentence for what does not fit, and then nothing has changed. */
  async loadStateDict(dict: LookaheadState): Promise<void> {
    expect(isRecord(dict), 'the state dict of Lookahead', 'a record', dict);
    const { steps, optimizer, slow, slow_params: params } = dict;
    expect(Number.isSafeInteger(steps) && steps >= 0, 'steps in the state dict', 'a whole number of at least 0', steps);
    const before = await this.stateDict();
    await this.slow.loadStateDict(slow, { params });
    try {
      await this.optimizer.loadStateDict(optimizer);
    } catch (error) {
      await this.slow.loadStateDict(before.slow, { params: before.slow_params });
      throw error;
    }
    this.#steps = steps;
  }

  /** Lets go of the slow weights, and of the optimizer. */
  dispose(): void {
    this.slow.dispose();
    this.optimizer.dispose();
  }

  #isTurn(): boolean {
    this.#steps += 1;
    return this.#steps % this.#k === 0;
  }

  /** Has the optimizer go on from the slow weights. */
  #beginAnew(encoder: GPUCommandEncoder | undefined): void {
    for (const [name, from] of Object.entries(this.slow.params)) {
      const to = this.optimizer.params[name];
      if (isFloat32Array(to)) to.set(from as Float32Array);
      else copy(encoder!, from as GPUBufferBinding, to as GPUBufferBinding);
    }
  }
}

function copy(encoder: GPUCommandEncoder, from: GPUBufferBinding, to: GPUBufferBinding): void {
  encoder.copyBufferToBuffer(from.buffer, from.offset ?? 0, to.buffer, to.offset ?? 0, from.size ?? 0);
}
