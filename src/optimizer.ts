// Step, read, save, dispose: what every optimizer does, whatever its rule and machine.

import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import type { Backend, BackendName } from './backends/backend.js';
import type { Choice } from './backends/index.js';
import type { Group } from './groups.js';
import { arraysOf } from './layout.js';
import type { GpuMemory } from './memory.js';
import { collect, makeStep, memberOf, release, type Parts } from './parts.js';
import { apply, type Arrays } from './rules/rule.js';
import { expect, show } from './sentences.js';
import { describe, type StateDict } from './state/dict.js';
import { parse } from './state/parse.js';
import { Stepper, type LiveGroup } from './stepper.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined are no gradient at all. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** Options that belong to the optimizer as a whole. */
export interface MachineOptions {
  /** Where to run. 'auto', the default: GPU buffers on their device, Float32Arrays on the best CPU backend. */
  backend?: 'auto' | BackendName;
  /** The device that GPU buffers belong to. Without one, `backend: 'webgpu'` asks `navigator.gpu`. */
  device?: GPUDevice;
}

/**
 * An optimizer over named tensors. `Memory` is what `params` and `grads` show: live `Float32Array` views into the
 * optimizer's own memory on the CPU, `GPUBufferBinding`s on the GPU.
 */
export class Optimizer<Memory, Options extends CommonOptions = CommonOptions> {
  /** Which backend runs it, and why. */
  readonly backend: Choice;
  /** The live options of each group: an assignment takes effect at the next step, a bad value is refused. */
  readonly groups: readonly LiveGroup<Options>[];

  readonly #algorithm: Algorithm<Options>;
  #parts: Parts<Options> | undefined;
  /** Kept once it is certain which of the steps so far were done. */
  #settled: Promise<unknown> | undefined;
  #failure: Error | undefined;
  /** How many state dicts were loaded: what comes to light of a step before counts no more. */
  #loads = 0;

  /** Use `adam`, `adamw`, ... */
  constructor(algorithm: Algorithm<Options>, groups: readonly Group<Options>[], backend: Backend, choice: Choice) {
    const steppers = groups.map((group, g) => new Stepper(algorithm, group, g, backend));
    const members = new Map(steppers.flatMap((each) => each.members).map((member) => [member.tensor.name, member]));
    this.#algorithm = algorithm;
    this.#parts = { steppers, members, backend };
    backend.writeParam(steppers.flatMap((stepper) => stepper.fromParam()));
    this.groups = Object.freeze(steppers.map((stepper) => stepper.live()));
    this.backend = Object.freeze(choice);
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
   * Throws a sentence for a name that does not exist, a wrong type or length, and then nothing has changed. What only
   * the GPU can tell, such as a buffer of another device, comes to light later: then the next call throws, the step was
   * not done, and it is not counted.
   */
  step(grads?: Readonly<Record<string, Gradient>>): void {
    // `step(undefined)` is a caller whose gradients went missing, and not `step()`.
    this.#advance(arguments.length === 0 ? (this.grads as object) : grads, undefined);
  }

  /**
   * Records one step into the caller's encoder and submits nothing; gradients are GPU buffers, or without `grads` what
   * stands in `optimizer.grads`. The step counts as done. Several may be recorded before the first is submitted.
   */
  encode(encoder: GPUCommandEncoder, grads?: Readonly<Record<string, GpuMemory | null | undefined>>): void {
    expect(typeof encoder?.beginComputePass === 'function', 'the encoder', 'a GPUCommandEncoder', encoder);
    this.#advance(arguments.length === 1 ? (this.grads as object) : grads, encoder);
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
    const { group, tensor } = memberOf(parts, name);
    const { average: averaging, name: algorithm } = this.#algorithm;
    if (average && averaging === undefined) throw new TypeError(`${algorithm} keeps no average of ${show(name)}.`);
    const read = (arrays: string[]): Promise<Float32Array[]> =>
      this.#settle(parts.backend.read(arrays.map((array) => ({ group, tensor, array }))));
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
   * All that the optimizer remembers now, in PyTorch's shape and words, and what a schedule with a memory does; the
   * parameters themselves, functions and the decay mask are not part of it. The arrays are copies.
   */
  async stateDict(): Promise<StateDict> {
    const { steppers, backend } = this.#use();
    const { dict, arrays } = describe(this.#algorithm, steppers);
    const values = await this.#settle(backend.read(arrays.map(({ source }) => source)));
    for (const [i, { state, slot }] of arrays.entries()) state[slot] = values[i];
    return dict;
  }

  /**
   * Takes over a state dict of the same algorithm over the same names, of any backend, with its options. Throws a
   * sentence for one that does not fit, and then nothing has changed.
   */
  async loadStateDict(dict: StateDict): Promise<void> {
    const { steppers, backend } = this.#use();
    const loaded = parse(this.#algorithm, steppers, dict);
    // Memory first: a lost device throws there, with nothing taken over yet.
    for (const [group, { tensors }] of loaded.entries()) {
      for (const { tensor, slots } of tensors) {
        for (const array of steppers[group].group.rule.slots) {
          backend.write({ group, tensor, array }, slots?.[array] ?? new Float32Array(tensor.length));
        }
      }
    }
    this.#loads += 1;
    for (const [group, { options, state, isTraining, loadSchedule, tensors }] of loaded.entries()) {
      const stepper = steppers[group];
      Object.assign(stepper.group.options, options);
      Object.assign(stepper.state, state);
      stepper.isTraining = isTraining;
      loadSchedule();
      for (const { tensor, step } of tensors) tensor.step = step;
    }
    backend.writeParam(steppers.flatMap((stepper) => stepper.fromParam()));
  }

  /** Lets go of all memory; buffers and a device of the caller's are left alone. Any later step or read throws. */
  dispose(): void {
    this.#parts?.backend.dispose();
    this.#parts = undefined;
  }

  #advance(grads: unknown, encoder: GPUCommandEncoder | undefined): void {
    // All that can be refused comes first, so that a refusal finds everything as it was.
    const parts = this.#use();
    const { steppers, backend } = parts;
    if (!steppers.every(({ isTraining }) => isTraining)) {
      throw new Error(
        'A step was taken in eval mode, where the parameters are averages: call train() before gradients.',
      );
    }
    collect(parts, grads, encoder !== undefined);
    for (const stepper of steppers) stepper.prepare();
    const outcome = makeStep(backend, steppers, encoder);
    if (outcome !== undefined) {
      const undo = steppers.map((stepper) => stepper.undo());
      this.#watch(outcome, undo);
    }
    for (const stepper of steppers) stepper.commit();
    release(parts);
  }

  #switch(isTraining: boolean, group: number | undefined): void {
    const parts = this.#use();
    const { steppers, backend } = parts;
    const { average } = this.#algorithm;
    const isOne = Number.isInteger(group) && steppers[group as number] !== undefined;
    expect(group === undefined || isOne, 'the group', `an index below ${steppers.length}`, group);
    const chosen = group === undefined ? steppers : [steppers[group]];
    const changing = chosen.filter((stepper) => stepper.isTraining !== isTraining);
    if (average === undefined || changing.length === 0) return;
    // A step that was refused may have left gradients behind, and none takes part in this.
    release(parts);
    for (const stepper of changing) stepper.prepareSwitch(!isTraining);
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

  #use(): Parts<Options> {
    if (this.#parts === undefined) throw new Error('This optimizer has been disposed of.');
    const failure = this.#failure;
    if (failure === undefined) return this.#parts;
    this.#failure = undefined;
    throw failure;
  }
}
