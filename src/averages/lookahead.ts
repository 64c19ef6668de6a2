// Lookahead over any optimizer. The slow weights are an average, from which the optimizer continues.

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { EmaOptions } from '../algorithms/index.js';
import { refuseAssignments } from '../inputs/assignments.js';
import { checkOptimizer, ema, type Memory } from './ema.js';
import type { Gradients } from '../step/gradients.js';
import type { Tensors } from '../inputs/groups.js';
import { bufferOf, type GpuMemory } from '../backends/memory.js';
import { checkUsage } from '../backends/webgpu/buffers.js';
import type { Optimizer } from '../optimizer.js';
import {
  canCount,
  countFrom,
  expect,
  expectArguments,
  expectOptions,
  isCount,
  isRecord,
  list,
  ownOf,
  show,
} from '../errors.js';
import { copyValues, ownProperties } from '../state/capture.js';
import type { StateDict, TensorState } from '../state/dict.js';
import { readGroup } from '../state/saved-group.js';
import { lateState, loadStateCode } from '../state/lazy.js';
import type { IncompatibleNames, LoadOptions } from '../state/how.js';
import type { StepOptions } from '../step/step.js';

const SLOT = 'slow_param';

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
  for (const [name, param] of Object.entries(optimizer.params)) checkUsages(name, param);
  await loadStateCode('lookahead');
  return new Lookahead(optimizer, await ema(optimizer, { decay: () => 1 - alpha }), k);
}

export class Lookahead<Shown extends Memory, Options extends GroupOptions> {
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
  constructor(optimizer: Optimizer<Shown, Options>, slow: Optimizer<Shown, EmaOptions>, k: number) {
    refuseAssignments(Lookahead.prototype);
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
    this.#enter();
    const also = (completed: number): void => {
      if (this.#isTurn(completed)) this.slow.encodeWith(() => this.#restart(encoder), encoder, this.#unfrozen());
    };
    this.optimizer.encodeWith(also, encoder, ...rest);
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
        for (const name of added) checkUsages(name, params[name]);
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
    const states = join(dict, steps);
    for (const [i, name] of names.entries()) states.get(name)![SLOT] = values[i];
    return dict;
  }

  /** The same without its arrays, which are read one at a time, as those of the optimizer's. */
  lazyStateDict(): ReturnType<Optimizer<Shown, Options>['lazyStateDict']> {
    expectArguments(arguments.length, 0, 'lazyStateDict');
    this.#enter();
    const { dict, params, arrays } = this.optimizer.lazyStateDict();
    const states = join(dict, this.#steps);
    const slow = this.slow.lazyStateDict().params;
    const slowArrays = slow.map((each) => ({ ...each, slot: SLOT, state: states.get(each.name)! }));
    return { dict, params, arrays: [...arrays, ...slowArrays] };
  }

  /** Loads what `stateDict()` returned, as the optimizer does: all of it, or with an error nothing. */
  async loadStateDict(
    dict: StateDict,
    options: LoadOptions & { params?: Tensors<Float32Array> } = {},
  ): Promise<IncompatibleNames> {
    expectArguments(arguments.length, 2, 'loadStateDict');
    this.#checkKnown();
    const { own, slow, steps } = part(dict);
    const { dict: counts, params } = this.slow.lazyStateDict();
    const given = params.filter(({ name }) => slow.has(name));
    const values = given.map(({ name, length }): [string, Float32Array] => {
      return [name, copyValues(slow.get(name), length, `${SLOT} of ${show(name)}`)];
    });
    const loading = this.optimizer.prepareLoad(own, options);
    // The slow weights' own state is only counts.
    const slowLoading = this.slow.prepareLoad(counts, { params: Object.fromEntries(values), strict: false });
    await lateState.code!.takeOver([loading, slowLoading], () => {
      // Older dicts have no steps: those counted from the optimizer's first step.
      this.#begun = steps === undefined ? 0 : this.optimizer.completedSteps - steps;
      this.#left = [];
    });
    return loading.names;
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
    this.optimizer.overwrite(Object.fromEntries(names.map((name) => [name, this.slow.params[name]])), encoder);
  }

  /** Throws if the slow weights cannot be stepped; completes what an earlier step left. */
  #enter(): void {
    this.#checkKnown();
    this.slow.check();
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
    if (dropped.length > 0) this.slow.removeNow(dropped);
    for (const name of dropped) this.#origins.delete(name);
  }
}

type EncodeArguments = [grads?: Readonly<Record<string, GpuMemory | null | undefined>>, options?: StepOptions];

/** Throws for a GPU buffer that cannot be copied from and to. */
function checkUsages(name: string, param: Memory): void {
  const buffer = bufferOf(param);
  if (buffer === undefined) return;
  checkUsage(buffer, 'COPY_SRC', `Lookahead of ${show(name)}`);
  checkUsage(buffer, 'COPY_DST', `Lookahead of ${show(name)}`);
}

/** Adds the steps since Lookahead began. Returns the state of each tensor by name, a new one for those without. */
function join({ state, param_groups: groups }: StateDict, steps: number): Map<string, TensorState> {
  for (const group of groups) group.lookahead_step = steps;
  return new Map(
    groups.flatMap(({ params, param_names: names }) => params.map((index, i) => [names[i], (state[index] ??= {})])),
  );
}

/** Splits what `join` joined: the optimizer's own state dict, the slow weights by name, and the steps. */
function part(dict: unknown): { own: StateDict; slow: Map<string, unknown>; steps: number | undefined } {
  const wanted = 'a record with state and param_groups';
  const { state: given, param_groups: groups } = ownProperties(dict, 'the state dict', wanted);
  expect(isRecord(given) && Array.isArray(groups), 'the state dict', wanted, dict);
  const own = { state: ownProperties(given, 'state', 'a record') as StateDict['state'], param_groups: [] as unknown[] };
  const ofIndex = new Map<string, unknown>();
  for (const [index, each] of Object.entries(own.state)) {
    const { [SLOT]: values, ...rest } = ownProperties(each, `the state of ${index}`, 'a record');
    ofIndex.set(index, values);
    if (Object.keys(rest).length > 0) own.state[index as unknown as number] = rest as TensorState;
    else delete own.state[index as unknown as number];
  }
  const slow = new Map<string, unknown>();
  let steps: number | undefined;
  for (let g = 0, { length } = groups; g < length; g++) {
    const { own: group, names, indices } = readGroup(groups[g], g, undefined);
    own.param_groups.push({ ...group, params: indices, param_names: names });
    for (const [i, name] of names.entries()) slow.set(name, ofIndex.get(String(indices[i])));
    const { lookahead_step: step } = group;
    expect(step === undefined || canCount(step), `lookahead_step in param_groups[${g}]`, countFrom(0), step);
    steps ??= step;
  }
  return { own: own as unknown as StateDict, slow, steps };
}
