// Step, read, dispose: what every optimizer does, knowing no rule and no machine.

import type { Algorithm, CommonOptions, Progress } from './algorithms/algorithm.js';
import type { Backend, Run } from './backends/backend.js';
import type { Choice } from './backends/index.js';
import type { Group } from './groups.js';
import type { Tensor } from './layout.js';
import type { GpuMemory } from './memory.js';
import { live } from './options.js';
import { expect, list, show } from './sentences.js';

/** A gradient: values to copy or upload, or a GPU buffer to bind. Null and undefined are no gradient at all. */
export type Gradient = Float32Array | GpuMemory | null | undefined;

/** The live options of a group, and what can be read of it. */
export type LiveGroup<Options> = Options & {
  /** The names of its tensors. */
  readonly params: readonly string[];
  /** lr times the schedule's multiplier at the latest step; before the first one, what that will be. */
  readonly scheduledLr: number;
};

/** Options that belong to the optimizer as a whole. */
export interface MachineOptions {
  /** Where to run. 'auto', the default: GPU buffers on their device, Float32Arrays on the best CPU backend. */
  backend?: 'auto' | 'webgpu' | 'wasm' | 'reference';
  /** The device that GPU buffers belong to. Without one, `backend: 'webgpu'` asks `navigator.gpu`. */
  device?: GPUDevice;
}

/** A tensor in its group, and the gradient that it takes this step with, if any. */
interface Member {
  readonly group: number;
  readonly tensor: Tensor;
  grad: unknown;
}

/** A group with what its steps need, allocated once. */
interface Stepper<Options> extends Group<Options> {
  readonly members: readonly Member[];
  readonly by: Record<string, number>;
  readonly progress: { -readonly [key in keyof Progress]: Progress[key] };
  readonly runs: readonly Run[];
  /** How many of `runs` this step has. */
  count: number;
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
  readonly #machine: Backend;
  readonly #steppers: Stepper<Options>[];
  readonly #members: ReadonlyMap<string, Member>;
  /** Steps whose success the machine has not confirmed yet. */
  #pending: Promise<void> | undefined;
  #failure: Error | undefined;
  #disposed = false;

  /** Use `adam`, `adamw`, ... */
  constructor(algorithm: Algorithm<Options>, groups: readonly Group<Options>[], machine: Backend, choice: Choice) {
    this.#algorithm = algorithm;
    this.#machine = machine;
    this.#steppers = groups.map((group, g) => ({
      ...group,
      members: group.tensors.map((tensor) => ({ group: g, tensor, grad: undefined })),
      by: Object.fromEntries(group.rule.scalars.map((name) => [name, 0])),
      progress: { step: 0, eta: 1, decays: true },
      runs: group.tensors.map((_, k) => ({ first: 0, last: 0, scalars: machine.scalars(g, k) })),
      count: 0,
    }));
    this.#members = new Map(
      this.#steppers.flatMap(({ members }) => members).map((member) => [member.tensor.name, member]),
    );
    this.groups = Object.freeze(groups.map((group) => this.#live(group)));
    this.backend = Object.freeze(choice);
  }

  #live({ options, names, tensors, where }: Group<Options>): LiveGroup<Options> {
    const readOnly = {
      params: Object.freeze([...names]),
      get scheduledLr() {
        const completed = Math.max(...tensors.map(({ step }) => step), 1) - 1;
        return options.lr * multiplier(options, completed, where);
      },
    };
    return live(this.#algorithm, options, readOnly, where) as LiveGroup<Options>;
  }

  /** The parameters where they are stepped, by name. On the CPU these are copies of the arrays handed over. */
  get params(): Readonly<Record<string, Memory>> {
    this.#check();
    return this.#machine.params as Readonly<Record<string, Memory>>;
  }

  /** The optimizer's own memory for gradients, by name: written there, they need no copy. On the GPU made at first use. */
  get grads(): Readonly<Record<string, Memory>> {
    this.#check();
    return this.#machine.grads as Readonly<Record<string, Memory>>;
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
    expect(typeof encoder?.beginComputePass === 'function', 'encode() to be given', 'a GPUCommandEncoder', encoder);
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
    await this.#pending;
    this.#check();
    return this.#machine.read(group, tensor, 'param');
  }

  /** Frees the optimizer's memory; buffers and a device of the caller's are left alone. Any later use throws. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#machine.dispose();
  }

  #advance(grads: Readonly<Record<string, unknown>>, encoder: GPUCommandEncoder | undefined): void {
    // All that can be refused comes first, so that a refusal finds everything as it was.
    this.#check();
    this.#collect(grads, encoder !== undefined);
    for (const stepper of this.#steppers) this.#prepare(stepper);
    const machine = this.#machine;
    machine.begin(encoder);

    for (let g = 0; g < this.#steppers.length; g++) {
      const { members, runs, count } = this.#steppers[g];
      for (const { tensor, grad } of members) {
        if (grad !== undefined) machine.accept(g, tensor, grad);
      }
      for (let k = 0; k < count; k++) machine.update(g, runs[k]);
      for (const member of members) {
        if (member.grad !== undefined) member.tensor.step += 1;
      }
    }
    const unsure = machine.end();
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
      this.#machine.check(member.tensor, grad, encoded);
      member.grad = grad;
    }
  }

  /** Finds the runs of this step and writes the scalars of each. */
  #prepare(stepper: Stepper<Options>): void {
    const { members, runs, by, progress, rule, options, where } = stepper;
    stepper.count = 0;
    for (let i = 0; i < members.length; i++) {
      const { tensor, grad } = members[i];
      if (grad === undefined) continue;
      if (i > 0 && members[i - 1].grad !== undefined && shareScalars(members[i - 1].tensor, tensor)) {
        runs[stepper.count - 1].last = i;
        continue;
      }
      const run = runs[stepper.count++];
      run.first = run.last = i;
      progress.step = tensor.step + 1;
      progress.eta = multiplier(options, tensor.step, where);
      progress.decays = tensor.decays;
      this.#algorithm.prepare(by, options, progress);
      for (let k = 0; k < rule.scalars.length; k++) run.scalars[k] = by[rule.scalars[k]];
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

  #check(): void {
    if (this.#disposed) throw new Error('This optimizer has been disposed of.');
    const failure = this.#failure;
    if (failure === undefined) return;
    this.#failure = undefined;
    throw failure;
  }
}

const shareScalars = (a: Tensor, b: Tensor): boolean => a.step === b.step && a.decays === b.decays;

/** The schedule's multiplier, checked: it is the caller's code. */
function multiplier({ schedule }: Readonly<CommonOptions>, completed: number, where: string): number {
  if (schedule === undefined) return 1;
  const eta: unknown = schedule(completed);
  expect(
    typeof eta === 'number' && eta >= 0 && eta < Infinity,
    `schedule(${completed})${where}`,
    'a finite number of at least 0',
    eta,
  );
  return eta;
}
