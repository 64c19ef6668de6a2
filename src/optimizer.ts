// Step, read, save, dispose: what every optimizer does, whatever its rule and machine.

import { addGroup, addTensors } from './adding.js';
import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import type { ArrayOf, Backend, BackendName } from './backends/backend.js';
import type { Choice } from './backends/index.js';
import type { Group, ParamGroup, Tensors } from './groups.js';
import { arraysOf } from './layout.js';
import type { GpuMemory } from './memory.js';
import { collect, makeStep, memberOf, register, release, stepperOf, type Parts } from './parts.js';
import { apply, type Arrays } from './rules/rule.js';
import { expect, show } from './sentences.js';
import { describe, type LazyArray, type StateDict } from './state/dict.js';
import { parse, parseParams } from './state/parse.js';
import { Stepper, type LiveGroup } from './stepper.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined are no gradient at all. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** How a step is to be taken. */
export interface StepOptions {
  /** Whether more of this step's gradients are to come with the next call. Default false. */
  more?: boolean;
}

/** Options that belong to the optimizer as a whole. */
export interface MachineOptions {
  /** Where to run. 'auto', the default: GPU buffers on their device, Float32Arrays on the best CPU backend. */
  backend?: 'auto' | BackendName;
  /**
   * False for no memory that gradients could be kept in: `optimizer.grads` is empty, and gradients are handed to
   * `step()`, as a backward pass gives them (arXiv 2306.09782). Default true.
   */
  keepGrads?: boolean;
  /** The device that GPU buffers belong to. Without one, `backend: 'webgpu'` asks `navigator.gpu`. */
  device?: GPUDevice;
}

/** What an optimizer is made of, besides its groups. */
interface Making<Options extends CommonOptions> extends Pick<
  Parts<Options>,
  'algorithm' | 'common' | 'memory' | 'keepGrads'
> {
  readonly backend: Backend;
  readonly choice: Choice;
}

/**
 * An optimizer over named tensors. `Memory` is what `params` and `grads` show: live `Float32Array` views into the
 * optimizer's own memory on the CPU, `GPUBufferBinding`s on the GPU.
 */
export class Optimizer<Memory, Options extends CommonOptions = CommonOptions> {
  /** Which backend runs it, and why. */
  readonly backend: Choice;

  readonly #algorithm: Algorithm<Options>;
  #groups: readonly LiveGroup<Options>[] = [];
  #parts: Parts<Options> | undefined;
  /** Kept once it is certain which of the steps so far were done. */
  #settled: Promise<unknown> | undefined;
  #failure: Error | undefined;
  /** Whether the latest step has gradients still to come. */
  #isUnfinished = false;
  #isAdding = false;
  /** Counts whatever changes the state. */
  #changes = 0;
  /** How many state dicts were loaded: what comes to light of a step before counts no more. */
  #loads = 0;

  /** Use `adam`, `adamw`, ... */
  constructor(
    { algorithm, common, memory, keepGrads, backend, choice }: Making<Options>,
    groups: readonly Group<Options>[],
  ) {
    const steppers = groups.map((group, g) => new Stepper(algorithm, group, g, backend));
    this.#algorithm = algorithm;
    this.#parts = { algorithm, common, memory, keepGrads, steppers, members: new Map(), backend };
    for (const { members } of steppers) register(this.#parts, members);
    this.#showGroups();
    this.backend = Object.freeze(choice);
  }

  /** The live options of each group: an assignment takes effect at the next step, a bad value is refused. */
  get groups(): readonly LiveGroup<Options>[] {
    return this.#groups;
  }

  /** The parameters where they are stepped, by name. On the CPU these are copies of the arrays handed over. */
  get params(): Readonly<Record<string, Memory>> {
    return this.#use().backend.params as Readonly<Record<string, Memory>>;
  }

  /** The optimizer's own memory for gradients, by name: written there, they need no copy. On the GPU made at first use. */
  get grads(): Readonly<Record<string, Memory>> {
    return this.#use().backend.grads as Readonly<Record<string, Memory>>;
  }

  /**
   * One step of every tensor that has a gradient in `grads`; the others, and their step counters, stay as they are.
   * `step()` takes what stands in `optimizer.grads`, for every tensor. Arrays handed over are copied there.
   *
   * With `more` the step goes on with the next call: gradients may be handed over as a backward pass gives them, and need
   * not be kept. Only Schedule-Free, which counts steps by group, has to be told.
   *
   * Throws a sentence for a name that does not exist, a wrong type or length, and then nothing has changed. What only
   * the GPU can tell, such as a buffer of another device, comes to light later: then the next call throws, the step was
   * not done, and it is not counted.
   */
  step(grads?: Readonly<Record<string, Gradient>>, { more = false }: StepOptions = {}): void {
    // `step(undefined)` is a caller whose gradients went missing, and not `step()`.
    this.#advance(arguments.length === 0 ? this.#ownGrads() : grads, undefined, more);
  }

  /**
   * Records one step into the caller's encoder and submits nothing; gradients are GPU buffers, or without `grads` what
   * stands in `optimizer.grads`. The step counts as done. Several may be recorded before the first is submitted.
   */
  encode(
    encoder: GPUCommandEncoder,
    grads?: Readonly<Record<string, GpuMemory | null | undefined>>,
    { more = false }: StepOptions = {},
  ): void {
    expect(typeof encoder?.beginComputePass === 'function', 'the encoder', 'a GPUCommandEncoder', encoder);
    this.#advance(arguments.length === 1 ? this.#ownGrads() : grads, encoder, more);
  }

  /**
   * Adds a group `{ params, lr, ... }`, as PyTorch's add_param_group; options that it does not have are those that the
   * optimizer was made with. Memory of the others stays where it is, and what is remembered of them as it is.
   */
  async addParamGroup(group: ParamGroup<Memory | Float32Array, Options>): Promise<void> {
    await this.#add((parts) => addGroup(parts, group));
  }

  /** Adds tensors to a group, as `addParamGroup` adds one. A decay mask that is a record cannot know them: it is refused. */
  async addParams(group: number, params: Tensors<Memory | Float32Array>): Promise<void> {
    await this.#add((parts) => addTensors(parts, group, params));
  }

  /**
   * Freezes a tensor, or all that a group has now: until `unfreeze` their gradients are passed over, and they are
   * neither decayed nor counted.
   */
  freeze(which: string | number): void {
    this.#freeze(which, true);
  }

  /** Has a tensor, or all of a group, be stepped again, from where they stopped. */
  unfreeze(which: string | number): void {
    this.#freeze(which, false);
  }

  /** How many steps a tensor has completed; with Schedule-Free, its group. */
  stepOf(name: string): number {
    const parts = this.#use();
    const { group, tensor } = memberOf(parts, name);
    return parts.steppers[group].stepOf(tensor);
  }

  /**
   * A copy of a parameter as it is now, flattened; with `average` of Schedule-Free's x, in either mode, and nothing
   * changes. On the GPU its buffer needs COPY_SRC usage.
   */
  async read(name: string, { average = false }: { average?: boolean } = {}): Promise<Float32Array> {
    const parts = this.#use();
    const { group, section, tensor } = memberOf(parts, name);
    const { average: averaging, name: algorithm } = this.#algorithm;
    if (average && averaging === undefined) throw new TypeError(`${algorithm} keeps no average of ${show(name)}.`);
    const read = (arrays: string[]): Promise<Float32Array[]> =>
      this.#settle(parts.backend.read(arrays.map((array) => ({ section, tensor, array }))));
    // In eval mode, and before its first step, the parameter is the average.
    const stepper = parts.steppers[group];
    const isAway = average && stepper.isTraining && tensor.step > 0;
    if (averaging === undefined || !isAway) return (await read(['param']))[0];
    const { rule } = averaging;
    const names = arraysOf(rule);
    const by = stepper.averageScalars(true);
    const values = await read(names);
    apply(rule, Object.fromEntries(names.map((array, i) => [array, values[i]])) as Arrays, by);
    return values[0];
  }

  /**
   * Has the parameters of all groups, or of one, be what gradients are taken of: for Schedule-Free y, for the others what
   * they always are.
   */
  train(group?: number): void {
    this.#switch(true, group);
  }

  /**
   * Has the parameters of all groups, or of one, be what is to be evaluated and saved: for Schedule-Free the average x.
   * Then no step is taken. On the GPU it is a submit of its own: steps that are encoded are to be submitted before.
   */
  eval(group?: number): void {
    this.#switch(false, group);
  }

  /**
   * One step by gradients that `closure` takes while the parameters are y; before and after they are the average x
   * (upstream's Closure variants, of which this costs two passes over the parameters more). One at a time.
   */
  async stepClosure(
    closure: () => Readonly<Record<string, Gradient>> | Promise<Readonly<Record<string, Gradient>>>,
  ): Promise<void> {
    this.train();
    try {
      this.step(await closure());
    } catch (error) {
      // An error of the closure's is the one to be heard of.
      if (this.#parts !== undefined) this.eval();
      throw error;
    }
    this.eval();
  }

  /**
   * All that the optimizer remembers now, in PyTorch's shape and words; the parameters themselves, functions and the
   * decay mask are not part of it. The arrays are copies.
   */
  async stateDict(): Promise<StateDict> {
    const { steppers, backend } = this.#useWhole();
    const { dict, arrays } = describe(this.#algorithm, steppers);
    const values = await this.#settle(backend.read(arrays.map(({ source }) => source)));
    for (const [i, { state, slot }] of arrays.entries()) state[slot] = values[i];
    return dict;
  }

  /**
   * The state dict as it is now but for its arrays, and these, to be read one at a time: a copy of all would be too much
   * of a large model. Reading one throws once the optimizer has been stepped or changed otherwise.
   */
  lazyStateDict(): { dict: StateDict; arrays: LazyArray[] } {
    const { steppers, backend } = this.#useWhole();
    const { dict, arrays } = describe(this.#algorithm, steppers);
    const changes = this.#changes;
    const read = async (source: ArrayOf): Promise<Float32Array> => {
      this.#use();
      const values = changes === this.#changes ? await this.#settle(backend.read([source])) : [];
      if (changes === this.#changes) return values[0];
      throw new Error(`The optimizer changed before ${show(source.tensor.name)} of its state dict was read.`);
    };
    const lazy = arrays.map(({ source, state, slot }) => {
      const { name, length } = source.tensor;
      return { name, slot, length, state, read: () => read(source) };
    });
    return { dict, arrays: lazy };
  }

  /**
   * Takes over a state dict of the same algorithm over the same names, of any backend, with its options; with `params`
   * the values of all parameters, too, for which GPU buffers of the caller's need COPY_DST usage. Throws a sentence for
   * what does not fit, and then nothing has changed.
   */
  async loadStateDict(dict: StateDict, { params }: { params?: Tensors<Float32Array> } = {}): Promise<void> {
    const { steppers, backend } = this.#useWhole();
    const loaded = parse(this.#algorithm, steppers, dict);
    const values = params === undefined ? [] : parseParams(steppers, params);
    for (const [source] of values) backend.checkWrite(source);
    // Memory first: a lost device throws there, with nothing taken over yet.
    for (const [source, array] of values) backend.write(source, array);
    for (const [group, { tensors }] of loaded.entries()) {
      for (const { member, slots } of tensors) {
        const { section, tensor } = member;
        for (const array of steppers[group].rule.slots) {
          backend.write({ section, tensor, array }, slots?.[array] ?? new Float32Array(tensor.length));
        }
      }
    }
    this.#changes += 1;
    this.#loads += 1;
    for (const [group, { options, state, isTraining, tensors }] of loaded.entries()) {
      const stepper = steppers[group];
      Object.assign(stepper.group.options, options);
      Object.assign(stepper.state, state);
      stepper.isTraining = isTraining;
      for (const { member, step, isFrozen } of tensors) Object.assign(member.tensor, { step, isFrozen });
    }
    backend.writeParam(steppers.flatMap((stepper) => stepper.fromParam()));
  }

  /** Lets go of all memory; buffers and a device of the caller's are left alone. Any later step or read throws. */
  dispose(): void {
    this.#parts?.backend.dispose();
    this.#parts = undefined;
  }

  /** The gradients of a step that is given none. */
  #ownGrads(): object {
    const { keepGrads, backend } = this.#use();
    if (keepGrads) return backend.grads;
    throw new Error('This optimizer keeps no gradients (keepGrads: false): hand them to each step.');
  }

  #advance(grads: unknown, encoder: GPUCommandEncoder | undefined, more: boolean): void {
    // All that can be refused comes first, so that a refusal finds everything as it was.
    expect(typeof more === 'boolean', 'more', 'true or false', more);
    const parts = this.#use();
    const { steppers, backend } = parts;
    if (!steppers.every(({ isTraining }) => isTraining)) {
      throw new Error(
        'A step was taken in eval mode, where the parameters are averages: call train() before gradients.',
      );
    }
    collect(parts, grads, encoder !== undefined);
    for (const stepper of steppers) stepper.prepare(1);
    this.#changes += 1;
    const outcome = makeStep(backend, steppers, encoder);
    const isLast = !more;
    if (outcome === undefined) {
      for (const stepper of steppers) stepper.commit(isLast);
    } else {
      const undo = steppers.map((stepper) => stepper.commitForNow(isLast));
      this.#watch(outcome, undo);
    }
    release(parts);
    this.#isUnfinished = more;
  }

  async #add(add: (parts: Parts<Options>) => Promise<() => void>): Promise<void> {
    if (this.#isAdding) throw new Error('Parameters are being added already: await that first.');
    this.#isAdding = true;
    try {
      const take = await add(this.#use());
      this.#use();
      take();
      this.#showGroups();
      this.#changes += 1;
    } finally {
      this.#isAdding = false;
    }
  }

  #showGroups(): void {
    this.#groups = Object.freeze(this.#use().steppers.map((stepper, g) => this.#groups[g] ?? stepper.live()));
  }

  #freeze(which: string | number, isFrozen: boolean): void {
    const parts = this.#use();
    const members = typeof which === 'string' ? [memberOf(parts, which)] : stepperOf(parts, which).members;
    this.#changes += 1;
    for (const { tensor } of members) tensor.isFrozen = isFrozen;
  }

  #switch(isTraining: boolean, group: number | undefined): void {
    const parts = this.#useWhole();
    const { steppers, backend } = parts;
    const { average } = this.#algorithm;
    const chosen = group === undefined ? steppers : [stepperOf(parts, group)];
    const changing = chosen.filter((stepper) => stepper.isTraining !== isTraining);
    if (average === undefined || changing.length === 0) return;
    // A step that was refused may have left gradients behind, and none takes part in this.
    release(parts);
    for (const stepper of changing) stepper.prepareSwitch(!isTraining);
    this.#changes += 1;
    const outcome = makeStep(backend, changing, undefined, average.rule);
    for (const stepper of changing) stepper.isTraining = isTraining;
    const undo = changing.map((stepper) => () => {
      stepper.isTraining = !isTraining;
    });
    if (outcome !== undefined) this.#watch(outcome, undo);
  }

  /** Takes back what turns out not to have been done, and has the next call say why. */
  #watch(outcome: Promise<Error | undefined>, undo: readonly (() => void)[]): void {
    const loads = this.#loads;
    const settled = outcome.then((error) => {
      if (error === undefined || loads !== this.#loads) return;
      this.#changes += 1;
      for (const each of undo) each();
      this.#failure ??= error;
    });
    this.#settled = Promise.all([this.#settled, settled]).then(() => undefined);
  }

  /** What was read, once it is certain that the steps before it were done. */
  async #settle<Read>(read: Promise<Read>): Promise<Read> {
    const [values] = await Promise.all([read, this.#settled]);
    this.#use();
    return values;
  }

  /** For what cannot be done in the midst of a step. */
  #useWhole(): Parts<Options> {
    const parts = this.#use();
    if (!this.#isUnfinished) return parts;
    throw new Error('A step is unfinished: its last gradients are to come, by a step() without `more`.');
  }

  #use(): Parts<Options> {
    if (this.#parts === undefined) throw new Error('This optimizer has been disposed of.');
    const failure = this.#failure;
    if (failure === undefined) return this.#parts;
    this.#failure = undefined;
    throw failure;
  }
}
