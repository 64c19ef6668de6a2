// WebGPU: the kernels of wgsl/, over the caller's buffers and arenas of the optimizer's own.

import { byName, type Group } from '../groups.js';
import { FLOAT, type Tensor } from '../layout.js';
import { isFloat32Array, isGpuMemory, locate, overlap, type Stretch } from '../memory.js';
import { show } from '../sentences.js';
import type { Backend, Run } from './backend.js';
import { complaint, COPY_DST, COPY_SRC, deviceLost, MAP_READ, READ, unusable } from './webgpu/device.js';
import type { Dispatch, Dispatches } from './webgpu/dispatches.js';
import { Kernels } from './webgpu/kernel.js';
import type { GroupMemory, Place } from './webgpu/memory.js';
import { Uniforms } from './webgpu/uniforms.js';

export class WebGPU implements Backend {
  readonly params: Readonly<Record<string, GPUBufferBinding>>;
  readonly grads: Readonly<Record<string, GPUBufferBinding>>;

  readonly #device: GPUDevice;
  readonly #ownsDevice: boolean;
  readonly #groups: readonly Group[];
  readonly #memories: readonly GroupMemory[];
  readonly #dispatches: readonly Dispatches[];
  /** What `grads` has shown so far. */
  readonly #shown = new Map<string, GPUBufferBinding>();
  /** Where this step's gradient is, of tensors whose gradient is in the caller's buffer. */
  readonly #callersGrad = new Map<Tensor, Place>();
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;
  #encoder: GPUCommandEncoder | undefined;
  #encoded = false;
  #pass: GPUComputePassEncoder | undefined;
  #unsure: Promise<Error | undefined>[] = [];
  #lost: string | undefined;

  constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    groups: readonly Group[],
    memories: readonly GroupMemory[],
    dispatches: readonly Dispatches[],
  ) {
    this.#device = device;
    this.#ownsDevice = ownsDevice;
    this.#groups = groups;
    this.#memories = memories;
    this.#dispatches = dispatches;
    const { scalarsLayout } = Kernels.of(device);
    const runs = groups.reduce((sum, { tensors }) => sum + tensors.length, 0);
    this.#stepScalars = new Uniforms(device, scalarsLayout, runs);
    this.#encodeScalars = new Uniforms(device, scalarsLayout, Math.max(runs, 64));
    this.params = Object.freeze(byName(groups, (g, tensor) => binding(memories[g].param(tensor), tensor)));
    this.grads = Object.freeze(
      Object.defineProperties(
        {},
        byName(groups, (g, tensor) => this.#showGrad(g, tensor)),
      ),
    );
    void device.lost.then((info) => (this.#lost = deviceLost(info)));
  }

  scalars(group: number): Float32Array {
    return new Float32Array(this.#groups[group].rule.scalars.length);
  }

  check(tensor: Tensor, grad: unknown, encoded: boolean): void {
    const { name, length, memory } = tensor;
    if (grad === this.#shown.get(name)) return;
    const { kind, bytes, ...place } = locate(grad, 'gradient', name);
    if (kind === 'cpu' ? bytes !== length * FLOAT : bytes < length * FLOAT) {
      throw new RangeError(`Expected ${length} gradient values for ${show(name)}, got ${bytes / FLOAT}.`);
    }
    if (kind === 'cpu' && encoded) {
      throw new TypeError(`encode() cannot upload: the gradient of ${show(name)} is a Float32Array, not a GPUBuffer.`);
    }
    const grads: Stretch = { kind, bytes: length * FLOAT, ...place };
    if (isGpuMemory(memory) && overlap(grads, locate(memory, 'parameter', name))) {
      throw new TypeError(`The gradient of ${show(name)} overlaps the parameter itself.`);
    }
  }

  begin(encoder: GPUCommandEncoder | undefined): void {
    if (this.#lost !== undefined) throw new Error(this.#lost);
    this.#encoded = encoder !== undefined;
    if (!this.#encoded) this.#stepScalars.rewind();
    this.#encoder = encoder ?? this.#device.createCommandEncoder({ label: 'twinstep' });
    this.#pass = this.#encoder.beginComputePass({ label: 'twinstep' });
  }

  accept(group: number, tensor: Tensor, grad: unknown): void {
    this.#callersGrad.delete(tensor);
    if (grad === this.#shown.get(tensor.name)) return;
    if (isFloat32Array(grad)) {
      this.#memories[group].upload(this.#memories[group].grad(tensor), grad);
    } else {
      const { buffer, offset } = locate(grad, 'gradient', tensor.name);
      this.#callersGrad.set(tensor, { buffer: buffer as GPUBuffer, offset });
    }
  }

  update(group: number, { first, last, scalars }: Run): void {
    const { bindGroup, offset } = (this.#encoded ? this.#encodeScalars : this.#stepScalars).put(scalars);
    this.#pass!.setBindGroup(0, bindGroup, [offset]);
    const { tensors } = this.#groups[group];
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      const grad = this.#callersGrad.get(tensors[i]);
      if (grad !== undefined) {
        this.#dispatch(this.#bind(group, i, grad));
        continue;
      }
      while (next <= last && this.#adjoin(group, tensors[next - 1], tensors[next])) next++;
      this.#dispatch(this.#dispatches[group].stretch(i, next - 1));
    }
  }

  end(): Promise<Error | undefined> | undefined {
    this.#pass!.end();
    (this.#encoded ? this.#encodeScalars : this.#stepScalars).flush();
    const encoder = this.#encoder!;
    const finish = (): void => {
      if (!this.#encoded) this.#device.queue.submit([encoder.finish()]);
    };
    this.#encoder = this.#pass = undefined;
    if (this.#unsure.length === 0) {
      finish();
      return undefined;
    }
    // What was bound wrongly makes the whole submit fail: nothing of the step is done, and all is reported here.
    const checks = [...this.#unsure, complaint(this.#device, finish).then(toError)];
    this.#unsure = [];
    return Promise.all(checks).then((errors) => errors.find((error) => error !== undefined));
  }

  async read(group: number, tensor: Tensor, array: string): Promise<Float32Array> {
    if (this.#lost !== undefined) throw new Error(this.#lost);
    const bytes = tensor.length * FLOAT;
    if (bytes === 0) return new Float32Array(0);
    const { buffer, offset } = this.#memories[group].array(tensor, array);
    if ((buffer.usage & COPY_SRC) === 0) {
      throw new TypeError(
        `Reading ${show(tensor.name)} takes COPY_SRC usage of its GPUBuffer, got usage ${buffer.usage}.`,
      );
    }
    const staging = this.#device.createBuffer({ size: bytes, usage: MAP_READ | COPY_DST });
    const encoder = this.#device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
    this.#device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(READ);
      return new Float32Array(staging.getMappedRange().slice(0));
    } finally {
      staging.destroy();
    }
  }

  write(group: number, tensor: Tensor, array: string, values: Float32Array): void {
    this.#memories[group].upload(this.#memories[group].array(tensor, array), values);
  }

  dispose(): void {
    for (const memory of this.#memories) memory.destroy();
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
    if (this.#ownsDevice) this.#device.destroy();
  }

  /** Whether one dispatch can run from `a` on into `b`: both in the same arena, with all of their arrays. */
  #adjoin(group: number, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !this.#memories[group].isCallers(b) && !this.#callersGrad.has(b);
  }

  /** The dispatches over a gradient of the caller's. A new buffer may turn out to be another device's. */
  #bind(group: number, index: number, grad: Place): readonly Dispatch[] {
    const dispatches = this.#dispatches[group];
    if (dispatches.isBound(index, grad)) return dispatches.bound(index, grad);
    const { name } = this.#groups[group].tensors[index];
    let bound!: readonly Dispatch[];
    const trouble = complaint(this.#device, () => {
      bound = dispatches.bound(index, grad);
    });
    this.#unsure.push(trouble.then((message) => toError(message && unusable(`gradient ${show(name)}`, message))));
    return bound;
  }

  #dispatch(dispatches: readonly Dispatch[]): void {
    for (const { pipeline, arrays, workgroups } of dispatches) {
      this.#pass!.setPipeline(pipeline);
      this.#pass!.setBindGroup(1, arrays);
      this.#pass!.dispatchWorkgroups(...workgroups);
    }
  }

  /** A property of `grads`, whose memory is made when it is first looked at. */
  #showGrad(group: number, tensor: Tensor): PropertyDescriptor {
    const get = (): GPUBufferBinding => {
      const shown = this.#shown.get(tensor.name) ?? binding(this.#memories[group].grad(tensor), tensor);
      this.#shown.set(tensor.name, shown);
      return shown;
    };
    return { enumerable: true, get };
  }
}

const toError = (message: string | undefined): Error | undefined =>
  message === undefined ? undefined : new TypeError(message);

const binding = ({ buffer, offset }: Place, { length }: Tensor): GPUBufferBinding =>
  Object.freeze({ buffer, offset, size: length * FLOAT });
