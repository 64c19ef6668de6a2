// WebGPU: the kernels of wgsl/, over the caller's buffers and arenas of the optimizer's own.

import { byName, type Intake, type Section } from '../groups.js';
import { FLOAT, type Tensor } from '../layout.js';
import { checkUsage, COPY_DST, isFloat32Array, locate, overlap, STORAGE, type GpuMemory } from '../memory.js';
import type { Rule } from '../rules/rule.js';
import { list, show } from '../sentences.js';
import { norm } from '../vectors.js';
import type { ArrayOf, Backend, Extension, Run } from './backend.js';
import { heard, listen } from './webgpu/device.js';
import type { Dispatch, Dispatches } from './webgpu/dispatches.js';
import { Kernels } from './webgpu/kernel.js';
import type { Place, SectionMemory } from './webgpu/memory.js';
import { normsOf } from './webgpu/norms.js';
import { readBack, type Source } from './webgpu/read.js';
import { addAll, type Sum } from './webgpu/sums.js';
import { Uniforms } from './webgpu/uniforms.js';

/** A section, its memory, and what runs over it. */
export interface Placed {
  readonly section: Section;
  readonly memory: SectionMemory;
  readonly dispatches: ReadonlyMap<Rule, Dispatches>;
}

export class WebGPU implements Backend {
  params: Readonly<Record<string, GPUBufferBinding>> = {};
  grads: Readonly<Record<string, GPUBufferBinding>> = {};

  readonly device: GPUDevice;
  readonly #ownsDevice: boolean;
  readonly #keepGrads: boolean;
  readonly #place: (intake: Intake) => Promise<Placed[]>;
  readonly #placed: Placed[] = [];
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;
  /** What `grads` has shown so far. */
  readonly #shown = new Map<string, GPUBufferBinding>();

  // Of the step that is being made:
  #callersEncoder: GPUCommandEncoder | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** What the pass was told last: telling it again for every tensor costs a quarter of the step. */
  #pipeline: GPUComputePipeline | undefined;
  /** The dispatches of tensors whose gradient is in the caller's buffer. */
  readonly #bound = new Map<Tensor, readonly Dispatch[]>();
  /** Gradients that were uploaded and are not kept. */
  #passing: GPUBuffer[] = [];
  /** Gradients that are added to the optimizer's own. */
  #sums: Sum[] = [];
  /** Names of gradients whose buffer is new, and may turn out to be another device's. */
  #new: string[] = [];

  /** Of no section yet; `place` makes the memory of those to come. */
  constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    keepGrads: boolean,
    place: (intake: Intake) => Promise<Placed[]>,
  ) {
    this.device = device;
    this.#ownsDevice = ownsDevice;
    this.#keepGrads = keepGrads;
    this.#place = place;
    const { scalarsLayout } = Kernels.of(device);
    this.#stepScalars = new Uniforms(device, scalarsLayout, true);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, false);
  }

  async extend(intake: Intake): Promise<Extension> {
    const { sections } = intake;
    const placed = await this.#place(intake);
    const take = (): void => {
      this.#placed.push(...placed);
      const runs = this.#placed.reduce((sum, { section }) => sum + section.tensors.length, 0);
      this.#stepScalars.reserve(runs);
      this.#encodeScalars.reserve(Math.max(runs, 64));
      const params = byName(sections, (s, tensor) => binding(this.#placed[s].memory.param(tensor), tensor));
      this.params = Object.freeze({ ...this.params, ...params });
      const grads = this.#keepGrads ? byName(sections, (s, tensor) => this.#showGrad(s, tensor)) : {};
      // Not spread, which would ask for memory of all.
      const shown = Object.getOwnPropertyDescriptors(this.grads);
      this.grads = Object.freeze(Object.defineProperties({}, { ...shown, ...grads }));
    };
    return { take, drop: () => placed.forEach(({ memory }) => memory.destroy()) };
  }

  scalars(section: number): Float32Array {
    return new Float32Array(this.#placed[section].section.rule.scalars.length);
  }

  check({ name, length }: Tensor, grad: unknown, encoded: boolean): void {
    if (grad === this.#shown.get(name)) return;
    const { kind, buffer, offset, bytes } = locate(grad, 'gradient', name);
    if (kind === 'CPU' ? bytes !== length * FLOAT : bytes < length * FLOAT) {
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${bytes / FLOAT}.`);
    }
    if (kind === 'CPU' && encoded) {
      throw new TypeError(`encode() cannot upload: the gradient of ${show(name)} is a Float32Array, not a GPUBuffer.`);
    }
    const { buffer: own, offset: ownOffset = 0 } = this.params[name];
    const size = length * FLOAT;
    if (overlap({ kind, buffer, offset, bytes: size }, { kind: 'GPU', buffer: own, offset: ownOffset, bytes: size })) {
      throw new TypeError(`The gradient of ${show(name)} overlaps the parameter itself.`);
    }
    const shown = this.#shown.get(name);
    const isOwn = shown !== undefined && buffer === shown.buffer && offset === shown.offset;
    if (!isOwn && this.#placed.some(({ memory }) => memory.owns(buffer))) {
      throw new TypeError(`The gradient of ${show(name)} lies in the memory of another tensor.`);
    }
  }

  begin(encoder: GPUCommandEncoder | undefined): void {
    Kernels.of(this.device).checkAlive();
    listen(this.device);
    this.#callersEncoder = encoder;
    if (encoder === undefined) this.#stepScalars.rewind();
  }

  accept(s: number, tensor: Tensor, grad: unknown): void {
    if (grad === this.#shown.get(tensor.name)) return;
    const { section, memory, dispatches } = this.#placed[s];
    if (isFloat32Array(grad) && this.#keepGrads) return memory.upload(memory.grad(tensor), grad);
    const place = isFloat32Array(grad) ? this.#uploadAside(memory, grad) : placeOf(grad);
    const isNew = (): void => void this.#new.push(tensor.name);
    this.#bound.set(tensor, dispatches.get(section.rule)!.bound(tensor, place, isNew));
  }

  update(s: number, rule: Rule, { first, last, scalars }: Run): void {
    this.#encoder ??= this.#callersEncoder ?? this.device.createCommandEncoder({ label: 'twinstep' });
    const pass = (this.#pass ??= this.#encoder.beginComputePass({ label: 'twinstep' }));
    const { bindGroup, offset } = this.#scalars.put(scalars);
    pass.setBindGroup(0, bindGroup, [offset]);
    const { section, memory, dispatches: ofRule } = this.#placed[s];
    const { tensors } = section;
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      let dispatches = this.#bound.get(tensors[i]);
      if (dispatches === undefined) {
        while (next <= last && this.#adjoin(memory, tensors[next - 1], tensors[next])) next++;
        dispatches = ofRule.get(rule)!.stretch(i, next - 1);
      }
      for (const { pipeline, arrays, workgroups } of dispatches) {
        if (pipeline !== this.#pipeline) pass.setPipeline((this.#pipeline = pipeline));
        pass.setBindGroup(1, arrays);
        pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
      }
    }
  }

  accumulate(s: number, tensor: Tensor, grad: unknown, isFirst: boolean): void {
    const { memory } = this.#placed[s];
    const own = memory.grad(tensor);
    if (isFirst && isFloat32Array(grad)) return memory.upload(own, grad);
    const more = isFloat32Array(grad) ? this.#uploadAside(memory, grad) : placeOf(grad);
    const bytes = tensor.length * FLOAT;
    this.#encoder ??= this.device.createCommandEncoder({ label: 'twinstep accumulate' });
    if (isFirst) this.#encoder.clearBuffer(own.buffer, own.offset, bytes);
    this.#sums.push({ sum: own, grad: more, bytes });
    if (!isFloat32Array(grad)) this.#new.push(tensor.name);
  }

  end(): Promise<Error | undefined> {
    this.#pass?.end();
    this.#scalars.flush();
    if (this.#sums.length > 0) addAll(this.device, this.#encoder!, this.#sums);
    if (this.#callersEncoder === undefined && this.#encoder !== undefined) {
      this.device.queue.submit([this.#encoder.finish()]);
    }
    const suspects = this.#new.length > 0 ? ` (gradients in new buffers: ${list(this.#new)})` : '';
    this.#clear();
    const refused = 'The GPU device refused a step, and nothing of it was done';
    return heard(this.device).then((trouble) =>
      trouble === undefined ? undefined : new Error(`${refused}${suspects}: ${trouble}`),
    );
  }

  cancel(): void {
    this.#pass?.end();
    this.#clear();
    void heard(this.device);
  }

  async read(arrays: readonly ArrayOf[]): Promise<Float32Array[]> {
    Kernels.of(this.device).checkAlive();
    return readBack(
      this.device,
      arrays.map((array) => this.#sourceOf(array)),
    );
  }

  async norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]> {
    Kernels.of(this.device).checkAlive();
    return normsOf(
      this.device,
      sources.map((source) => (isFloat32Array(source.grad) ? norm(source.grad) : this.#sourceOf(source))),
    );
  }

  zeroGrad(): void {
    const encoder = this.device.createCommandEncoder({ label: 'twinstep zero grad' });
    for (const { memory } of this.#placed) {
      for (const buffer of memory.gradBuffers()) encoder.clearBuffer(buffer);
    }
    this.device.queue.submit([encoder.finish()]);
  }

  checkWrite(array: ArrayOf): void {
    checkUsage(this.#placeOf(array).buffer, 'COPY_DST', `Writing ${show(array.tensor.name)}`);
  }

  write(array: ArrayOf, values: Float32Array): void {
    Kernels.of(this.device).checkAlive();
    this.#placed[array.section].memory.upload(this.#placeOf(array), values);
  }

  writeParam(arrays: readonly ArrayOf[]): void {
    if (arrays.length === 0) return;
    const encoder = this.device.createCommandEncoder({ label: 'twinstep' });
    for (const to of arrays) {
      const [from, at] = [this.#placeOf({ ...to, array: 'param' }), this.#placeOf(to)];
      encoder.copyBufferToBuffer(from.buffer, from.offset, at.buffer, at.offset, to.tensor.length * FLOAT);
    }
    this.device.queue.submit([encoder.finish()]);
  }

  dispose(): void {
    for (const { memory } of this.#placed) memory.destroy();
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
    if (this.#ownsDevice) this.device.destroy();
  }

  get #scalars(): Uniforms {
    return this.#callersEncoder === undefined ? this.#stepScalars : this.#encodeScalars;
  }

  /** Uploads a gradient that is not kept: into a buffer of its own, until after the step. */
  #uploadAside(memory: SectionMemory, grad: Float32Array): Place {
    const size = grad.byteLength;
    const buffer = this.device.createBuffer({ label: 'twinstep passing grad', size, usage: STORAGE | COPY_DST });
    this.#passing.push(buffer);
    const place = { buffer, offset: 0 };
    memory.upload(place, grad);
    return place;
  }

  #clear(): void {
    for (const buffer of this.#passing) buffer.destroy();
    this.#passing = [];
    this.#sums = [];
    this.#callersEncoder = this.#encoder = this.#pass = this.#pipeline = undefined;
    this.#bound.clear();
    this.#new = [];
  }

  /** One of the arrays of a tensor, or a gradient in the caller's buffer. */
  #sourceOf({ grad, ...array }: ArrayOf & { readonly grad?: unknown }): Source {
    const { name, length } = array.tensor;
    const place = grad === undefined ? this.#placeOf(array) : placeOf(grad);
    return { name, bytes: length * FLOAT, ...place };
  }

  #placeOf({ section, tensor, array }: ArrayOf): Place {
    return this.#placed[section].memory.array(tensor, array);
  }

  /** Whether one dispatch can run from `a` on into `b`: both in the same arena, with all of their arrays. */
  #adjoin(memory: SectionMemory, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !memory.isCallers(b) && !this.#bound.has(b);
  }

  /** A property of `grads`, whose memory is made when it is first looked at. */
  #showGrad(section: number, tensor: Tensor): PropertyDescriptor {
    let shown: GPUBufferBinding | undefined;
    const get = (): GPUBufferBinding => {
      if (shown === undefined) {
        shown = binding(this.#placed[section].memory.grad(tensor), tensor);
        this.#shown.set(tensor.name, shown);
      }
      return shown;
    };
    return { enumerable: true, get };
  }
}

/** Where a gradient lies that passed `check`: asking the buffer itself again would be dear. */
const placeOf = (grad: unknown): Place => {
  const memory = grad as GpuMemory;
  const isWhole = 'getMappedRange' in memory;
  return isWhole ? { buffer: memory, offset: 0 } : { buffer: memory.buffer, offset: memory.offset ?? 0 };
};

const binding = ({ buffer, offset }: Place, { length }: Tensor): GPUBufferBinding =>
  Object.freeze({ buffer, offset, size: length * FLOAT });
