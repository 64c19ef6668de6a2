// Lookahead: an optimizer whose weights are reset every k steps to slow weights, which are an average.

import type { CommonOptions, GroupOptions } from '../algorithms/algorithm.js';
import type { EmaOptions } from '../algorithms/index.js';
import { refuseAssignments } from '../inputs/assignments.js';
import { checkOptimizer, type Ema, type EmaSync, type Memory } from './ema.js';
import type { GivenGradients, Gradients } from '../step/gradients.js';
import type { GpuMemory } from '../backends/memory.js';
import type { Tensors } from '../inputs/given.js';
import { Optimizer } from '../optimizer.js';
import { expect, expectArguments, expectOptions, isCount, list, ownOf } from '../errors.js';
import { loadedFor } from '../backends/lazy.js';
import type { StateDict } from '../state/dict.js';
import type { IncompatibleNames, LoadOptions } from '../state/load-options.js';
import { checkIdle } from '../step/state.js';
import type { StepOptions } from '../step/options.js';
import { encode } from '../step/step.js';
import { lateLookahead } from './lazy.js';

type Late = typeof import('./lookahead-state.js');

/** The options of `lookahead`. */
export interface LookaheadOptions {
  /** The slow weights step after every `k` steps, at least 1. Default 5. */
  k?: number | undefined;
  /** The fraction of the way to the optimizer's weights that the slow weights move, from 2^-53 to 1. Default 0.5. */
  alpha?: number | undefined;
}

/** `lookahead` of an entry. */
export type CreateLookahead = <Shown extends Memory, Options extends GroupOptions, Names extends string>(
  optimizer: Optimizer<Shown, Options, Names>,
  options?: LookaheadOptions,
) => Promise<Lookahead<Shown, Options, Names>>;

/** `lookahead` of `twinstep/sync`. */
export type CreateLookaheadSync = <Options extends GroupOptions, Names extends string>(
  optimizer: Optimizer<Float32Array, Options, Names>,
  options?: LookaheadOptions,
) => Lookahead<Float32Array, Options, Names>;

/** Returns the public function `lookahead`. `ema` creates the slow weights. */
export function lookaheadBy(ema: Ema): CreateLookahead {
  return async function lookahead(optimizer, options = {}) {
    const { k, alpha } = readOptions(arguments.length, optimizer, options);
    const late = await loadedFor('lookahead', lateLookahead);
    // Those that `ema` copies. Tensors may be added and removed before it resolves.
    const { params } = optimizer;
    for (const [name, param] of Object.entries<Memory>(params)) late.checkUsages(name, param);
    const slow = await ema(optimizer, { decay: () => 1 - alpha });
    try {
      return new Lookahead(late, optimizer, slow, params, k);
    } catch (error) {
      slow.dispose();
      throw error;
    }
  };
}

/** Returns the same at once, with `late`, the code of its state. */
export function syncLookaheadBy(ema: EmaSync, late: Late): CreateLookaheadSync {
  return function lookahead(optimizer, options = {}) {
    const { k, alpha } = readOptions(arguments.length, optimizer, options);
    const { params } = optimizer;
    return new Lookahead(late, optimizer, ema(optimizer, { decay: () => 1 - alpha }), params, k);
  };
}

/** Checks the arguments of `lookahead`. Returns its options. */
function readOptions(
  count: number,
  optimizer: Optimizer<any, any, any>,
  options: LookaheadOptions,
): Required<LookaheadOptions> {
  expectArguments(count, 2, 'lookahead');
  checkOptimizer(optimizer, 'lookahead');
  expectOptions(options, 'lookahead', ['k', 'alpha']);
  const { k = 5, alpha = 0.5 } = ownOf<LookaheadOptions>(options);
  expect(isCount(k, 1), 'k', 'a whole number of at least 1', k);
  const isFraction = Number.isFinite(alpha) && alpha >= 2 ** -53 && alpha <= 1;
  expect(isFraction, 'alpha', 'a number of at least 2^-53 and at most 1', alpha);
  const isAverage = optimizer.groups.some((group) => Object.hasOwn(group, 'trainMode'));
  expect(!isAverage, 'the optimizer', 'one without an average of its own', 'Schedule-Free');
  return { k, alpha };
}

/**
 * An optimizer whose weights are reset every k steps to slow weights, which are an average. `Shown` and `Names` are
 * `Memory` and `Names` of the optimizer: a field that holds any Lookahead is a `Lookahead<Float32Array, CommonOptions>`
 * or a `Lookahead<GPUBufferBinding, CommonOptions>`.
 *
 * @example
 * const ahead = await lookahead(optimizer, { k: 5, alpha: 0.5 });
 * for (let i = 0; i < 5; i++) ahead.step(grads);
 * ahead.slow.completedSteps; // 1
 */
export class Lookahead<
  Shown extends Memory,
  Options extends GroupOptions = CommonOptions,
  Names extends string = string,
> {
  readonly #late: Late;
  readonly #optimizer: Optimizer<Shown, Options>;
  readonly #slow: Optimizer<Shown, EmaOptions>;
  readonly #k: number;
  /** The optimizer's completed steps when the Lookahead was created. */
  #start: number;
  /** What remains to be done for the latest step, if the slow weights threw. */
  #pending: (() => void)[] = [];
  /** The parameters that the slow weights were copied from. They tell a tensor that was removed and added again. */
  readonly #origins: Map<string, Shown>;
  /** The latest `params` of the optimizer that all had slow weights. */
  #known: Readonly<Record<string, Shown>>;
  #isFollowing = false;

  /** Use `lookahead`. `params`: the parameters that `slow` was copied from. */
  constructor(
    late: Late,
    optimizer: Optimizer<Shown, Options>,
    slow: Optimizer<Shown, EmaOptions>,
    params: Readonly<Record<string, Shown>>,
    k: number,
  ) {
    refuseAssignments(Lookahead.prototype);
    this.#late = late;
    this.#optimizer = optimizer;
    this.#slow = slow;
    this.#k = k;
    this.#known = params;
    this.#origins = new Map(Object.entries(this.#known));
    const state = Optimizer.stateOf(optimizer);
    if (state.isDeferred) throw new TypeError(`Lookahead cannot count steps that the GPU may have skipped.`);
    state.hasLookahead = true;
    this.#start = this.#taken;
  }

  /**
   * The optimizer that was passed to `lookahead`, for what the Lookahead does not do itself.
   *
   * @returns The same object.
   */
  get optimizer(): Optimizer<Shown, Options, Names> {
    return this.#optimizer as Optimizer<Shown, Options, any>;
  }

  /**
   * The slow weights, as an average.
   *
   * @returns An optimizer: its `params` are the slow weights, flat, by name.
   */
  get slow(): Optimizer<Shown, EmaOptions, Names> {
    return this.#slow as Optimizer<Shown, EmaOptions, any>;
  }

  /**
   * Takes a step of the optimizer, and after every k-th step one of the slow weights.
   *
   * @param grads - Flat gradients by name, as for the optimizer's `step`.
   * @param options - Those of the optimizer's `step`.
   * @throws The errors of the optimizer's `step`, and an Error for tensors that were added without `follow()`. If the
   *   slow weights throw, the optimizer's step is done and counted, and the next call first completes theirs.
   * @example
   * const ahead = await lookahead(optimizer);
   * ahead.step(grads);
   */
  step<Given extends object = Gradients<Names>>(
    ...rest: [grads?: GivenGradients<Names, Given>, options?: StepOptions | undefined]
  ): void {
    expectArguments(rest.length, 2, 'step');
    this.#checkAndFinish();
    const before = this.#taken;
    this.optimizer.step(...rest);
    if (this.#taken === before || !this.#isTurn(this.#taken)) return;
    this.#pending = [() => this.#slow.step(this.#unfrozen()), () => this.#restart()];
    this.#finish();
  }

  /**
   * Does the same as `step`, recorded into your encoder, and submits nothing.
   *
   * @param encoder - Records the step.
   * @param grads - Flat gradients by name, GPU buffers, as for the optimizer's `encode`.
   * @param options - Those of the optimizer's `step`.
   * @throws The errors of `step`. Then no step is counted: drop the encoder.
   * @example
   * const ahead = await lookahead(optimizer);
   * ahead.encode(encoder, grads);
   * device.queue.submit([encoder.finish()]);
   */
  encode<Given extends object = Gradients<Names>>(
    encoder: GPUCommandEncoder,
    ...rest: [grads?: GivenGradients<Names, Given, GpuMemory | null | undefined>, options?: StepOptions | undefined]
  ): void {
    expectArguments(rest.length + 1, 3, 'encode');
    this.#checkAndFinish();
    const state = Optimizer.stateOf(this.#optimizer);
    checkIdle(state, 'encode');
    encode(state, encoder, rest, (completed) => {
      if (!this.#isTurn(completed - state.skipped)) return;
      encode(Optimizer.stateOf(this.#slow), encoder, [this.#unfrozen()], () => this.#restart(encoder));
    });
  }

  /**
   * Adds slow weights for the tensors that were added to the optimizer, as copies of their parameters. Await it after
   * `lookahead.optimizer.addParams` or `addParamGroup`, before the next step. Removing tensors does not need it.
   *
   * @returns A promise of undefined.
   * @throws An Error while another `follow()` is running. The promise rejects with it.
   * @example
   * const ahead = await lookahead(optimizer);
   * await ahead.optimizer.addParams(0, { more: new Float32Array(4) });
   * await ahead.follow();
   */
  async follow(): Promise<void> {
    expectArguments(arguments.length, 0, 'follow');
    if (this.#isFollowing) throw new Error('follow() is already running: await that first.');
    this.#isFollowing = true;
    try {
      for (;;) {
        this.#dropRemoved();
        const { params, shapes } = this.#optimizer;
        const added = this.#missing().filter((name) => !Object.hasOwn(this.#slow.params, name));
        if (added.length === 0) break;
        for (const name of added) this.#late.checkUsages(name, params[name]);
        const values = await Promise.all(added.map((name) => this.#optimizer.read(name)));
        for (const name of added) this.#origins.set(name, params[name]);
        const known = added.filter((name) => Object.hasOwn(shapes, name));
        await this.#slow.addParams(0, Object.fromEntries(added.map((name, i) => [name, values[i]])), {
          shapes: Object.fromEntries(known.map((name) => [name, shapes[name]!])),
        });
      }
    } finally {
      this.#isFollowing = false;
    }
  }

  /**
   * Resolves to the optimizer's state dict, with a further slot, `slow_param`, and `lookahead_step` in its groups.
   *
   * @returns A promise of the dict, whose arrays are copies.
   * @throws The errors of the optimizer's `stateDict`, and an Error for tensors that were added without `follow()`. The
   *   promise rejects with them.
   * @example
   * const ahead = await lookahead(optimizer);
   * const dict = await ahead.stateDict();
   */
  async stateDict(): Promise<StateDict> {
    expectArguments(arguments.length, 0, 'stateDict');
    this.#checkAndFinish();
    const names = Object.keys(this.#slow.params);
    const steps = this.#steps;
    const [dict, , ...values] = await Promise.all([
      this.#optimizer.stateDict(),
      // It rejects if commands of the slow weights were not submitted.
      this.#slow.stateDict(),
      ...names.map((name) => this.#slow.read(name)),
    ]);
    const states = this.#late.join(dict, steps);
    for (const [i, name] of names.entries()) states.get(name)![this.#late.SLOT] = values[i];
    return dict;
  }

  /**
   * Returns the state dict without its arrays, which are read one at a time, as the optimizer's `lazyStateDict` does.
   *
   * @returns `dict`, and its arrays: `params`, and `arrays` with the slow weights.
   * @throws The errors of `stateDict`.
   * @example
   * const ahead = await lookahead(optimizer);
   * for (const { slot, read } of ahead.lazyStateDict().arrays) console.log(slot, await read());
   */
  lazyStateDict(): ReturnType<Optimizer<Shown, Options, Names>['lazyStateDict']> {
    expectArguments(arguments.length, 0, 'lazyStateDict');
    this.#checkAndFinish();
    const { dict, params, arrays } = this.#optimizer.lazyStateDict();
    const states = this.#late.join(dict, this.#steps);
    const slow = this.#slow.lazyStateDict().params;
    const slowArrays = slow.map((each) => ({ ...each, slot: this.#late.SLOT, state: states.get(each.name)! }));
    return { dict, params, arrays: [...arrays, ...slowArrays] };
  }

  /**
   * Loads what `stateDict()` returned, as the optimizer does: all of it, or, with an error, nothing.
   *
   * @param dict - The state dict.
   * @param options - Those of the optimizer's `loadStateDict`.
   * @returns A promise of the names that only one side has.
   * @throws The errors of the optimizer's `loadStateDict`, and an Error for tensors that were added without `follow()`.
   *   The promise rejects with them.
   * @example
   * const ahead = await lookahead(optimizer);
   * await ahead.loadStateDict(await ahead.stateDict());
   */
  async loadStateDict(
    dict: StateDict,
    options: LoadOptions & { params?: Tensors<Float32Array> } = {},
  ): Promise<IncompatibleNames> {
    expectArguments(arguments.length, 2, 'loadStateDict');
    this.#checkKnown();
    return this.#late.loadBoth(
      Optimizer.stateOf(this.#optimizer, true),
      Optimizer.stateOf(this.#slow, true),
      dict,
      options,
      (steps) => {
        // Older dicts have no steps. When they were saved, Lookahead counted from the optimizer's first step.
        this.#start = steps === undefined ? 0 : this.#taken - steps;
        this.#pending = [];
      },
    );
  }

  /**
   * Frees the memory of the optimizer, and of the slow weights.
   *
   * @throws An Error if the optimizer is running a step, which its schedule is part of.
   * @example (await lookahead(optimizer)).dispose();
   */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    // The optimizer first: it throws if its schedule calls this.
    this.#optimizer.dispose();
    this.#slow.dispose();
  }

  /** Whether the slow weights step after this number of completed steps. */
  #isTurn(completed: number): boolean {
    return (completed - this.#start) % this.#k === 0;
  }

  /** Runs what is pending. If something throws, it and what follows stay pending. */
  #finish(): void {
    for (; this.#pending.length > 0; this.#pending.shift()) this.#pending[0]();
  }

  /** Completed steps of the optimizer, without skipped ones. */
  get #taken(): number {
    const { completed, skipped } = Optimizer.stateOf(this.#optimizer, true);
    return completed - skipped;
  }

  /** The same since the Lookahead was created. */
  get #steps(): number {
    return this.#taken - this.#start;
  }

  #unfrozen(): Readonly<Record<string, Shown>> {
    const frozen = new Set(this.#optimizer.groups.flatMap((group) => group.frozen));
    return Object.fromEntries(Object.entries(this.#optimizer.params).filter(([name]) => !frozen.has(name)));
  }

  /** Sets the optimizer's parameters to the slow weights. */
  #restart(encoder?: GPUCommandEncoder): void {
    const names = Object.keys(this.#unfrozen());
    const slow = Object.fromEntries(names.map((name) => [name, this.#slow.params[name]]));
    Optimizer.stateOf(this.#optimizer).backend.copyOver(slow, encoder);
  }

  /** Throws if the slow weights cannot step. Completes an earlier step. */
  #checkAndFinish(): void {
    this.#checkKnown();
    Optimizer.stateOf(this.#slow);
    this.#finish();
  }

  /** Drops the slow weights of removed tensors. Throws if a tensor has no slow weights. */
  #checkKnown(): void {
    const params = paramsOf(this.#optimizer);
    if (params === this.#known) return;
    const missing = this.#missing();
    if (missing.length > 0) {
      throw new Error(`Lookahead has no slow weights of ${list(missing)}: await follow() after adding tensors.`);
    }
    this.#dropRemoved();
    this.#known = params;
  }

  /** Returns the optimizer's tensors without slow weights. */
  #missing(): string[] {
    return Object.entries(paramsOf(this.#optimizer)).flatMap(([name, param]) => {
      return Object.hasOwn(paramsOf(this.#slow), name) && this.#origins.get(name) === param ? [] : [name];
    });
  }

  /** Drops the slow weights of removed tensors, except the last ones: an optimizer has at least one tensor. */
  #dropRemoved(): void {
    const params = paramsOf(this.#optimizer);
    const names = Object.keys(paramsOf(this.#slow));
    const removed = names.filter((name) => !Object.hasOwn(params, name) || this.#origins.get(name) !== params[name]);
    const dropped = removed.length === names.length ? removed.slice(1) : removed;
    if (dropped.length > 0) this.#late.removeTensors(Optimizer.stateOf(this.#slow, true), dropped);
    for (const name of dropped) this.#origins.delete(name);
  }
}

/** Returns `params`, even if the device has reported an error: a state dict may be loaded then. */
const paramsOf = <Shown extends Memory>(optimizer: Optimizer<Shown, any>): Readonly<Record<string, Shown>> =>
  Optimizer.stateOf(optimizer, true).backend.params as Record<string, Shown>;
