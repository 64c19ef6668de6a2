// Lookahead over any optimizer. The slow weights are an average, from which the optimizer continues.

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { EmaOptions } from '../algorithms/index.js';
import { refuseAssignments } from '../inputs/assignments.js';
import { checkOptimizer, ema, type Memory } from './ema.js';
import type { Gradients } from '../step/gradients.js';
import type { Tensors } from '../inputs/groups.js';
import { Optimizer } from '../optimizer.js';
import { expect, expectArguments, expectOptions, isCount, list, ownOf } from '../errors.js';
import { loaded } from '../backends/lazy.js';
import type { StateDict } from '../state/dict.js';
import type { IncompatibleNames, LoadOptions } from '../state/how.js';
import { checkIdle } from '../step/state.js';
import { encode, type EncodeArguments, type StepOptions } from '../step/step.js';
import { lateLookahead } from './lazy.js';

type Late = typeof import('./lookahead-state.js');

/** The options of `lookahead`. */
export interface LookaheadOptions {
  /** The number of steps between two of the slow weights, at least 1. Default 5. */
  k?: number;
  /** The share of the way to the optimizer's weights that the slow weights move, at least 2^-53 and at most 1. Default 0.5. */
  alpha?: number;
}

/**
 * Lookahead (arXiv 1907.08610) over an optimizer that keeps no average itself. Every `k` of its completed steps the slow
 * weights move by `alpha` towards its weights, which then continue from there; its moments stay. Step, save and load
 * `lookahead` in place of the optimizer; use `lookahead.optimizer` for everything else, also to add and to remove tensors.
 * Frozen tensors stay as they are. On the GPU the caller's buffers need COPY_SRC and COPY_DST usage. Throws an Error for
 * what is not as documented.
 */
export async function lookahead<Shown extends Memory, Options extends GroupOptions>(
  optimizer: Optimizer<Shown, Options>,
  options: LookaheadOptions = {},
): Promise<Lookahead<Shown, Options>> {
  expectArguments(arguments.length, 2, 'lookahead');
  checkOptimizer(optimizer, 'what Lookahead is over');
  expectOptions(options, 'lookahead', ['k', 'alpha']);
  const { k = 5, alpha = 0.5 } = ownOf<LookaheadOptions>(options);
  expect(isCount(k, 1), 'k', 'a whole number of at least 1', k);
  const isShare = Number.isFinite(alpha) && alpha >= 2 ** -53 && alpha <= 1;
  expect(isShare, 'alpha', 'a number of at least 2^-53 and at most 1', alpha);
  const isAverage = optimizer.groups.some(({ trainMode }) => trainMode !== undefined);
  expect(!isAverage, 'the optimizer', 'one without an average of its own', 'Schedule-Free');
  const late = await loaded(lateLookahead);
  for (const [name, param] of Object.entries(optimizer.params)) late.checkUsages(name, param);
  return new Lookahead(late, optimizer, await ema(optimizer, { decay: () => 1 - alpha }), k);
}

export class Lookahead<Shown extends Memory, Options extends GroupOptions> {
  readonly #late: Late;
  readonly #optimizer: Optimizer<Shown, Options>;
  readonly #slow: Optimizer<Shown, EmaOptions>;
  readonly #k: number;
  /** The optimizer's completed steps when Lookahead began. */
  #begun: number;
  /** What is left to do after a step that is counted, if the slow weights threw. */
  #left: (() => void)[] = [];
  /** The parameters that the slow weights were made of: a tensor that is removed and added again is another one. */
  readonly #origins: Map<string, Shown>;
  /** The optimizer's `params` when all of them last had slow weights. */
  #known: Readonly<Record<string, Shown>>;
  #isFollowing = false;

  /** Use `lookahead`. */
  constructor(late: Late, optimizer: Optimizer<Shown, Options>, slow: Optimizer<Shown, EmaOptions>, k: number) {
    refuseAssignments(Lookahead.prototype);
    this.#late = late;
    this.#optimizer = optimizer;
    this.#slow = slow;
    this.#k = k;
    this.#known = optimizer.params;
    this.#origins = new Map(Object.entries(this.#known));
    this.#begun = optimizer.completedSteps;
  }

  /** The optimizer that it was made over. */
  get optimizer(): Optimizer<Shown, Options> {
    return this.#optimizer;
  }

  /** The slow weights, as an average. */
  get slow(): Optimizer<Shown, EmaOptions> {
    return this.#slow;
  }

  /**
   * One step of the optimizer, and after every k-th step one of the slow weights. Takes the arguments of the optimizer's
   * `step`, and throws its errors. If the slow weights throw, the optimizer's step is done and counted, and the next call
   * first completes theirs.
   */
  step(...rest: [grads?: Gradients, options?: StepOptions]): void {
    expectArguments(rest.length, 2, 'step');
    this.#enter();
    const before = this.optimizer.completedSteps;
    this.optimizer.step(...rest);
    const completed = this.optimizer.completedSteps;
    if (completed === before || !this.#isTurn(completed)) return;
    this.#left = [() => this.slow.step(this.#unfrozen()), () => this.#restart()];
    this.#finish();
  }

  /** The same, recorded into the caller's encoder. If it throws, no step is counted: drop that encoder. */
  encode(encoder: GPUCommandEncoder, ...rest: EncodeArguments): void {
    expectArguments(rest.length + 1, 3, 'encode');
    this.#enter();
    const state = Optimizer.stateOf(this.optimizer);
    checkIdle(state, 'encode');
    encode(state, encoder, rest, (completed) => {
      if (!this.#isTurn(completed)) return;
      encode(Optimizer.stateOf(this.slow), encoder, [this.#unfrozen() as EncodeArguments[0]], () =>
        this.#restart(encoder),
      );
    });
  }

  /**
   * Makes slow weights of the tensors that were added to the optimizer, as a copy of their parameters: await it after
   * `lookahead.optimizer.addParams` or `addParamGroup`, before the next step. The slow weights of removed tensors are
   * dropped without it.
   */
  async follow(): Promise<void> {
    expectArguments(arguments.length, 0, 'follow');
    if (this.#isFollowing) throw new Error('follow() is already running: await that first.');
    this.#isFollowing = true;
    try {
      for (;;) {
        this.#dropRemoved();
        const { params } = this.optimizer;
        const added = this.#missing().filter((name) => !Object.hasOwn(this.slow.params, name));
        if (added.length === 0) break;
        for (const name of added) this.#late.checkUsages(name, params[name]);
        const values = await Promise.all(added.map((name) => this.optimizer.read(name)));
        for (const name of added) this.#origins.set(name, params[name]);
        await this.slow.addParams(0, Object.fromEntries(added.map((name, i) => [name, values[i]])));
      }
    } finally {
      this.#isFollowing = false;
    }
  }

  /** The optimizer's state dict, with the slow weights as one more slot, `slow_param`, and `lookahead_step` in its groups. */
  async stateDict(): Promise<StateDict> {
    expectArguments(arguments.length, 0, 'stateDict');
    this.#enter();
    const names = Object.keys(this.slow.params);
    const steps = this.#steps;
    const [dict, ...values] = await Promise.all([
      this.optimizer.stateDict(),
      ...names.map((name) => this.slow.read(name)),
    ]);
    const states = this.#late.join(dict, steps);
    for (const [i, name] of names.entries()) states.get(name)![this.#late.SLOT] = values[i];
    return dict;
  }

  /** The same without its arrays, which are read one at a time, as those of the optimizer's. */
  lazyStateDict(): ReturnType<Optimizer<Shown, Options>['lazyStateDict']> {
    expectArguments(arguments.length, 0, 'lazyStateDict');
    this.#enter();
    const { dict, params, arrays } = this.optimizer.lazyStateDict();
    const states = this.#late.join(dict, this.#steps);
    const slow = this.slow.lazyStateDict().params;
    const slowArrays = slow.map((each) => ({ ...each, slot: this.#late.SLOT, state: states.get(each.name)! }));
    return { dict, params, arrays: [...arrays, ...slowArrays] };
  }

  /** Loads what `stateDict()` returned, as the optimizer does: all of it, or with an error nothing. */
  async loadStateDict(
    dict: StateDict,
    options: LoadOptions & { params?: Tensors<Float32Array> } = {},
  ): Promise<IncompatibleNames> {
    expectArguments(arguments.length, 2, 'loadStateDict');
    this.#checkKnown();
    return this.#late.loadBoth(
      Optimizer.stateOf(this.optimizer, true),
      Optimizer.stateOf(this.slow, true),
      dict,
      options,
      (steps) => {
        // Older dicts have no steps: those counted from the optimizer's first step.
        this.#begun = steps === undefined ? 0 : this.optimizer.completedSteps - steps;
        this.#left = [];
      },
    );
  }

  /** Disposes of the optimizer, and of the slow weights. */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    // The optimizer first: it throws if its schedule is what calls this.
    this.optimizer.dispose();
    this.slow.dispose();
  }

  /** Whether the slow weights step after this number of completed steps. */
  #isTurn(completed: number): boolean {
    return (completed - this.#begun) % this.#k === 0;
  }

  /** Does what is left to do. If something throws, it and what follows stay left. */
  #finish(): void {
    for (; this.#left.length > 0; this.#left.shift()) this.#left[0]();
  }

  /** Completed steps since it began. */
  get #steps(): number {
    return this.optimizer.completedSteps - this.#begun;
  }

  #unfrozen(): Readonly<Record<string, Shown>> {
    const frozen = new Set(this.optimizer.groups.flatMap((group) => group.frozen));
    return Object.fromEntries(Object.entries(this.optimizer.params).filter(([name]) => !frozen.has(name)));
  }

  /** Sets the optimizer's parameters to the slow weights. */
  #restart(encoder?: GPUCommandEncoder): void {
    const names = Object.keys(this.#unfrozen());
    const slow = Object.fromEntries(names.map((name) => [name, this.slow.params[name]]));
    Optimizer.stateOf(this.optimizer).backend.copyOver(slow, encoder);
  }

  /** Throws if the slow weights cannot be stepped; completes what an earlier step left. */
  #enter(): void {
    this.#checkKnown();
    Optimizer.stateOf(this.slow);
    this.#finish();
  }

  /** Drops the slow weights of removed tensors. Throws if a tensor has no slow weights. */
  #checkKnown(): void {
    const { params } = this.optimizer;
    if (params === this.#known) return;
    const missing = this.#missing();
    if (missing.length > 0) {
      throw new Error(`Lookahead has no slow weights of ${list(missing)}: await follow() after adding tensors.`);
    }
    this.#dropRemoved();
    this.#known = params;
  }

  /** Tensors of the optimizer without slow weights. */
  #missing(): string[] {
    return Object.entries(this.optimizer.params).flatMap(([name, param]) => {
      return Object.hasOwn(this.slow.params, name) && this.#origins.get(name) === param ? [] : [name];
    });
  }

  /** Drops the slow weights of removed tensors, except the last ones: an optimizer has at least one tensor. */
  #dropRemoved(): void {
    const { params } = this.optimizer;
    const names = Object.keys(this.slow.params);
    const removed = names.filter((name) => !Object.hasOwn(params, name) || this.#origins.get(name) !== params[name]);
    const dropped = removed.length === names.length ? removed.slice(1) : removed;
    if (dropped.length > 0) this.#late.removeTensors(Optimizer.stateOf(this.slow), dropped);
    for (const name of dropped) this.#origins.delete(name);
  }
}
