// Step, read, dispose: what every optimizer does, knowing no rule and no machine.

import type { Algorithm, CommonOptions } from './algorithms/algorithm.js';
import type { Backend } from './backends/backend.js';
import type { Choice } from './backends/index.js';
import type { Group } from './groups.js';
import type { GpuMemory } from './memory.js';
import { expect, list, show } from './sentences.js';
import { describe, parse, type StateDict } from './state.js';
import { Stepper, type LiveGroup, type Member } from './stepper.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined are no gradient at all. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** Options that belong to the optimizer as a whole. */
export interface MachineOptions {
  /** Where to run. 'auto', the default: GPU buffers on their device, Float32Arrays on the best CPU backend. */
  backend?: 'auto' | 'webgpu' | 'wasm' | 'reference';
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
  readonly #groups: readonly Group<Options>[];
  readonly #backend: Backend;
  readonly #steppers: readonly Stepper<Options>[];
  readonly #members: ReadonlyMap<string, Member>;
  /** Steps whose success the backend has not confirmed yet. */
  #pending: Promise<void> | undefined;
  #failure: Error | undefined;
  #disposed = false;

  /** Use `adam`, `adamw`, ... */
  constructor(algorithm: Algorithm<Options>, groups: readonly Group<Options>[], backend: Backend, choice: Choice) {
    this.#algorithm = algorithm;
    this.#groups = groups;
    this.#backend = backend;
    this.#steppers = groups.map((group, g) => new Stepper(algorithm, group, g, backend));
    const members = this.#steppers.flatMap((stepper) => stepper.members);
    this.#members = new Map(members.map((member) => [member.tensor.name, member]));
    this.groups = Object.freeze(this.#steppers.map((stepper) => stepper.live()));
    this.backend = Object.freeze(choice);
  }

  /** The parameters where they are stepped, by name. On the CPU these are copies of the arrays handed over. */
  get params(): Readonly<Record<string, Memory>> {
    this.#check();
    return this.#backend.params as Readonly<Record<string, Memory>>;
  }

  /** The optimizer's own memory for gradients, by name: written there, they need no copy. On the GPU made at first use. */
  get grads(): Readonly<Record<string, Memory>> {
    this.#check();
    return this.#backend.grads as Readonly<Record<string, Memory>>;
  }

  /**
   * One step of every tensor that has a gradient in `grads`; the others, and their step counters, stay as they are.
   * Without `grads` it takes what stands in `optimizer.grads`, for every tensor.
   *
   * Throws a sentence for a name that does not exist, a wrong type or length, and then nothing has changed. A GPU
   * buffer of another device is only found out later: the step is not done, and the next call says so.
   */
  step(grads: Readonly<Record<string, Gradient>> = this.grads as Record<string, Gradient>): void {
    this.#advance(grads, undefined);
  }

  /**
   * Records one step into the caller's encoder and submits nothing; gradients are GPU buffers. The step counts as
   * done. Several may be recorded before the first is submitted.
   */
  encode(
    encoder: GPUCommandEncoder,
    grads: Readonly<Record<string, GpuMemory | null | undefined>> = this.grads as Record<string, GpuMemory>,
  ): void {
    expect(typeof encoder?.beginComputePass === 'function', 'the encoder', 'a GPUCommandEncoder', encoder);
    this.#advance(grads, encoder);
  }

  /** How many steps a tensor has completed. */
  stepOf(name: string): number {
    this.#check();
    return this.#member(name).tensor.step;
  }

  /** A copy of a parameter, flattened. On the GPU its buffer needs COPY_SRC usage. */
  async read(name: string): Promise<Float32Array> {
    this.#check();
    const { group, tensor } = this.#member(name);
    await this.#settle();
    return this.#backend.read(group, tensor, 'param');
  }

  /**
   * All that the optimizer remembers, in PyTorch's shape and words; the parameters themselves, functions and the decay
   * mask are not part of it. The arrays are copies.
   */
  async stateDict(): Promise<StateDict> {
    await this.#settle();
    const param_groups = describe(this.#algorithm, this.#groups);
    // All copies are asked for before the first is waited for: they are of one moment.
    const entries = this.#groups.flatMap(({ names, rule }, g) =>
      names.map(async (name, i) => {
        const { tensor } = this.#member(name);
        if (tensor.step === 0) return [];
        const { step } = tensor;
        const slots = rule.slots.map(async (slot) => [slot, await this.#backend.read(g, tensor, slot)] as const);
        return [[param_groups[g].params[i], { step, ...Object.fromEntries(await Promise.all(slots)) }]];
      }),
    );
    return { state: Object.fromEntries((await Promise.all(entries)).flat()), param_groups };
  }

  /**
   * Takes over a state dict of the same algorithm over the same names, of any backend, with its options. Throws a
   * sentence for one that does not fit, and then nothing has changed.
   */
  async loadStateDict(dict: StateDict): Promise<void> {
    await this.#settle();
    const loaded = parse(this.#algorithm, this.#groups, dict);
    loaded.forEach(({ options, tensors }, g) => {
      const { rule, options: own } = this.#groups[g];
      Object.assign(own, options);
      for (const { tensor, state } of tensors) {
        tensor.step = state?.step ?? 0;
        for (const slot of rule.slots) {
          const values = state === undefined ? new Float32Array(tensor.length) : (state[slot] as Float32Array);
          this.#backend.write(g, tensor, slot, values);
        }
      }
    });
  }

  /** Frees the optimizer's memory; buffers and a device of the caller's are left alone. Any later use throws. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#backend.dispose();
  }

  #advance(grads: Readonly<Record<string, unknown>>, encoder: GPUCommandEncoder | undefined): void {
    // All that can be refused comes first, so that a refusal finds everything as it was.
    this.#check();
    this.#collect(grads, encoder !== undefined);
    for (const stepper of this.#steppers) stepper.prepare();
    const backend = this.#backend;
    backend.begin(encoder);

    for (let g = 0; g < this.#steppers.length; g++) {
      const { members, runs, count } = this.#steppers[g];
      for (const { tensor, grad } of members) {
        if (grad !== undefined) backend.accept(g, tensor, grad);
      }
      for (let k = 0; k < count; k++) backend.update(g, runs[k]);
      for (const member of members) {
        if (member.grad !== undefined) member.tensor.step += 1;
      }
    }
    const unsure = backend.end();
    if (unsure !== undefined) this.#watch(unsure);
    this.#release();
  }

  /** Gives every tensor the gradient that it takes this step with. */
  #collect(grads: Readonly<Record<string, unknown>>, encoded: boolean): void {
    expect(typeof grads === 'object' && grads !== null, 'gradients', 'a record by name', grads);
    this.#release();
    for (const name in grads) {
      const grad = grads[name];
      if (grad === null || grad === undefined) continue;
      const member = this.#member(name);
      this.#backend.check(member.tensor, grad, encoded);
      member.grad = grad;
    }
  }

  /** Forgets the gradients, so that none of the caller's arrays is kept alive. */
  #release(): void {
    for (const { members } of this.#steppers) {
      for (const member of members) member.grad = undefined;
    }
  }

  /** Takes back the counts of a step that turns out not to have been done, and has the next call say why. */
  #watch(unsure: Promise<Error | undefined>): void {
    const stepped = [...this.#members.values()].filter(({ grad }) => grad !== undefined);
    const settled = unsure.then((error) => {
      if (error === undefined) return;
      for (const { tensor } of stepped) tensor.step -= 1;
      this.#failure ??= error;
    });
    this.#pending = Promise.all([this.#pending, settled]).then(() => undefined);
  }

  #member(name: string): Member {
    const member = this.#members.get(name);
    if (member !== undefined) return member;
    throw new RangeError(`There is no parameter ${show(name)}; there are ${list([...this.#members.keys()])}.`);
  }

  /** Waits until it is certain which steps were done. */
  async #settle(): Promise<void> {
    this.#check();
    await this.#pending;
    this.#check();
  }

  #check(): void {
    if (this.#disposed) throw new Error('This optimizer has been disposed of.');
    const failure = this.#failure;
    if (failure === undefined) return;
    this.#failure = undefined;
    throw failure;
  }
}
