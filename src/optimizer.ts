// The class of all optimizers: one line for each method. The work is done in step/ and state/.

import type { CommonOptions, GroupOptions } from './algorithms/algorithm.js';
import { readOnly, refuseAssignments } from './inputs/assignments.js';
import { DISPOSED, type Choice } from './backends/backend.js';
import type { Floats } from './platform.js';
import { accumulate, norms, zeroGrad, type GivenGradients, type Gradients, type Norms } from './step/gradients.js';
import type { GroupSpec } from './inputs/groups.js';
import type { ParamGroup, Tensors } from './inputs/given.js';
import type { Shapes } from './inputs/shapes.js';
import type { GpuMemory } from './backends/memory.js';
import {
  awaitRead,
  changesOf,
  checkFinished,
  checkIdle,
  checkUsable,
  entriesIn,
  entryOf,
  groupOf,
  indexOfGroup,
  newState,
  registerGroup,
  slotsOf,
  whileBusy,
  type OptimizerState,
  type Setup,
} from './step/state.js';
import { loadedFor } from './backends/lazy.js';
import { expect, expectArguments, expectOptions, ownOf, show } from './errors.js';
import type { StateDict } from './state/dict.js';
import { snapshot } from './inputs/snapshot.js';
import { lateState } from './state/lazy.js';
import type { IncompatibleNames, LoadOptions } from './state/load-options.js';
import { save, saveLazily, type LazyArray, type LazyParam } from './state/save.js';
import { Group, type LiveGroup } from './step/group.js';
import { encode, step, type StepOptions } from './step/step.js';

/** Parameter values to load with a state dict. */
interface Values {
  params?: Tensors<Float32Array> | undefined;
}

type LateCode = typeof import('./state/late.js');

/**
 * An optimizer over named tensors. `Memory` is the type of the values of `params` and `grads`: on the CPU
 * `Float32Array`, views of the optimizer's memory; on the GPU `GPUBufferBinding`. `Names` are those of the tensors, or
 * `string`: a field that holds any optimizer is an `Optimizer<Float32Array>` or an `Optimizer<GPUBufferBinding>`.
 */
export class Optimizer<Memory, Options extends GroupOptions = CommonOptions, Names extends string = string> {
  readonly #choice: Choice;
  readonly #groups: readonly LiveGroup<GroupOptions>[];
  /** Undefined after `dispose()`. */
  #state: OptimizerState | undefined;

  /** Do not call this: use `adam`, `adamw`, ... */
  constructor({ choice, ...setup }: Setup & { readonly choice: Choice }, specs: readonly GroupSpec[]) {
    refuseAssignments(Optimizer.prototype);
    const liveGroups: LiveGroup<GroupOptions>[] = [];
    this.#groups = readOnly(liveGroups, 'groups', 'assign to an option, as groups[0].lr, or call addParamGroup().');
    this.#state = newState(setup, liveGroups);
    for (const [g, spec] of specs.entries()) {
      registerGroup(this.#state, new Group(setup.algorithm, spec, g, setup.backend));
    }
    this.#choice = Object.freeze(choice);
  }

  /**
   * Returns the state of an optimizer, for averages over it. Throws if the optimizer cannot be used. `ignoreFailure`:
   * accepts an error that the device reported. @internal
   */
  static stateOf(optimizer: Optimizer<any, any, any>, ignoreFailure = false): OptimizerState {
    const state = optimizer.#state;
    if (state === undefined) throw new Error(DISPOSED);
    checkUsable(state, ignoreFailure);
    return state;
  }

  /** The backend that runs the steps, and why it was chosen. */
  get backend(): Choice {
    return this.#choice;
  }

  /** The options of each group. An assignment takes effect at the next step. A bad value throws and changes nothing. */
  get groups(): readonly LiveGroup<Options, Names>[] {
    return this.#groups as readonly LiveGroup<GroupOptions, any>[] as readonly LiveGroup<Options, Names>[];
  }

  /**
   * Returns a group by its name, the same object as in `groups`.
   *
   * @param name - The `name` that the group was made with.
   * @returns Its options, which can be assigned, and its state.
   * @throws RangeError if no group has this name. The message lists the names.
   * @example optimizer.group('head').lr = 1e-4;
   */
  group(name: string): LiveGroup<Options, Names> {
    expectArguments(arguments.length, 1, 'group');
    return this.groups[indexOfGroup(this.#groups, name)];
  }

  /** The GPU device: the caller's, or one that the optimizer requested. Undefined on the CPU. */
  get device(): GPUDevice | undefined {
    return this.#inspect().backend.device;
  }

  /** The memory of the parameters, by name, in which steps update them. On the CPU these are copies of your arrays. */
  get params(): Tensors<Memory, Names> {
    return this.#inspect().backend.params as Tensors<Memory, Names>;
  }

  /**
   * The memory for gradients, by name. Gradients written here need no copy. On the GPU it is allocated at first use.
   */
  get grads(): Tensors<Memory, Names> {
    return this.#inspect().backend.grads as Tensors<Memory, Names>;
  }

  /**
   * The shapes of those tensors whose shapes were given, by name, as frozen copies.
   *
   * @returns A frozen record.
   * @throws Error after `dispose()`.
   * @example
   *   const optimizer = await adamw({ w: new Float32Array(6) }, { shapes: { w: [2, 3] } });
   *   optimizer.shapes.w; // [2, 3]
   */
  get shapes(): Shapes<Names> {
    const { entriesInOrder } = this.#inspect(true);
    const known = entriesInOrder.filter(({ tensor }) => tensor.shape !== undefined);
    return Object.freeze(
      Object.fromEntries(known.map(({ tensor: { name, shape } }) => [name, shape!])),
    ) as Shapes<Names>;
  }

  /**
   * Returns the slots of a tensor where they lie, by their names in state dicts, such as `exp_avg` and `exp_avg_sq`. No
   * copy is made: steps and `loadStateDict` change the values in place.
   *
   * Memory never moves, so the views and bindings stay valid until the tensor is removed or the optimizer is disposed
   * of. You may write to them: the next step uses the values, unchecked. Before the first step of a tensor its slots are
   * not part of the state: state dicts lack them, and Schedule-Free starts `z` at the parameter.
   *
   * @param name - The name of a tensor.
   * @returns A frozen record: for each slot a `Float32Array`, flat, as long as the tensor; on the GPU a
   *   `GPUBufferBinding` of exactly the tensor, whose offset is a multiple of 256 bytes, with STORAGE, COPY_SRC and
   *   COPY_DST usage. Empty for an average of weights.
   * @throws RangeError if there is no tensor of this name. Error if the optimizer has been disposed of, its memory or
   *   device was lost, or the device reported an error.
   * @example optimizer.slots('weight').exp_avg.fill(0); // drops the momentum of a tensor
   */
  slots(name: Names): Readonly<Record<string, Memory>> {
    expectArguments(arguments.length, 1, 'slots');
    return slotsOf(Optimizer.stateOf(this), name) as Readonly<Record<string, Memory>>;
  }

  /**
   * Runs one step on every tensor that has a gradient in `grads`. Other tensors, and their step counts, do not change.
   * Arrays are copied into `optimizer.grads`. `step()` uses the gradients in `optimizer.grads`, for every tensor; with
   * options this is `step(optimizer.grads, options)`.
   *
   * With `more: true`, this call has only some of the step's gradients, and the next call continues the same step: a
   * backward pass can pass each gradient as soon as it is computed. A call without it completes the step.
   *
   * Throws an Error for an unknown name, a wrong type or a wrong length, and then nothing has changed. Errors that only
   * the GPU detects, such as a buffer of another device, are reported late: every later call throws them, until a state
   * dict is loaded.
   */
  step<Given extends object = Gradients<Names>>(grads?: GivenGradients<Names, Given>, options?: StepOptions): void {
    // `step(undefined)` is not `step()`: the caller's gradients are missing.
    const state = this.#enter('step', arguments.length, 2);
    step(state, arguments.length > 0, grads, undefined, options);
  }

  /**
   * Records one step into the caller's encoder, and submits nothing. The gradients are GPU buffers, or without `grads`
   * those in `optimizer.grads`. The step counts as completed. Several can be recorded before the first is submitted.
   */
  encode<Given extends object = Gradients<Names>>(
    encoder: GPUCommandEncoder,
    ...rest: [grads?: GivenGradients<Names, Given, GpuMemory | null | undefined>, options?: StepOptions | undefined]
  ): void {
    encode(this.#enter('encode', rest.length + 1, 3), encoder, rest);
  }

  /**
   * Adds the gradients of a batch to those in `optimizer.grads`. The next `step()` uses their mean: the sum divided by
   * the number of batches, whether or not each batch had a gradient for every tensor. Frozen tensors are skipped.
   * Throws the errors of `step`.
   */
  accumulate<Given extends object = Gradients<Names>>(grads: GivenGradients<Names, Given>): void {
    whileBusy(this.#enter('accumulate', arguments.length, 1), (state) => accumulate(state, grads));
  }

  /** Drops accumulated gradients, and fills `optimizer.grads` with zeros. */
  zeroGrad(): void {
    zeroGrad(this.#enter('zeroGrad', arguments.length, 0));
  }

  /**
   * Resolves to the L2 norms of every parameter and of its gradient: the gradient that `step(grads)` or `step()` would
   * use, as a mean if accumulated, before `gradScale`. Computed in f64 on the CPU, from f32 sums on the GPU.
   */
  norms<Given extends object = Gradients<Names>>(grads?: GivenGradients<Names, Given>): Promise<Record<Names, Norms>> {
    const isPassed = arguments.length > 0;
    return this.#runAsync('norms', arguments.length, 1, (state) => {
      return norms(state, isPassed && grads !== state.backend.grads ? { given: grads } : undefined);
    });
  }

  /**
   * Adds a group `{ params, lr, ... }`, like PyTorch's add_param_group. Its other options are those that the optimizer
   * was made with. Existing tensors keep their memory and state. Resolves to this optimizer, with the new names in its
   * type.
   */
  addParamGroup<Added extends string>(
    group: ParamGroup<Float32Array | GpuMemory, Options, Added>,
  ): Promise<Optimizer<Memory, Options, Names | Added>> {
    const adding = this.#runLate('addParamGroup', arguments.length, 1, [group], (code) => code.addGroup);
    return adding.then(() => this as Optimizer<Memory, Options, any>);
  }

  /**
   * Adds tensors to a group, by its index or name, as `addParamGroup` adds a group. `shapes` has the sizes of their
   * dimensions, rows first. Rejects if the group's decay mask is a record that does not list them: use a function.
   */
  addParams<Added extends string>(
    group: number | string,
    params: Tensors<Float32Array | GpuMemory, Added>,
    options: { shapes?: Shapes<NoInfer<Added>> | undefined } = {},
  ): Promise<Optimizer<Memory, Options, Names | Added>> {
    const adding = this.#runLate('addParams', arguments.length, 3, [group, params, options], (code) => code.addTensors);
    return adding.then(() => this as Optimizer<Memory, Options, any>);
  }

  /**
   * Removes tensors and their state. Their names can be used again. Other tensors keep their memory and state, and
   * groups keep their indices, even without tensors. Memory is freed once all tensors that were added together are
   * removed; your own buffers are never destroyed.
   *
   * On the GPU, submit what you have encoded first. The tensors are removed once the device has accepted all steps so
   * far.
   *
   * Rejects with an Error for an unknown name, for the names of all tensors, in an unfinished step, or after a step
   * that the device refused, and then nothing has changed.
   */
  removeParams(names: readonly Names[]): Promise<void> {
    return this.#runLate('removeParams', arguments.length, 1, [names], (code) => code.removeParams);
  }

  /**
   * Freezes a tensor, by its name, or all tensors that a group has now, by its index, until `unfreeze`: their gradients
   * are ignored, they do not decay, and their steps are not counted.
   */
  freeze(which: Names | number): void {
    this.#setFrozen(which, true, this.#enter('freeze', arguments.length, 1));
  }

  /** Unfreezes a tensor, or all tensors of a group. They continue from their state and step count before `freeze`. */
  unfreeze(which: Names | number): void {
    this.#setFrozen(which, false, this.#enter('unfreeze', arguments.length, 1));
  }

  /** The number of completed steps, as schedules count them. Schedule-Free's groups have their own: `groups[i].k`. */
  get completedSteps(): number {
    return this.#inspect().completed;
  }

  /** Returns the number of steps that a tensor has completed; with Schedule-Free, that its group has completed. */
  stepOf(name: Names): number {
    expectArguments(arguments.length, 1, 'stepOf');
    const state = this.#inspect();
    const { group, tensor } = entryOf(state, name);
    return state.groups[group].stepOf(tensor);
  }

  /**
   * Resolves to a copy of a parameter, flat. With `average: true`, resolves to Schedule-Free's average x instead, in
   * either mode. On the GPU the parameter's buffer needs COPY_SRC usage.
   */
  async read(name: Names, options: { average?: boolean | undefined } = {}): Promise<Floats> {
    expectArguments(arguments.length, 2, 'read');
    expectOptions(options, 'read', ['average']);
    const { average = false } = ownOf(options);
    expect(typeof average === 'boolean', 'average', 'true or false', average);
    const state = Optimizer.stateOf(this);
    const entry = entryOf(state, name);
    const { backend, modes, algorithm } = state;
    if (!average) {
      const { section, tensor } = entry;
      const [values] = await awaitRead(state, backend.read([{ section, tensor, array: 'param' }]));
      return values;
    }
    if (modes === undefined) throw new TypeError(`${algorithm.name} keeps no average of ${show(name)}.`);
    return modes.readAverage(state, entry);
  }

  /**
   * Switches all groups, or one, by its index or name, to train mode: Schedule-Free's parameters become y, where
   * gradients are computed. Does nothing for other algorithms.
   */
  train(group?: number | string): void {
    switchMode(this.#enter('train', arguments.length, 1), true, group);
  }

  /**
   * Switches all groups, or one, by its index or name, to eval mode: Schedule-Free's parameters become the average x,
   * to evaluate and save. `step` then throws until `train()`. On the GPU this submits at once: submit encoded steps
   * first.
   */
  eval(group?: number | string): void {
    switchMode(this.#enter('eval', arguments.length, 1), false, group);
  }

  /**
   * Runs one step with the gradients that `closure` returns. While `closure` runs, the parameters are y; before and
   * after this call they are the average x. (Upstream's Closure variants; costs two more passes over the parameters.)
   * Await each call before the next.
   */
  async stepClosure<Given extends object = Gradients<Names>>(
    closure: () => GivenGradients<Names, Given> | Promise<GivenGradients<Names, Given>>,
  ): Promise<void> {
    expectArguments(arguments.length, 1, 'stepClosure');
    expect(typeof closure === 'function', 'the closure', 'a function that returns gradients', closure);
    this.train();
    try {
      this.step(await closure());
    } catch (error) {
      // Not this.eval(): it would throw a late failure of an earlier step in place of this error.
      if (this.#state?.isUnfinished === false) switchMode(this.#state, false);
      throw error;
    }
    this.eval();
    // The loss of a device is known one microtask later.
    await undefined;
    Optimizer.stateOf(this);
  }

  /**
   * Resolves to the state of the optimizer, and of a schedule that has state, in PyTorch's shape and names. Parameters,
   * functions and the decay mask are not included. The arrays are copies.
   */
  stateDict(): Promise<StateDict> {
    return this.#runAsync('stateDict', arguments.length, 0, save);
  }

  /**
   * Returns the state dict without its arrays. `params` and `arrays` are read one at a time, for models that are too
   * large to copy at once. A read rejects once the optimizer has stepped or changed otherwise.
   */
  lazyStateDict(): { dict: StateDict; params: LazyParam[]; arrays: LazyArray[] } {
    return whileBusy(this.#enter('lazyStateDict', arguments.length, 0), saveLazily);
  }

  /**
   * Loads a state dict of the same algorithm and the same names, from any backend, with its options. `params` also
   * loads the values of all parameters; your own GPU buffers then need COPY_DST usage. `options: 'current'` keeps the
   * current options. `strict: false` loads what the dict has for the tensors here. Resolves to the names that only one
   * side has. Rejects with an Error for what does not fit, and then nothing has changed.
   */
  loadStateDict(dict: StateDict, options: LoadOptions & Values = {}): Promise<IncompatibleNames> {
    const changes = this.#state && changesOf(this.#state);
    const args: [StateDict, LoadOptions & Values, number | undefined] = [dict, options, changes];
    return this.#runLate('loadStateDict', arguments.length, 2, args, (code) => code.loadStateDict, true);
  }

  /** Frees all memory. Your own buffers and device are not destroyed. Later steps and reads throw. */
  dispose(): void {
    expectArguments(arguments.length, 0, 'dispose');
    if (this.#state === undefined) return;
    checkIdle(this.#state, 'dispose');
    this.#state.backend.dispose();
    for (const group of this.#state.groups) group.clear();
    this.#state = undefined;
  }

  #setFrozen(which: string | number, isFrozen: boolean, state: OptimizerState): void {
    checkFinished(state);
    const entries = entriesIn(state, which);
    state.changes += 1;
    for (const { tensor } of entries) tensor.isFrozen = isFrozen;
  }

  /**
   * Returns the state, for a method that may change it. Throws for too many arguments, on re-entry, and if the
   * optimizer cannot be used. `ignoreFailure`: accepts an error that the device reported.
   */
  #enter(method: string, given: number, most: number, ignoreFailure = false): OptimizerState {
    expectArguments(given, most, method);
    const state = Optimizer.stateOf(this, ignoreFailure);
    checkIdle(state, method);
    return state;
  }

  /** Runs an async method. Rejects on errors, but throws on re-entry, so that the call in progress fails as well. */
  #runAsync<Result>(
    method: string,
    given: number,
    most: number,
    work: (state: OptimizerState) => Promise<Result> | Result,
    ignoreFailure = false,
  ): Promise<Result> {
    if (this.#state !== undefined) checkIdle(this.#state, method);
    return (async () => whileBusy(this.#enter(method, given, most, ignoreFailure), work))();
  }

  /** Runs an async method whose function, `pick(code)`, is loaded late. Until it is loaded, keeps a copy of `args`. */
  #runLate<Args extends readonly unknown[], Result>(
    method: string,
    given: number,
    most: number,
    args: Args,
    pick: (code: LateCode) => (state: OptimizerState, ...rest: Args) => Promise<Result>,
    ignoreFailure = false,
  ): Promise<Result> {
    const run = async (state: OptimizerState): Promise<Result> => {
      const code = lateState.code;
      if (code !== undefined) return pick(code)(state, ...args);
      const copy = snapshot(args) as Args;
      const work = pick(await loadedFor(method, lateState));
      return whileBusy(this.#enter(method, given, most, ignoreFailure), () => work(state, ...copy));
    };
    return this.#runAsync(method, given, most, run, ignoreFailure);
  }

  /**
   * Returns the state, to read from. Works even if the device is lost. Throws if an error was reported, except with
   * `ignoreFailure`.
   */
  #inspect(ignoreFailure = false): OptimizerState {
    if (this.#state === undefined) throw new Error(DISPOSED);
    if (this.#state.backend.failed !== undefined && !ignoreFailure) throw this.#state.backend.failed;
    return this.#state;
  }
}

/** Switches all groups, or one, to train mode or to eval mode. */
function switchMode(state: OptimizerState, isTraining: boolean, group?: number | string): void {
  if (!isTraining) checkFinished(state);
  const groups = group === undefined ? state.groups : [groupOf(state, group)];
  state.modes?.switchTo(state, groups, isTraining);
}
