// Lookahead over any optimizer: slow weights, which are an average, and from which the optimizer begins anew.

import type { GroupOptions } from '../algorithms/algorithm.js';
import type { EmaOptions } from '../algorithms/index.js';
import { refuseAssignments } from '../inputs/assignments.js';
import { checkOptimizer, ema, type Memory } from './ema.js';
import type { Gradients } from '../step/gradients.js';
import type { ParamGroup, Tensors } from '../inputs/groups.js';
import { bufferOf, checkUsage, type GpuMemory } from '../backends/memory.js';
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
import { takeOver } from '../state/load.js';
import type { IncompatibleNames, LoadOptions } from '../state/how.js';
import type { StepOptions } from '../step/step.js';

const SLOT = 'slow_param';

/** The options of `lookahead`. */
export interface LookaheadOptions {
  /** How many steps are looked ahead, at least 1. Default 5. */
  k?: number;
  /** How far the slow weights go towards those k steps ahead, at least 2^-53 and at most 1. Default 0.5. */
  alpha?: number;
}

/**
 * Lookahead (arXiv 1907.08610) over an optimizer that keeps no average itself: every `k` of its completed steps slow
 * weights go by `alpha` towards its weights, which then begin anew from there; its moments go on. It is stepped, added to,
 * saved and loaded in place of the optimizer; everything else is done with `lookahead.optimizer` as ever. Frozen tensors
 * stay as they are. On the GPU the caller's buffers need COPY_SRC and COPY_DST usage, and a step that the device refuses
 * late has had its turn all the same. Throws an Error for what is not as documented.
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
  checkParams(optimizer.params);
  return new Lookahead(optimizer, await ema(optimizer, { decay: () => 1 - alpha }), k);
}

export class Lookahead<Shown extends Memory, Options extends GroupOptions> {
  readonly #optimizer: Optimizer<Shown, Options>;
  readonly #slow: Optimizer<Shown, EmaOptions>;
  readonly #k: number;
  /** The optimizer's completed steps when Lookahead began. */
  #begun: number;
  /** The completed steps that have had their turn, if it was one. */
  #seen: number;
  /** What is left to do of the latest turn. */
  #left: (() => void)[] = [];
  /** Whether parameters are being added. */
  #isAdding = false;
  /** The optimizer's `params` when the slow weights were last known to be of the same names. */
  #known: Readonly<Record<string, Shown>>;

  /** Use `lookahead`. */
  constructor(optimizer: Optimizer<Shown, Options>, slow: Optimizer<Shown, EmaOptions>, k: number) {
    refuseAssignments(Lookahead.prototype);
    this.#optimizer = optimizer;
    this.#slow = slow;
    this.#k = k;
    this.#known = optimizer.params;
    this.#begun = this.#seen = optimizer.completedSteps;
  }

  /** The optimizer that it was made over. */
  get optimizer(): Optimizer<Shown, Options> {
    return this.#optimizer;
  }

  /** The slow weights, as an average. */
  get slow(): Optimizer<Shown, EmaOptions> {
    return this.#slow;
  }

  /** The live options of the optimizer's groups. */
  get groups(): Optimizer<Shown, Options>['groups'] {
    return this.#optimizer.groups;
  }

  /**
   * One step of the optimizer, and every k-th time of the slow weights; arguments and errors are the optimizer's. If the
   * slow weights throw, the optimizer's step is made and counted, and the next call does first what is left of theirs.
   */
  step(...rest: [grads?: Gradients, options?: StepOptions]): void {
    expectArguments(rest.length, 2, 'step');
    this.#enter();
    let seen = this.#seen;
    const also = (completed: number): void => {
      seen = completed;
    };
    this.optimizer.stepWith(also, ...rest);
    if (this.#isTurn(seen)) this.#left = [() => this.slow.step(this.#unfrozen()), () => this.#beginAnew()];
    this.#seen = seen;
    this.#finish();
  }

  /** The same, recorded into the caller's encoder: if it throws, no step is counted. */
  encode(encoder: GPUCommandEncoder, ...rest: EncodeArguments): void {
    this.#enter();
    let seen = this.#seen;
    const also = (completed: number): void => {
      seen = completed;
      if (this.#isTurn(completed)) this.slow.encodeWith(() => this.#beginAnew(encoder), encoder, this.#unfrozen());
    };
    this.optimizer.encodeWith(also, encoder, ...rest);
    this.#seen = seen;
  }

  /** Adds a group to the optimizer, and to the slow weights. */
  async addParamGroup(group: ParamGroup<Float32Array | GpuMemory, Options>): Promise<void> {
    expectArguments(arguments.length, 1, 'addParamGroup');
    await this.#add(group?.params, () => this.optimizer.addParamGroup(group));
  }

  /** Adds tensors to a group of the optimizer, and to the slow weights. */
  async addParams(group: number, params: Tensors<Float32Array | GpuMemory>): Promise<void> {
    expectArguments(arguments.length, 2, 'addParams');
    await this.#add(params, () => this.optimizer.addParams(group, params));
  }

  /** Removes tensors from the optimizer, and from the slow weights. */
  async removeParams(names: readonly string[]): Promise<void> {
    expectArguments(arguments.length, 1, 'removeParams');
    if (this.#isAdding) throw new Error('Parameters are being added: await that first.');
    this.#checkNames();
    this.slow.checkRemoval(names);
    await this.optimizer.removeParams(names);
    if (!this.#isAdding) this.#checkNames();
  }

  /** A copy of a parameter of the optimizer, as its own `read`. */
  async read(name: string, options?: { average?: boolean }): Promise<Float32Array> {
    expectArguments(arguments.length, 2, 'read');
    return this.optimizer.read(name, options);
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

  /** The same but for its arrays, to be read one at a time, as the optimizer's. */
  lazyStateDict(): ReturnType<Optimizer<Shown, Options>['lazyStateDict']> {
    expectArguments(arguments.length, 0, 'lazyStateDict');
    this.#enter();
    const { dict, params, arrays } = this.optimizer.lazyStateDict();
    const states = join(dict, this.#steps);
    const slow = this.slow.lazyStateDict().params;
    const slowArrays = slow.map((each) => ({ ...each, slot: SLOT, state: states.get(each.name)! }));
    return { dict, params, arrays: [...arrays, ...slowArrays] };
  }

  /** Takes over what `stateDict()` gave, as the optimizer does: wholly, or with an error not at all. */
  async loadStateDict(
    dict: StateDict,
    options: LoadOptions & { params?: Tensors<Float32Array> } = {},
  ): Promise<IncompatibleNames> {
    expectArguments(arguments.length, 2, 'loadStateDict');
    this.#checkNames();
    const { own, slow, steps } = part(dict);
    const { dict: counts, params } = this.slow.lazyStateDict();
    const given = params.filter(({ name }) => slow.has(name));
    const values = given.map(({ name, length }): [string, Float32Array] => {
      return [name, copyValues(slow.get(name), length, `${SLOT} of ${show(name)}`)];
    });
    const loading = this.optimizer.prepareLoad(own, options);
    // Its own state is nothing but counts.
    const slowLoading = this.slow.prepareLoad(counts, { params: Object.fromEntries(values), strict: false });
    await takeOver([loading, slowLoading], () => {
      this.#seen = this.optimizer.completedSteps;
      // Older dicts do not say: then the optimizer's steps were counted.
      this.#begun = steps === undefined ? 0 : this.#seen - steps;
      this.#left = [];
    });
    return loading.names;
  }

  /** Lets go of the slow weights, and of the optimizer. */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    // First the one that its schedule may be calling from, and which then refuses it.
    this.optimizer.dispose();
    this.slow.dispose();
  }

  /** Whether the slow weights step after this number of completed steps. */
  #isTurn(completed: number): boolean {
    return completed !== this.#seen && (completed - this.#begun) % this.#k === 0;
  }

  /** Does what is left of a turn: if something throws, it and what follows stay left. */
  #finish(): void {
    for (; this.#left.length > 0; this.#left.shift()) this.#left[0]();
  }

  /** Completed steps since it began. */
  get #steps(): number {
    return this.optimizer.completedSteps - this.#begun;
  }

  #unfrozen(): Readonly<Record<string, Shown>> {
    const frozen = new Set(this.groups.flatMap((group) => group.frozen));
    return Object.fromEntries(Object.entries(this.optimizer.params).filter(([name]) => !frozen.has(name)));
  }

  /** Sets the optimizer's parameters to the slow weights. */
  #beginAnew(encoder?: GPUCommandEncoder): void {
    const names = Object.keys(this.#unfrozen());
    this.optimizer.overwrite(Object.fromEntries(names.map((name) => [name, this.slow.params[name]])), encoder);
  }

  /** Adds to the optimizer, and makes slow weights of what was added. */
  async #add(given: unknown, add: () => Promise<void>): Promise<void> {
    if (this.#isAdding) throw new Error('Parameters are being added already: await that first.');
    checkParams(given);
    this.#isAdding = true;
    try {
      this.#dropGone();
      await add();
      await this.#follow();
    } finally {
      this.#isAdding = false;
    }
  }

  /** Makes slow weights of all tensors that have none: also of those for which that failed before. */
  async #follow(): Promise<void> {
    const { params } = this.optimizer;
    const added = this.#unknown();
    const values = await Promise.all(added.map((name) => this.optimizer.read(name)));
    await this.slow.addParams(0, Object.fromEntries(added.map((name, i) => [name, values[i]])));
    this.#known = params;
  }

  /** Throws what keeps a step from being whole, and does what an earlier one left. */
  #enter(): void {
    this.#checkNames();
    this.slow.check();
    this.#finish();
  }

  /** Throws if tensors were added to the optimizer directly; drops the slow weights of those that were removed. */
  #checkNames(): void {
    const { params } = this.optimizer;
    if (params === this.#known) return;
    this.#expectKnown();
    checkParams(params);
    this.#dropGone();
    // One that was removed and added again.
    this.#expectKnown();
    this.#known = params;
  }

  #expectKnown(): void {
    const added = this.#unknown();
    if (added.length > 0) throw new Error(`Lookahead knows nothing of ${list(added)}: add by its own addParamGroup.`);
  }

  /** Tensors of the optimizer that have no slow weights. */
  #unknown(): string[] {
    return Object.keys(this.optimizer.params).filter((name) => !Object.hasOwn(this.slow.params, name));
  }

  /** Drops the slow weights of tensors that were removed, or throws and drops none. */
  #dropGone(): void {
    const { params } = this.optimizer;
    const isGone = (name: string): boolean => !Object.hasOwn(params, name) || params[name] !== this.#known[name];
    const gone = Object.keys(this.slow.params).filter(isGone);
    if (gone.length > 0) this.slow.removeNow(gone);
  }
}

type EncodeArguments = [grads?: Readonly<Record<string, GpuMemory | null | undefined>>, options?: StepOptions];

/** Throws for buffers that cannot be copied from and to, before an optimizer takes them: it gives none back. */
function checkParams(params: unknown): void {
  // What is no record of tensors, the optimizer refuses.
  for (const [name, param] of Object.entries(isRecord(params) ? params : {})) {
    const buffer = bufferOf(param);
    if (buffer === undefined) continue;
    checkUsage(buffer, 'COPY_SRC', `Lookahead of ${show(name)}`);
    checkUsage(buffer, 'COPY_DST', `Lookahead of ${show(name)}`);
  }
}

/** Adds the steps since Lookahead began. Returns the state of each tensor by name, a new one for those without. */
function join({ state, param_groups: groups }: StateDict, steps: number): Map<string, TensorState> {
  for (const group of groups) group.lookahead_step = steps;
  return new Map(
    groups.flatMap(({ params, param_names: names }) => params.map((index, i) => [names[i], (state[index] ??= {})])),
  );
}

/** Takes apart again what was joined: the optimizer's own state dict, the slow weights by name, and the steps. */
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
