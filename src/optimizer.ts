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
  type Modes,
  type OptimizerState,
  type Setup,
} from './step/state.js';
import { loadedFor } from './backends/lazy.js';
import { expect, expectArguments, expectOptions, isRecord, ownOf, show } from './errors.js';
import type { StateDict } from './state/dict.js';
import { snapshot } from './inputs/snapshot.js';
import { lateState } from './state/lazy.js';
import { LENGTHS } from './inputs/lengths.js';
import type { IncompatibleNames, LoadOptions } from './state/load-options.js';
import { save, saveLazily, type LazyArray, type LazyParam } from './state/save.js';
import { Group, type LiveGroup } from './step/group.js';
import type { StepOptions } from './step/options.js';
import { readOutcomes, readSkipped, skippedOf } from './step/outcomes.js';
import { checkEncoder, encode, step } from './step/step.js';

/** Parameter values to load with a state dict. */
interface Values {
  params?: Tensors<Float32Array> | undefined;
}

type LateCode = typeof import('./state/late.js');

/**
 * An optimizer over named tensors. `Memory` is the type of the values of `params` and `grads`: on the CPU
 * `Float32Array`, views of the optimizer's memory; on the GPU `GPUBufferBinding`. `Names` are those of the tensors, or
 * `string`: a field that holds any optimizer is an `Optimizer<Float32Array>` or an `Optimizer<GPUBufferBinding>`.
 *
 * Steps, reads and changes throw an Error after `dispose()`, once the device is lost, when a function in the options
 * calls them during a step, and for an error that the device reported late.
 *
 * @example
 * const optimizer = await adamw({ w: new Float32Array([1, 2, 3]) }, { lr: 0.01 });
 * optimizer.step({ w: new Float32Array([0.1, 0.2, 0.3]) });
 * const w = await optimizer.read('w');
 * optimizer.dispose();
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

  /**
   * The backend that runs the steps, and why it was chosen.
   *
   * @returns `name`: 'webgpu', 'wasm' or 'reference'. `reason`: sentences, for a log.
   */
  get backend(): Choice {
    return this.#choice;
  }

  /**
   * The options of each group. An assignment takes effect at the next step, as `groups[0].lr = 1e-4` does. A bad value
   * throws and changes nothing.
   *
   * @returns The groups in their order, with their options and state.
   */
  get groups(): readonly [LiveGroup<Options, Names>, ...LiveGroup<Options, Names>[]] {
    return this.#groups as any;
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

  /**
   * The GPU device of the optimizer.
   *
   * @returns Yours, or one that the optimizer requested. Undefined on the CPU.
   * @throws An Error after `dispose()`, and for an error that the device reported.
   */
  get device(): GPUDevice | undefined {
    return this.#inspect().backend.device;
  }

  /**
   * The memory of the parameters, in which steps update them. On the CPU these are copies of your arrays.
   *
   * @returns Flat Float32Arrays by name, or on the GPU buffers with offset and size in bytes.
   * @throws An Error after `dispose()`, and for an error that the device reported.
   */
  get params(): Tensors<Memory, Names> {
    return this.#inspect().backend.params as Tensors<Memory, Names>;
  }

  /**
   * The memory for gradients. Gradients written here need no copy. On the GPU it is allocated at first use.
   *
   * @returns Flat Float32Arrays by name, or on the GPU buffers with offset and size in bytes. Empty with
   *   `keepGrads: false`.
   * @throws An Error after `dispose()`, and for an error that the device reported.
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
    const state = this.#inspect(true);
    const known = () => state.entriesInOrder.flatMap(({ tensor: { name, shape } }) => (shape ? [[name, shape]] : []));
    return (state.shapes ??= Object.freeze(Object.fromEntries(known()) as Shapes)) as Shapes<Names>;
  }

  /** The number of values of each tensor. Works after an error that the device reported. @internal */
  get [LENGTHS](): ReadonlyMap<string, number> {
    return new Map(this.#inspect(true).entriesInOrder.map(({ tensor: { name, length } }) => [name, length]));
  }

  /**
   * Returns the slots of a tensor where they lie, by their names in state dicts, such as `exp_avg` and `exp_avg_sq`. No
   * copy is made: steps and `loadStateDict` change the values in place.
   *
   * Memory never moves, so the views and bindings stay valid until the tensor is removed or the optimizer is disposed
   * of. You may write to them: the next step uses the values, unchecked. Before the first step of a tensor its slots
   * are not part of the state: state dicts lack them, and Schedule-Free starts `z` at the parameter.
   *
   * @param name - The name of a tensor.
   * @returns A frozen record: for each slot a `Float32Array`, flat, as long as the tensor; on the GPU a
   *   `GPUBufferBinding` of exactly the tensor, whose offset is a multiple of 256 bytes, with STORAGE, COPY_SRC and
   *   COPY_DST usage. Empty for an average of weights.
   * @throws RangeError if there is no tensor of this name. Error if the optimizer has been disposed of, its memory or
   *   device was lost, or the device reported an error.
   * @example optimizer.slots('weight').exp_avg?.fill(0); // drops the momentum of a tensor
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
   * @param grads - Flat gradients by name, each as long as its tensor: Float32Arrays, or on the GPU also buffers. A
   *   tensor whose gradient is null, undefined or absent is left out.
   * @param options - See `StepOptions`: `gradScale`, `maxNorm`, `maxValue`, `normalize`, `ifFinite` and `scaler` say what
   *   is done with the gradients first, in this order: they are scaled, looked at for infinities and NaN, clamped by
   *   `maxValue`, and clipped by `maxNorm`; L2 decay and `maximize` come after that. `more`: see above.
   * @throws TypeError or RangeError for an unknown name, a wrong type or a wrong length, and then nothing has changed.
   *   Errors that only the GPU detects, such as a buffer of another device, are reported late: every later call throws
   *   them, until a state dict is loaded.
   * @example
   * optimizer.step(grads);
   * optimizer.step(grads, { maxNorm: 1 }); // clips
   * optimizer.grads.bias.fill(0.1); // or in place:
   * optimizer.step();
   */
  step<Given extends object = Gradients<Names>>(grads?: GivenGradients<Names, Given>, options?: StepOptions): void {
    // `step(undefined)` is not `step()`: the caller's gradients are missing.
    const state = this.#enter('step', arguments.length, 2);
    step(state, arguments.length > 0, grads, undefined, options);
  }

  /**
   * Records one step into your encoder, and submits nothing. The step counts as completed. Several can be recorded
   * before the first is submitted.
   *
   * @param encoder - An encoder of the optimizer's device.
   * @param grads - Flat gradients by name, GPU buffers. Without it, those in `optimizer.grads`.
   * @param options - Those of `step`.
   * @throws The errors of `step`, and a TypeError on the CPU, for a Float32Array, and for anything else than an
   *   encoder.
   * @example
   * optimizer.encode(encoder, grads);
   * device.queue.submit([encoder.finish()]);
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
   *
   * @param grads - Flat gradients by name, as for `step`.
   * @throws The errors of `step`, and an Error with `keepGrads: false`.
   * @example
   * for (const batch of [grads, grads]) optimizer.accumulate(batch);
   * optimizer.step();
   */
  accumulate<Given extends object = Gradients<Names>>(grads: GivenGradients<Names, Given>): void {
    whileBusy(this.#enter('accumulate', arguments.length, 1), (state) => accumulate(state, grads));
  }

  /**
   * Drops accumulated gradients, and fills `optimizer.grads` with zeros.
   *
   * @throws An Error if the optimizer cannot be used: see `Optimizer`.
   * @example optimizer.zeroGrad();
   */
  zeroGrad(): void {
    zeroGrad(this.#enter('zeroGrad', arguments.length, 0));
  }

  /**
   * Resolves to the L2 norms of every parameter and of its gradient: the gradient that `step(grads)` or `step()` would
   * use, as a mean if accumulated, before `gradScale`. Computed in f64 on the CPU, from f32 sums on the GPU.
   *
   * @param grads - Flat gradients by name, as for `step`. Without it, those in `optimizer.grads`.
   * @returns A promise of `{ param, grad }` by name.
   * @throws The errors of `step`. The promise rejects with them.
   * @example
   * const norms = await optimizer.norms(grads);
   * const norm = Math.hypot(...Object.values(norms).map(({ grad = 0 }) => grad));
   * optimizer.step(grads, { gradScale: Math.min(1, 1 / norm) }); // clips to a norm of 1
   */
  norms<Given extends object = Gradients<Names>>(grads?: GivenGradients<Names, Given>): Promise<Record<Names, Norms>> {
    const isPassed = arguments.length > 0;
    return this.#runAsync('norms', arguments.length, 1, (state) => {
      return norms(state, isPassed && grads !== state.backend.grads ? { given: grads } : undefined);
    });
  }

  /**
   * Resolves to the L2 norm of all gradients at the latest step with `maxNorm` or `normalize`, skipped or not: after
   * scaling and `maxValue`, before clipping. On the GPU it is read from there.
   *
   * @returns A promise of the norm. Infinity or NaN if a gradient was not finite.
   * @throws An Error if there was no such step since the optimizer was made or a state dict was loaded. The promise
   *   rejects with it.
   * @example
   * optimizer.step(grads, { maxNorm: 1 });
   * console.log(await optimizer.gradNorm());
   */
  gradNorm(): Promise<number> {
    return this.#runAsync('gradNorm', arguments.length, 0, async (state) => {
      // At the call: later steps and loads change it.
      const { hasNorm } = state;
      const norm = state.isDeferred ? (await readOutcomes(state)).norm : state.norm[0];
      if (hasNorm) return norm;
      throw new Error('There is no norm yet: no step has had maxNorm or normalize.');
    });
  }

  /**
   * Resolves to the number of skipped steps: those with `maxNorm`, `normalize`, `ifFinite` or `scaler` whose gradients
   * were not finite. Counted since the optimizer was made or a state dict was loaded. On the GPU it is read from there;
   * `stepOf` and `lazyStateDict` then work until the next step.
   *
   * @returns A promise of a whole number.
   * @throws The errors of `read`, and an Error while recorded calls are not submitted. The promise rejects with them.
   * @example
   * grads.weight.fill(NaN);
   * optimizer.step(grads, { ifFinite: true });
   * await optimizer.skippedSteps(); // 1
   */
  skippedSteps(): Promise<number> {
    return this.#runAsync('skippedSteps', arguments.length, 0, async (state) =>
      state.isDeferred ? readSkipped(state) : state.skipped,
    );
  }

  /**
   * Adds a group `{ params, lr, ... }`, like PyTorch's add_param_group. Its other options are those that the optimizer
   * was made with. Existing tensors keep their memory and state.
   *
   * @param group - Flat tensors by name as `params`, in the kind of memory that the optimizer has, and options.
   *   The tensors are read until the promise resolves: do not change them before.
   * @returns A promise of this optimizer, with the new names in its type.
   * @throws TypeError or RangeError for any option or tensor that is not as documented, and for a name that is in use.
   *   The promise rejects with them, and then nothing has changed.
   * @example const grown = await optimizer.addParamGroup({ params: { extra: new Float32Array(4) }, lr: 1e-4 });
   */
  addParamGroup<Added extends string>(
    group: ParamGroup<Float32Array | GpuMemory, Options, Added>,
  ): Promise<Optimizer<Memory, Options, Names | Added>> {
    const adding = this.#runLate('addParamGroup', arguments.length, 1, [group], (code) => code.addGroup);
    return adding.then(() => this as Optimizer<Memory, Options, any>);
  }

  /**
   * Adds tensors to a group, as `addParamGroup` adds a group.
   *
   * @param group - The index or the name of the group.
   * @param params - Flat tensors by name, in the kind of memory that the optimizer has. They are read until the
   *   promise resolves: do not change them before.
   * @param options - `shapes`: the sizes of their dimensions, rows first, by name. Default: not known.
   * @returns A promise of this optimizer, with the new names in its type.
   * @throws The errors of `addParamGroup`, and TypeError if the group's decay mask is a record that does not list the
   *   tensors: use a function. The promise rejects with them, and then nothing has changed.
   * @example const grown = await optimizer.addParams('body', { extra: new Float32Array(4) });
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
   * @param names - The names of the tensors.
   * @returns A promise of undefined.
   * @throws An Error for an unknown name, for the names of all tensors, in an unfinished step, or after a step that the
   *   device refused. The promise rejects with it, and then nothing has changed.
   * @example await optimizer.removeParams(['bias']);
   */
  removeParams(names: readonly Names[]): Promise<void> {
    return this.#runLate('removeParams', arguments.length, 1, [names], (code) => code.removeParams);
  }

  /**
   * Freezes a tensor, or all tensors that a group has now, until `unfreeze`: their gradients are ignored, they do not
   * decay, and their steps are not counted.
   *
   * @param which - The name of a tensor, or the index of a group.
   * @throws RangeError or TypeError if there is none, and an Error in an unfinished step.
   * @example optimizer.freeze('bias');
   */
  freeze(which: Names | number): void {
    this.#setFrozen(which, true, this.#enter('freeze', arguments.length, 1));
  }

  /**
   * Unfreezes a tensor, or all tensors of a group. They continue from their state and step count before `freeze`.
   *
   * @param which - The name of a tensor, or the index of a group.
   * @throws The errors of `freeze`.
   * @example optimizer.unfreeze('bias');
   */
  unfreeze(which: Names | number): void {
    this.#setFrozen(which, false, this.#enter('unfreeze', arguments.length, 1));
  }

  /**
   * The number of completed steps, as schedules count them: skipped ones, too. Schedule-Free's groups have their own:
   * `groups[i].k`.
   *
   * @returns A whole number, 0 before the first step.
   * @throws An Error after `dispose()`, and for an error that the device reported.
   */
  get completedSteps(): number {
    return this.#inspect().completed;
  }

  /**
   * Returns the number of steps that a tensor has completed; with Schedule-Free, that its group has completed. Skipped
   * steps do not count.
   *
   * @param name - The name of a tensor.
   * @returns A whole number, 0 before its first step.
   * @throws RangeError if there is no tensor of this name. Error if only the GPU knows the number, since it may have
   *   skipped steps: await `skippedSteps()` first.
   * @example optimizer.stepOf('bias'); // 0
   */
  stepOf(name: Names): number {
    expectArguments(arguments.length, 1, 'stepOf');
    const state = this.#inspect();
    const { group, tensor } = entryOf(state, name);
    return state.groups[group].stepOf(tensor) - skippedOf(state, tensor);
  }

  /**
   * Resolves to a copy of a parameter. On the GPU its buffer needs COPY_SRC usage.
   *
   * @param name - The name of a tensor.
   * @param options - `average: true`: Schedule-Free's average x instead, in either mode. Default false.
   * @returns A promise of the values, flat.
   * @throws RangeError if there is no tensor of this name, and TypeError for an average that the algorithm does not
   *   keep. The promise rejects with them.
   * @example const values = await optimizer.read('weight');
   */
  async read(name: Names, options: { average?: boolean | undefined } = {}): Promise<Floats> {
    expectArguments(arguments.length, 2, 'read');
    expectOptions(options, 'read', ['average']);
    const { average = false } = ownOf(options);
    expect(typeof average === 'boolean', 'average', 'true or false', average);
    const state = Optimizer.stateOf(this);
    const entry = entryOf(state, name);
    if (average) return modesOf(state, name).readAverage(state, entry);
    const { section, tensor } = entry;
    const [values] = await awaitRead(state, state.backend.read([{ section, tensor, array: 'param' }]));
    return values;
  }

  /**
   * Switches to train mode: Schedule-Free's parameters become y, where gradients are computed. Does nothing for other
   * algorithms. On the GPU this submits at once: submit what you have encoded first, or use `encodeTrain`.
   *
   * @param group - The index or the name of a group. Default: all groups.
   * @throws RangeError or TypeError if there is no such group.
   * @example
   * const free = await sgdScheduleFree(params);
   * free.eval();
   * free.train();
   */
  train(group?: number | string): void {
    switchMode(this.#enter('train', arguments.length, 1), true, group);
  }

  /**
   * Switches to eval mode: Schedule-Free's parameters become the average x, to evaluate and save. `step` then throws
   * until `train()`. On the GPU this submits at once: submit what you have encoded first, or use `encodeEval`.
   *
   * @param group - The index or the name of a group. Default: all groups.
   * @throws RangeError or TypeError if there is no such group, and an Error in an unfinished step.
   * @example
   * const free = await sgdScheduleFree(params);
   * free.eval();
   * free.params.weight; // the average
   */
  eval(group?: number | string): void {
    switchMode(this.#enter('eval', arguments.length, 1), false, group);
  }

  /**
   * Records what `train` does into your encoder, and submits nothing. The mode counts as changed at once.
   *
   * @param encoder - An encoder of the optimizer's device.
   * @param group - The index or the name of a group. Default: all groups.
   * @throws The errors of `train`, and a TypeError on the CPU and for anything else than an encoder.
   * @example
   * const free = await sgdScheduleFree(params, { device });
   * free.eval();
   * free.encodeTrain(encoder);
   * free.encode(encoder, grads);
   * device.queue.submit([encoder.finish()]);
   */
  encodeTrain(encoder: GPUCommandEncoder, group?: number | string): void {
    const state = this.#enter('encodeTrain', arguments.length, 2);
    checkEncodes(state, encoder, 'encodeTrain', 'train()');
    switchMode(state, true, group, encoder);
  }

  /**
   * Records what `eval` does into your encoder, and submits nothing. The mode counts as changed at once.
   *
   * @param encoder - An encoder of the optimizer's device.
   * @param group - The index or the name of a group. Default: all groups.
   * @throws The errors of `eval`, and a TypeError on the CPU and for anything else than an encoder.
   * @example
   * const free = await sgdScheduleFree(params, { device });
   * free.encode(encoder, grads);
   * free.encodeEval(encoder);
   * device.queue.submit([encoder.finish()]);
   */
  encodeEval(encoder: GPUCommandEncoder, group?: number | string): void {
    const state = this.#enter('encodeEval', arguments.length, 2);
    checkEncodes(state, encoder, 'encodeEval', 'eval()');
    switchMode(state, false, group, encoder);
  }

  /**
   * Records Schedule-Free's average x of tensors into buffers of yours, in either mode, and submits nothing. A frame that
   * trains at y and renders from x is one submit. The optimizer does not change. Before the first step of a tensor, x is
   * the parameter.
   *
   * @param encoder - An encoder of the optimizer's device.
   * @param destinations - Buffers by name, or parts of them, `{ buffer, offset, size }` in bytes, with STORAGE and
   *   COPY_DST usage. `offset` is a multiple of 256. Each holds at least as many f32 as its tensor; the rest is kept.
   * @throws RangeError for an unknown name and a buffer that is too short. TypeError on the CPU, for anything else than
   *   an encoder, for an average that the algorithm does not keep, and for a buffer without these usages or that overlaps
   *   a parameter, the optimizer's own memory or another destination. Then nothing was recorded.
   * @example
   * const free = await sgdScheduleFree(params, { device });
   * const { STORAGE, COPY_DST } = GPUBufferUsage;
   * const average = device.createBuffer({ size: 4 * 32, usage: STORAGE | COPY_DST });
   * free.encode(encoder, grads);
   * free.encodeAverage(encoder, { weight: average }); // then draw from it, in the same encoder
   * device.queue.submit([encoder.finish()]);
   */
  encodeAverage<Given extends object = { readonly [Name in Names]?: GpuMemory }>(
    encoder: GPUCommandEncoder,
    destinations: GivenGradients<Names, Given, GpuMemory>,
  ): void {
    whileBusy(this.#enter('encodeAverage', arguments.length, 2), (state) => {
      checkEncodes(state, encoder, 'encodeAverage', 'read(name, { average: true })');
      expect(isRecord(destinations), 'the destinations', 'a record by name', destinations);
      const given = Object.entries<unknown>(destinations).map(([name, destination]) => {
        const entry = entryOf(state, name);
        modesOf(state, name);
        return [entry, destination] as const;
      });
      if (given.length > 0) state.modes!.encodeAverages(state, new Map(given), encoder);
    });
  }

  /**
   * Runs one step with the gradients that `closure` returns. While `closure` runs, the parameters are y; before and
   * after this call they are the average x. (Upstream's Closure variants; costs two more passes over the parameters.)
   * Await each call before the next.
   *
   * @param closure - Returns flat gradients by name, or a promise of them.
   * @returns A promise of undefined.
   * @throws The error of `closure`, and those of `step`. The promise rejects with them, and the parameters are x again.
   * @example
   * const free = await sgdScheduleFree(params);
   * free.eval();
   * await free.stepClosure(() => ({ weight: free.params.weight, bias: null }));
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
   * functions and the decay mask are not included.
   *
   * @returns A promise of the dict. Its arrays are copies, flat.
   * @throws An Error in an unfinished step, and with accumulated gradients. The promise rejects with it.
   * @example const dict = await optimizer.stateDict();
   */
  stateDict(): Promise<StateDict> {
    return this.#runAsync('stateDict', arguments.length, 0, save);
  }

  /**
   * Returns the state dict without its arrays, which are read one at a time, for models that are too large to copy at
   * once.
   *
   * @returns `dict`, the parameters as `params`, and the arrays of the dict as `arrays`. A read rejects once the
   *   optimizer has stepped or changed otherwise.
   * @throws The errors of `stateDict`.
   * @example
   * const { dict, arrays } = optimizer.lazyStateDict();
   * for (const { state, slot, read } of arrays) state[slot] = await read();
   */
  lazyStateDict(): { dict: StateDict; params: LazyParam[]; arrays: LazyArray[] } {
    return whileBusy(this.#enter('lazyStateDict', arguments.length, 0), saveLazily);
  }

  /**
   * Loads a state dict of the same algorithm and the same names, from any backend, with its options.
   *
   * @param dict - What `stateDict()` returned. Its arrays are copied.
   * @param options - `params`: flat values to load for all parameters, for which your own GPU buffers need COPY_DST
   *   usage. `options: 'current'`: keeps the current options. `strict: false`: loads what the dict has for the tensors
   *   here.
   * @returns A promise of the names that only one side has.
   * @throws TypeError or RangeError for what does not fit. The promise rejects with them, and then nothing has changed.
   * @example await optimizer.loadStateDict(await optimizer.stateDict());
   */
  loadStateDict(dict: StateDict, options: LoadOptions & Values = {}): Promise<IncompatibleNames> {
    const changes = this.#state && changesOf(this.#state);
    const args: [StateDict, LoadOptions & Values, number | undefined] = [dict, options, changes];
    return this.#runLate('loadStateDict', arguments.length, 2, args, (code) => code.loadStateDict, true);
  }

  /**
   * Frees all memory. Your own buffers and device are not destroyed. Later steps and reads throw. A second call does
   * nothing.
   *
   * @throws An Error when called by a function in the options during a step.
   * @example optimizer.dispose();
   */
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

  /**
   * Runs an async method whose function, `pick(code)`, is loaded late. Until it is loaded, keeps a copy of `args`. With
   * `loadsDict` that includes the values of arrays, and errors that the device reported are accepted.
   */
  #runLate<Args extends readonly unknown[], Result>(
    method: string,
    given: number,
    most: number,
    args: Args,
    pick: (code: LateCode) => (state: OptimizerState, ...rest: Args) => Promise<Result>,
    loadsDict = false,
  ): Promise<Result> {
    const run = async (state: OptimizerState): Promise<Result> => {
      const code = lateState.code;
      if (code !== undefined) return pick(code)(state, ...args);
      const copy = snapshot(args, loadsDict) as Args;
      const work = pick(await loadedFor(method, lateState));
      return whileBusy(this.#enter(method, given, most, loadsDict), () => work(state, ...copy));
    };
    return this.#runAsync(method, given, most, run, loadsDict);
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

/** Returns what reads the averages of an algorithm. Throws if it keeps none. */
function modesOf({ modes, algorithm }: OptimizerState, name: string): Modes {
  if (modes === undefined) throw new TypeError(`${algorithm.name} keeps no average of ${show(name)}.`);
  return modes;
}

/** Throws for anything else than an encoder, and on the CPU. `instead`: what to call there. */
function checkEncodes({ backend }: OptimizerState, encoder: GPUCommandEncoder, method: string, instead: string): void {
  checkEncoder(encoder);
  if (backend.device !== undefined) return;
  throw new TypeError(`${method}() records GPU commands, but the parameters are in CPU memory; call ${instead}.`);
}

/** Switches all groups, or one, to train mode or to eval mode, or records that. */
function switchMode(
  state: OptimizerState,
  isTraining: boolean,
  group?: number | string,
  encoder?: GPUCommandEncoder,
): void {
  if (!isTraining) checkFinished(state);
  const groups = group === undefined ? state.groups : [groupOf(state, group)];
  state.modes?.switchTo(state, groups, isTraining, encoder);
}
