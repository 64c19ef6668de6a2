// The WebGPU backend: runs the kernels of wgsl/ on the caller's buffers and the optimizer's arenas.

import { byName, type NewTensors } from '../section.js';
import { FLOAT, type Tensor } from '../layout.js';
import type { GradientOptions } from '../gradient-options.js';
import { isFloat32Array, type ByteRange } from '../memory.js';
import { checkUsage } from './buffers.js';
import { OWN, type Plan, type TensorEntry } from '../plan.js';
import { show } from '../../errors.js';
import { norm } from '../sums.js';
import {
  DISPOSED,
  namesOf,
  type ArrayOf,
  type Average,
  type Backend,
  type Extension,
  type Outcomes,
  type Removed,
  type Write,
} from '../backend.js';
import type { Rule } from '../../rules/rule.js';
import type { Floats } from '../../platform.js';
import { GrowingRecord } from '../growing.js';
import { DeferredSteps } from './deferred.js';
import { placesOf } from './destinations.js';
import { Failure } from './failure.js';
import { GradientChecks } from './gradient-checks.js';
import { Kernels } from './kernels.js';
import { placeOf, type Place } from './section-memory.js';
import { normsOf } from './norms.js';
import { ParamRanges } from './param-ranges.js';
import { readBack, type Source } from './readback.js';
import { Recording, type GpuSection } from './recording.js';
import { Reduction } from './reduction.js';
import { checkWritable } from './probe.js';

export class WebGPU implements Backend {
  readonly device: GPUDevice;
  readonly #kernels: Kernels;
  readonly #keepGrads: boolean;
  readonly #place: (added: NewTensors, own: WeakSet<object>) => Promise<GpuSection[]>;
  /** By section index. Removed sections leave holes, which `forEach` skips. */
  readonly #placed: GpuSection[] = [];
  readonly #params = new GrowingRecord<GPUBufferBinding>(Object.fromEntries);
  readonly #grads = new GrowingRecord<PropertyDescriptor, GPUBufferBinding>((properties) =>
    Object.defineProperties({}, Object.fromEntries(properties)),
  );
  /** The optimizer's own buffers, including destroyed ones. */
  readonly #own = new WeakSet<object>();
  readonly #tensors = new Set<Tensor>();
  readonly #deferred: DeferredSteps;
  readonly #recording: Recording;
  readonly #reduction: Reduction;
  readonly #failure: Failure;
  #isDisposed = false;
  readonly #paramRanges = new ParamRanges();
  /** The bindings that `grads` has returned. */
  readonly #shown = new Map<Tensor, GPUBufferBinding>();
  readonly #gradientChecks = new GradientChecks(this.#paramRanges, this.#own, this.#shown);

  /** Starts without sections. `place` allocates the memory of new ones. */
  constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    keepGrads: boolean,
    place: (added: NewTensors, own: WeakSet<object>) => Promise<GpuSection[]>,
  ) {
    this.device = device;
    this.#kernels = Kernels.of(device);
    this.#kernels.enter(ownsDevice);
    this.#keepGrads = keepGrads;
    this.#place = place;
    this.#reduction = new Reduction(device);
    this.#deferred = new DeferredSteps(device, this.#reduction);
    this.#recording = new Recording(device, keepGrads, this.#reduction, this.#deferred);
    this.#failure = new Failure(this.#kernels);
  }

  get params(): Readonly<Record<string, GPUBufferBinding>> {
    return this.#params.record;
  }

  get grads(): Readonly<Record<string, GPUBufferBinding>> {
    return this.#grads.record;
  }

  paramAt({ buffer, offset, bytes }: ByteRange): string | undefined {
    return this.#paramRanges.at(buffer, offset, bytes);
  }

  owns(buffer: object): boolean {
    return this.#own.has(buffer);
  }

  async extend(added: NewTensors): Promise<Extension> {
    const { sections } = added;
    const placing = this.#place(added, this.#own);
    try {
      await this.#settle(placing);
      // New tensors may need a larger buffer of what the GPU decides. Recorded steps write into the one before.
      if (this.#deferred.isRecorded) (await this.outcomes()).checkSubmitted();
    } catch (error) {
      // The optimizer may have been disposed of meanwhile.
      for (const { memory } of await placing.catch(() => [])) memory.destroy();
      throw error;
    }
    const placed = await placing;
    const take = (): void => {
      for (const each of placed) {
        this.#placed.push(each);
        this.#reduction.add(each.section, each.memory);
        this.#deferred.add(each.section.tensors);
        for (const tensor of each.section.tensors) this.#tensors.add(tensor);
      }
      this.#recording.reserve(this.#tensors.size);
      const params = byName(sections, (s, tensor) => binding(this.#placed[s].memory.param(tensor), tensor));
      this.#paramRanges.add(params);
      this.#params.add(params);
      if (this.#keepGrads) this.#grads.add(byName(sections, (s, tensor) => this.#showGrad(s, tensor)));
    };
    return { take, drop: () => placed.forEach(({ memory }) => memory.destroy()) };
  }

  remove(removed: readonly Removed[]): void {
    const names = namesOf(removed);
    for (const { tensors } of removed) {
      for (const tensor of tensors) {
        this.#tensors.delete(tensor);
        this.#shown.delete(tensor);
      }
    }
    this.#paramRanges.remove(names);
    this.#params.remove(names);
    this.#grads.remove(names);
    this.#reduction.remove(removed.flatMap(({ tensors }) => tensors));
    for (const { section, isWhole } of removed) {
      if (!isWhole) continue;
      this.#placed[section].memory.destroy();
      delete this.#placed[section];
    }
  }

  scalars(section: number): Float32Array {
    return new Float32Array(this.#placed[section].section.rule.scalars.length);
  }

  check(tensor: Tensor, grad: unknown, encoded: boolean): void {
    this.#gradientChecks.check(tensor, grad, encoded);
  }

  isOwn(tensor: Tensor, grad: unknown): boolean {
    return this.#gradientChecks.isOwn(tensor, grad);
  }

  checkTogether(entries: ReadonlyMap<string, TensorEntry>): void {
    this.#gradientChecks.checkTogether(entries);
  }

  run(plans: readonly Plan[], encoder: GPUCommandEncoder | undefined, options?: GradientOptions): void {
    this.checkAlive();
    this.#failure.watch(this.#recording.run(plans, this.#placed, this.#shown, encoder, options));
  }

  checkScale(value: object, ofScaler: GPUBuffer | undefined): void {
    this.#gradientChecks.checkScale(value, ofScaler);
  }

  readonly clips = ({ tensor, grad }: TensorEntry): boolean =>
    grad === OWN || (isFloat32Array(grad) ? this.#keepGrads : this.isOwn(tensor, grad));

  outcomes(): Promise<Outcomes> {
    return this.#whenDone(this.#deferred.outcomes(this.#recording.submissions.check()));
  }

  countRecorded(): void {
    this.#recording.submissions.count();
  }

  encodeAverages(rule: Rule, averages: readonly Average[], encoder: GPUCommandEncoder): void {
    this.checkAlive();
    const places = placesOf(averages, this.#paramRanges, this.#own);
    this.#failure.watch(this.#recording.encodeAverages(rule, averages, places, this.#placed, encoder));
  }

  accumulate(entries: readonly TensorEntry[]): void {
    this.#attempt('a batch of gradients', () => {
      for (const { section, tensor, grad, hasSum } of entries) {
        this.#recording.accumulate(this.#placed[section], tensor, grad, !hasSum);
      }
    });
  }

  memory(array: ArrayOf): GPUBufferBinding {
    return binding(this.#placeOf(array), array.tensor);
  }

  async read(arrays: readonly ArrayOf[], ofState = false): Promise<Floats[]> {
    this.checkAlive();
    const sources = arrays.map((array) => this.#sourceOf(array));
    const check = ofState ? this.#recording.submissions.check() : undefined;
    if (check === undefined) return this.#whenDone(readBack(this.device, sources));
    const values = await this.#whenDone(readBack(this.device, [...sources, check.source]));
    check.run(values.pop()!);
    return values;
  }

  async norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]> {
    this.checkAlive();
    const given = sources.map((source) => {
      return isFloat32Array(source.grad) ? norm(source.grad) : { ...source, ...this.#sourceOf(source) };
    });
    return this.#whenDone(normsOf(this.device, this.#reduction, given));
  }

  zeroGrad(): void {
    this.#attempt('zeroGrad()', () => {
      this.#placed.forEach(({ memory }) => this.#recording.clear(memory.gradBuffers()));
    });
  }

  checkWrite(array: ArrayOf): void {
    checkUsage(this.#placeOf(array).buffer, 'COPY_DST', `Writing ${show(array.tensor.name)}`);
  }

  async checkWritable(arrays: readonly ArrayOf[]): Promise<void> {
    const named = new Map(arrays.map((array) => [this.#placeOf(array).buffer, array.tensor.name]));
    await this.#settle(checkWritable(this.device, named));
  }

  write(writes: readonly Write[], copies: readonly ArrayOf[], isBegun: boolean, loaded: readonly Tensor[]): void {
    this.checkAlive();
    const work = (): void => {
      for (const [array, values] of writes) {
        const { memory } = this.#placed[array.section];
        memory.upload(this.#placeOf(array), values ?? new Float32Array(array.tensor.length));
        isBegun = true;
      }
      for (const array of copies) {
        this.#recording.copy(this.params[array.tensor.name], this.memory(array));
      }
      this.#deferred.forget(loaded);
      if (loaded.length === this.#tensors.size) this.#recording.submissions.forget();
    };
    const mixed = 'the state is now a mixture of old and new';
    let outcome: Promise<Error | undefined>;
    try {
      outcome = this.#recording.attempt(`part of a state dict, and ${mixed}`, undefined, work);
    } catch (error) {
      const message = `Part of a state dict was written, and ${mixed}: ${error}`;
      if (isBegun) this.#failure.set(new Error(message, { cause: error }));
      throw error;
    }
    this.#failure.clear();
    this.#failure.watch(outcome);
  }

  copyOver(params: Readonly<Record<string, GPUBufferBinding>>, encoder: GPUCommandEncoder | undefined): void {
    const work = (): void => {
      for (const [name, from] of Object.entries(params)) this.#recording.copy(from, this.params[name]);
    };
    this.#attempt('a copy of parameters', work, encoder);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#placed.forEach(({ memory }) => memory.destroy());
    this.#recording.destroy();
    this.#deferred.destroy();
    this.#reduction.destroy();
    this.#kernels.leave();
  }

  get lost(): string | undefined {
    if (this.#isDisposed) return DISPOSED;
    const { lost } = this.#kernels;
    if (lost === undefined || this.#placed.length === 0) return lost && `${lost}.`;
    return `${lost}, and the optimizer's state with it. Make a new optimizer from the latest checkpoint.`;
  }

  get failed(): Error | undefined {
    return this.#failure.error;
  }

  settled(): Promise<void> {
    return this.#failure.settled();
  }

  #attempt(what: string, work: () => void, encoder?: GPUCommandEncoder): void {
    this.checkAlive();
    this.#failure.watch(this.#recording.attempt(what, encoder, work));
  }

  checkAlive(): void {
    if (this.lost !== undefined) throw new Error(this.lost);
  }

  /** Awaits a result of the device. Throws if the device was lost meanwhile. */
  async #settle<Result>(result: Promise<Result>): Promise<Result> {
    const { lost, queue } = this.device;
    try {
      return await result;
    } catch (error) {
      // A lost device may reject the call before its promise `lost` resolves.
      await Promise.race([lost, queue.onSubmittedWorkDone()]).catch(() => {});
      throw error;
    } finally {
      this.checkAlive();
    }
  }

  /** Awaits a result and all earlier work. Rejects if one of them fails. */
  async #whenDone<Result>(result: Promise<Result>): Promise<Result> {
    const [values] = await Promise.all([this.#settle(result), this.settled()]);
    return values;
  }

  /** Returns the source of a tensor's array, or of a gradient in the caller's buffer. */
  #sourceOf({ grad, ...array }: ArrayOf & { readonly grad?: unknown }): Source {
    const { name, length } = array.tensor;
    const place = grad === undefined ? this.#placeOf(array) : placeOf(grad);
    return { name, bytes: length * FLOAT, ...place };
  }

  #placeOf({ section, tensor, array }: ArrayOf): Place {
    return this.#placed[section].memory.array(tensor, array);
  }

  /**
   * Returns the descriptor of a property of `grads`. Its memory is allocated when it is first read. A record that the
   * caller has kept still shows that memory after the tensor was removed.
   */
  #showGrad(section: number, tensor: Tensor): PropertyDescriptor {
    let shown: GPUBufferBinding | undefined;
    const get = (): GPUBufferBinding => {
      if (shown === undefined) {
        if (this.#isDisposed) throw new Error(DISPOSED);
        if (!this.#tensors.has(tensor)) {
          throw new Error(`The parameter ${show(tensor.name)} was removed, and \`grads\` has no memory for it.`);
        }
        shown = binding(this.#placed[section].memory.grad(tensor), tensor);
        this.#shown.set(tensor, shown);
      }
      return shown;
    };
    return { enumerable: true, get };
  }
}

const binding = ({ buffer, offset }: Place, { length }: Tensor): GPUBufferBinding =>
  Object.freeze({ buffer, offset, size: length * FLOAT });
