// What every optimizer does, whatever its rule and machine, each in a line: the files beside this one do it.

import type { CommonOptions, GroupOptions } from './algorithms/algorithm.js';
import { readOnly, refuseAssignments } from './inputs/assignments.js';
import { DISPOSED } from './backends/backend.js';
import type { Choice } from './backends/index.js';
import { accumulate, norms, zeroGrad, type Gradients, type Norms } from './step/gradients.js';
import type { GroupSpec, ParamGroup, Tensors } from './inputs/groups.js';
import type { GpuMemory } from './backends/memory.js';
import {
  busily,
  changesOf,
  checkFinished,
  checkIdle,
  checkUsable,
  entryOf,
  groupOf,
  settle,
  takeGroup,
  type OptimizerState,
} from './step/state.js';
import { expect, expectArguments, expectOptions, ownOf, show } from './errors.js';
import type { StateDict } from './state/dict.js';
import { lateState, loadStateCode, snapshot } from './state/lazy.js';
import type { IncompatibleNames, LoadOptions } from './state/how.js';
import { save, saveLazily, type LazyArray, type LazyParam } from './state/save.js';
import { Group, type LiveGroup } from './step/group.js';
import { encode, step, type EncodeArguments, type StepOptions } from './step/step.js';

/** What an optimizer is made of, besides its groups. */
type Making = Pick<OptimizerState, 'algorithm' | 'modes' | 'common' | 'memory' | 'keepGrads' | 'wasm' | 'backend'> & {
  readonly choice: Choice;
};

/** What a method does by code that is loaded late, with what it was handed over. */
type LateWork<Given, Result> = (
  code: typeof import('./state/late.js'),
  state: OptimizerState,
  handedOver: Given,
) => Promise<Result> | Result;

/** Values of parameters, to be taken over with a state dict. */
interface Values {
  params?: Tensors<Float32Array>;
}

/**
 * An optimizer over named tensors. `Memory` is what `params` and `grads` show: live `Float32Array` views into the
 * optimizer's own memory on the CPU, `GPUBufferBinding`s on the GPU.
 */
export class Optimizer<Memory, Options extends GroupOptions = CommonOptions> {
  readonly #choice: Choice;
  readonly #groups: readonly LiveGroup<GroupOptions>[];
  /** Undefined once it has been disposed of. */
  #state: OptimizerState | undefined;

  /** Use `adam`, `adamw`, ... */
  constructor({ choice, ...making }: Making, specs: readonly GroupSpec[]) {
    refuseAssignments(Optimizer.prototype);
    const live: LiveGroup<GroupOptions>[] = [];
    this.#groups = readOnly(live, 'groups', 'assign to an option, as groups[0].lr, or call addParamGroup().');
    const first = {
      entries: new Map(),
      entriesInOrder: [],
      sections: 0,
      tensors: 0,
      removed: new Set<string>(),
      completed: 0,
      batches: 0,
      request: { more: false, gradScale: 1 },
      isUnfinished: false,
      isAdding: false,
      isBusy: false,
      changes: 0,
    };
    this.#state = { ...making, ...first, groups: [], plans: [], shownGroups: live };
    for (const [g, spec] of specs.entries()) {
      takeGroup(this.#state, new Group(making.algorithm, spec, g, making.backend));
    }
    this.#choice = Object.freeze(choice);
  }

  /** What an optimizer is made of, for averages over it. Throws if it cannot be used. @internal */
  static use<Shown, Of extends GroupOptions>(optimizer: Optimizer<Shown, Of>, mends = false): OptimizerState {
    const state = optimizer.#state;
    if (state === undefined) throw new Error(DISPOSED);
    checkUsable(state, mends);
    return state;
  }

  /** Which backend runs it, and why. */
  get backend(): Choice {
    return this.#choice;
  }

  /** The live options of each group: an assignment takes effect at the next step, a bad value is refused. */
  get groups(): readonly LiveGroup<Options>[] {
    return this.#groups as readonly LiveGroup<Options>[];
  }

  /** The GPU device that it runs on, the caller's or one of its own; undefined on the CPU. */
  get device(): GPUDevice | undefined {
    return this.#look().backend.device;
  }

  /** The parameters where they are stepped, by name. On the CPU these are copies of the arrays handed over. */
  get params(): Readonly<Record<string, Memory>> {
    return this.#look().backend.params as Readonly<Record<string, Memory>>;
  }

  /** The optimizer's own memory for gradients, by name: written there, they need no copy. On the GPU made at first use. */
  get grads(): Readonly<Record<string, Memory>> {
    return this.#look().backend.grads as Readonly<Record<string, Memory>>;
  }

  /**
   * One step of every tensor that has a gradient in `grads`; the others, and their step counters, stay as they are.
   * `step()`, or with options `step(optimizer.grads, options)`, takes what stands in `optimizer.grads`, for every tensor.
   * Arrays handed over are copied there.
   *
   * Every call without `more: true` completes a step. With it this call has only some of the step's gradients, and the next
   * call continues the same step, so that a backward pass can hand over each gradient as it comes.
   *
   * Throws an Error for a name that does not exist, a wrong type or length, and then nothing has changed. What only
   * the GPU can tell, such as a buffer of another device, is reported late: every later call throws it, until a state dict
   * is loaded.
   */
  step(grads?: Gradients, options?: StepOptions): void {
    // `step(undefined)` is a caller whose gradients went missing, and not `step()`.
    const state = this.#enter('step', arguments.length, 2);
    step(state, arguments.length > 0, grads, undefined, options);
  }

  /**
   * Records one step into the caller's encoder and submits nothing; gradients are GPU buffers, or without `grads` what
   * stands in `optimizer.grads`. The step counts as done. Several may be recorded before the first is submitted.
   */
  encode(encoder: GPUCommandEncoder, ...rest: EncodeArguments): void {
    encode(this.#enter('encode', rest.length + 1, 3), encoder, rest);
  }

  /**
   * Adds gradients of another batch to those in `optimizer.grads`, where the next `step()` takes their mean: the sum
   * over the number of batches, whether or not each had a gradient for every tensor. Frozen tensors take none. Errors
   * are those of `step`.
   */
  accumulate(grads: Gradients): void {
    busily(this.#enter('accumulate', arguments.length, 1), (state) => accumulate(state, grads));
  }

  /** Drops what was accumulated, and fills `optimizer.grads` with zeros. */
  zeroGrad(): void {
    zeroGrad(this.#enter('zeroGrad', arguments.length, 0));
  }

  /**
   * The L2 norm of every parameter, and of the gradients that `step` would take of the same argument: of their mean
   * where they were accumulated, and before `gradScale`. In f64 on the CPU, from sums in f32 on the GPU.
   */
  norms(grads?: Gradients): Promise<Record<string, Norms>> {
    const isHandedOver = arguments.length > 0;
    return this.#later('norms', arguments.length, 1, (state) => {
      return norms(state, isHandedOver && grads !== state.backend.grads ? { given: grads } : undefined);
    });
  }

  /**
   * Adds a group `{ params, lr, ... }`, as PyTorch's add_param_group; options that it does not have are those that the
   * optimizer was made with. Memory of the others stays where it is, and what is remembered of them as it is.
   */
  addParamGroup(group: ParamGroup<Float32Array | GpuMemory, Options>): Promise<void> {
    return this.#withState('addParamGroup', arguments.length, 1, [group], (code, state, [given]) =>
      code.addGroup(state, given),
    );
  }

  /** Adds tensors to a group, as `addParamGroup` adds one. A decay mask that is a record cannot know them: it is refused. */
  addParams(group: number, params: Tensors<Float32Array | GpuMemory>): Promise<void> {
    return this.#withState(
      'addParams',
      arguments.length,
      2,
      [group, params],
      (code, state, [to, given]: readonly [number, unknown]) => code.addTensors(state, to, given),
    );
  }

  /**
   * Removes tensors and their state; their names may be used again. The others keep their memory and state, and groups
   * their indices, even without tensors. Memory is freed once all tensors that were added together are removed; the
   * caller's buffers are left alone. On the GPU, submit first what you have encoded; tensors are removed once the device
   * has done or refused all steps so far. Rejects with an Error for a name that does not exist, for all tensors, within a
   * step, or for a step that was refused, and then nothing has changed.
   */
  removeParams(names: readonly string[]): Promise<void> {
    return this.#withState('removeParams', arguments.length, 1, [names], (code, state, [given]) =>
      code.removeParams(state, given),
    );
  }

  /**
   * Freezes a tensor, or all that a group has now: until `unfreeze` their gradients are passed over, and they are
   * neither decayed nor counted.
   */
  freeze(which: string | number): void {
    this.#freeze(which, true, this.#enter('freeze', arguments.length, 1));
  }

  /** Lets a tensor, or all of a group, be stepped again, from where they stopped. */
  unfreeze(which: string | number): void {
    this.#freeze(which, false, this.#enter('unfreeze', arguments.length, 1));
  }

  /** Completed steps of the optimizer, as schedules count them; Schedule-Free's groups have their own, `groups[i].k`. */
  get completedSteps(): number {
    return this.#look().completed;
  }

  /** How many steps a tensor has completed; with Schedule-Free, its group. */
  stepOf(name: string): number {
    expectArguments(arguments.length, 1, 'stepOf');
    const state = this.#look();
    const { group, tensor } = entryOf(state, name);
    return state.groups[group].stepOf(tensor);
  }

  /**
   * A copy of a parameter as it is now, flat; with `average`, of Schedule-Free's average x instead, in either mode. On
   * the GPU its buffer needs COPY_SRC usage.
   */
  async read(name: string, options: { average?: boolean } = {}): Promise<Float32Array> {
    expectArguments(arguments.length, 2, 'read');
    expectOptions(options, 'read', ['average']);
    const { average = false } = ownOf(options);
    expect(typeof average === 'boolean', 'average', 'true or false', average);
    const state = Optimizer.use(this);
    const entry = entryOf(state, name);
    const { backend, modes, algorithm } = state;
    if (!average) {
      const { section, tensor } = entry;
      const [values] = await settle(state, backend.read([{ section, tensor, array: 'param' }]));
      return values;
    }
    if (modes === undefined) throw new TypeError(`${algorithm.name} keeps no average of ${show(name)}.`);
    return modes.readAverage(state, entry);
  }

  /**
   * Switches all groups, or one, to train mode, where gradients are taken: Schedule-Free's parameters become y. Other
   * algorithms have no modes.
   */
  train(group?: number): void {
    switchMode(this.#enter('train', arguments.length, 1), true, group);
  }

  /**
   * Switches all groups, or one, to eval mode: Schedule-Free's parameters become the average x, to evaluate and save.
   * `step` then throws until `train()`. On the GPU this submits at once: submit steps that are encoded before.
   */
  eval(group?: number): void {
    switchMode(this.#enter('eval', arguments.length, 1), false, group);
  }

  /**
   * One step by the gradients that `closure` gives. While it runs the parameters are y, before and after the average x
   * (upstream's Closure variants, at the cost of two more passes over the parameters). Await each call before the next.
   */
  async stepClosure(closure: () => Gradients | Promise<Gradients>): Promise<void> {
    expectArguments(arguments.length, 1, 'stepClosure');
    expect(typeof closure === 'function', 'the closure', 'a function that gives gradients', closure);
    this.train();
    try {
      this.step(await closure());
    } catch (error) {
      // Throw the closure's error, not a late failure of an earlier step: hence not this.eval(), which checks for one.
      if (this.#state?.isUnfinished === false) switchMode(this.#state, false);
      throw error;
    }
    this.eval();
    // One turn later the loss of a device is known.
    await undefined;
    Optimizer.use(this);
  }

  /**
   * The state of the optimizer, and of a schedule that has any, in PyTorch's shape and names. Parameters, functions and
   * the decay mask are not part of it. The arrays are copies.
   */
  stateDict(): Promise<StateDict> {
    return this.#later('stateDict', arguments.length, 0, save);
  }

  /**
   * The state dict without its arrays; `params` and `arrays` are read one at a time, since a copy of a large model may
   * be too much. A read throws once the optimizer has been stepped or otherwise changed.
   */
  lazyStateDict(): { dict: StateDict; params: LazyParam[]; arrays: LazyArray[] } {
    return busily(this.#enter('lazyStateDict', arguments.length, 0), saveLazily);
  }

  /**
   * Takes over a state dict of the same algorithm over the same names, of any backend, with its options; with `params`
   * the values of all parameters, too, for which GPU buffers of the caller's need COPY_DST usage. `options: 'current'`
   * keeps the options of this run, and `strict: false` takes over what the dict has of the tensors here; resolves to the
   * names that only one side has. Throws an Error for what does not fit, and then nothing has changed.
   */
  loadStateDict(dict: StateDict, options: LoadOptions & Values = {}): Promise<IncompatibleNames> {
    const before = this.#state && changesOf(this.#state);
    const work: LateWork<[unknown, unknown], IncompatibleNames> = async (code, state, given) => {
      const loading = code.load(state, ...given, before);
      await code.takeOver([loading]);
      return loading.names;
    };
    return this.#withState('loadStateDict', arguments.length, 2, [dict, options], work, true);
  }

  /** Frees all memory; the caller's buffers and device are left alone. Any later step or read throws. */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    if (this.#state === undefined) return;
    checkIdle(this.#state, 'dispose');
    this.#state.backend.dispose();
    for (const group of this.#state.groups) group.letGo();
    this.#state = undefined;
  }

  #freeze(which: string | number, isFrozen: boolean, state: OptimizerState): void {
    checkFinished(state);
    const isKnown = typeof which === 'string' || typeof which === 'number';
    expect(isKnown, 'what is frozen', 'the name of a tensor or the index of a group', which);
    const entries = typeof which === 'string' ? [entryOf(state, which)] : groupOf(state, which).entries;
    state.changes += 1;
    for (const { tensor } of entries) tensor.isFrozen = isFrozen;
  }

  /**
   * What a call that may change something works on. Throws for arguments too many, and on re-entry. One that `mends` the
   * state may be called while that is broken.
   */
  #enter(method: string, given: number, most: number, mends = false): OptimizerState {
    expectArguments(given, most, method);
    const state = Optimizer.use(this, mends);
    checkIdle(state, method);
    return state;
  }

  /** Runs an async method. On re-entry it throws at once, so that the call under way fails, too; else it rejects. */
  #later<Result>(
    method: string,
    given: number,
    most: number,
    work: (state: OptimizerState) => Promise<Result> | Result,
    mends = false,
  ): Promise<Result> {
    if (this.#state !== undefined) checkIdle(this.#state, method);
    return (async () => busily(this.#enter(method, given, most, mends), work))();
  }

  /** Runs an async method by code that is loaded late. Until that is there, what was handed over is kept as a copy. */
  #withState<Given extends readonly unknown[], Result>(
    method: string,
    given: number,
    most: number,
    handedOver: Given,
    work: LateWork<Given, Result>,
    mends = false,
  ): Promise<Result> {
    const run = async (state: OptimizerState): Promise<Result> => {
      const code = lateState.code;
      if (code !== undefined) return work(code, state, handedOver);
      const copy = snapshot(handedOver) as Given;
      const loaded = await loadStateCode(method);
      return busily(this.#enter(method, given, most, mends), () => work(loaded, state, copy));
    };
    return this.#later(method, given, most, run, mends);
  }

  /** What can be looked at even if the device is lost. */
  #look(): OptimizerState {
    if (this.#state === undefined) throw new Error(DISPOSED);
    if (this.#state.backend.failed !== undefined) throw this.#state.backend.failed;
    return this.#state;
  }
}

/** Switches all groups, or one, to train mode or to eval mode. */
function switchMode(state: OptimizerState, isTraining: boolean, group?: number): void {
  if (!isTraining) checkFinished(state);
  const groups = group === undefined ? state.groups : [groupOf(state, group)];
  state.modes?.switchTo(state, groups, isTraining);
}
