// Lookahead over any optimizer: slow weights, which are an average, and from which the optimizer begins anew.

import type { GroupOptions } from './algorithms/algorithm.js';
import type { EmaOptions } from './algorithms/index.js';
import { ema, type Memory } from './averages.js';
import type { Gradients } from './gradients.js';
import type { Tensors } from './groups.js';
import { checkUsage, isFloat32Array, type GpuMemory } from './memory.js';
import type { Optimizer } from './optimizer.js';
import { expect, isRecord, show } from './sentences.js';
import type { StateDict, TensorState } from './state/dict.js';
import type { StepOptions } from './steps.js';

const SLOT = 'slow_param';
const STEPS = 'lookahead_steps';

/** The options of `lookahead`. */
export interface LookaheadOptions {
  /** How many steps are looked ahead, at least 1. Default 5. */
  k?: number;
  /** How far the slow weights go towards those k steps ahead, more than 0 and at most 1. Default 0.5. */
  alpha?: number;
}

/**
 * Lookahead (arXiv 1907.08610) over any optimizer: every `k` steps slow weights go by `alpha` towards the optimizer's,
 * which then begin anew from there; its moments go on. It is stepped, saved and loaded in place of the optimizer;
 * everything else is done with `lookahead.optimizer` as ever. On the GPU the caller's buffers need COPY_SRC and COPY_DST
 * usage. Throws a sentence for options that are not as documented.
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
  /** The live options of the optimizer's groups. */
  readonly groups: Optimizer<Shown, Options>['groups'];
  readonly #k: number;
  #steps = 0;

  /** Use `lookahead`. */
  constructor(optimizer: Optimizer<Shown, Options>, slow: Optimizer<Shown, EmaOptions>, k: number) {
    this.optimizer = optimizer;
    this.groups = optimizer.groups;
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

  /** A copy of a parameter of the optimizer, as its own `read`. */
  async read(name: string, options?: { average?: boolean }): Promise<Float32Array> {
    return this.optimizer.read(name, options);
  }

  /** The optimizer's state dict, with the slow weights as one more slot, `slow_param`, and `lookahead_steps`. */
  async stateDict(): Promise<StateDict> {
    const steps = this.#steps;
    const names = Object.keys(this.slow.params);
    const [dict, ...values] = await Promise.all([
      this.optimizer.stateDict(),
      ...names.map((name) => this.slow.read(name)),
    ]);
    const states = join(dict, steps);
    for (const [i, name] of names.entries()) states.get(name)![SLOT] = values[i];
    return dict;
  }

  /** The same but for its arrays, to be read one at a time, as the optimizer's. */
  lazyStateDict(): ReturnType<Optimizer<Shown, Options>['lazyStateDict']> {
    const { dict, params, arrays } = this.optimizer.lazyStateDict();
    const states = join(dict, this.#steps);
    const slow = this.slow.lazyStateDict().params;
    const slowArrays = slow.map((each) => ({ ...each, slot: SLOT, state: states.get(each.name)! }));
    return { dict, params, arrays: [...arrays, ...slowArrays] };
  }

  /** Takes over what `stateDict()` gave, as the optimizer does: wholly, or with a sentence not at all. */
  async loadStateDict(dict: StateDict, options: { params?: Tensors<Float32Array> } = {}): Promise<void> {
    const { own, steps, params } = part(dict);
    const names = Object.keys(this.slow.params);
    const before = await Promise.all(names.map((name) => this.slow.read(name)));
    const slow = await this.slow.stateDict();
    await this.slow.loadStateDict(slow, { params });
    try {
      await this.optimizer.loadStateDict(own, options);
    } catch (error) {
      await this.slow.loadStateDict(slow, { params: Object.fromEntries(names.map((name, i) => [name, before[i]])) });
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

/** Adds the steps to a state dict, and gives the state of each tensor by name, of those that have none a new one. */
function join(dict: StateDict, steps: number): Map<string, TensorState> {
  const states = new Map<string, TensorState>();
  for (const group of dict.param_groups) {
    group[STEPS] = steps;
    for (const [i, index] of group.params.entries()) states.set(group.param_names[i], (dict.state[index] ??= {}));
  }
  return states;
}

/** Takes apart again what was joined: the optimizer's own state dict, the steps, and the slow weights by name. */
function part(dict: StateDict): { own: StateDict; steps: number; params: Tensors<Float32Array> } {
  const isDict = isRecord(dict) && isRecord(dict.state) && Array.isArray(dict.param_groups);
  expect(isDict, 'the state dict', 'a record with state and param_groups', dict);
  const steps: unknown = dict.param_groups[0]?.[STEPS];
  expect(Number.isSafeInteger(steps) && (steps as number) >= 0, STEPS, 'a whole number of at least 0', steps);
  const own: StateDict = { ...dict, state: {} };
  const slow = new Map<string, unknown>();
  for (const [index, state] of Object.entries(dict.state)) {
    expect(isRecord(state), `the state of ${index}`, 'a record', state);
    const { [SLOT]: values, ...rest } = state;
    slow.set(index, values);
    if (Object.keys(rest).length > 0) own.state[Number(index)] = rest;
  }
  const params = dict.param_groups.flatMap(({ params: indices, param_names: names }) => {
    const isNamed = Array.isArray(indices) && Array.isArray(names) && indices.length === names.length;
    expect(isNamed, 'param_names', 'as many as params', names);
    return names.map((name, i) => [name, slow.get(String(indices[i]))]);
  });
  return { own, steps: steps as number, params: Object.fromEntries(params) };
}
