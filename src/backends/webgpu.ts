// WebGPU: the kernels of wgsl/, over the caller's buffers and arenas of the optimizer's own.

import { byName, type Group } from '../groups.js';
import { FLOAT, type Tensor } from '../layout.js';
import { isFloat32Array, locate, overlap } from '../memory.js';
import type { Rule } from '../rules/rule.js';
import { list, show } from '../sentences.js';
import type { ArrayOf, Backend, Run } from './backend.js';
import { heard, listen } from './webgpu/device.js';
import type { Dispatch, Dispatches } from './webgpu/dispatches.js';
import { Kernels } from './webgpu/kernel.js';
import type { GroupMemory, Place } from './webgpu/memory.js';
import { checkUsage, readBack } from './webgpu/read.js';
import { Uniforms } from './webgpu/uniforms.js';

export class WebGPU implements Backend {
  readonly params: Readonly<Record<string, GPUBufferBinding>>;
  readonly grads: Readonly<Record<string, GPUBufferBinding>>;

  readonly #device: GPUDevice;
  readonly #ownsDevice: boolean;
  readonly #groups: readonly Group[];
  readonly #memories: readonly GroupMemory[];
  readonly #dispatches: readonly ReadonlyMap<Rule, Dispatches>[];
  readonly #stepScalars: Uniforms;
  readonly #encodeScalars: Uniforms;
  /** What `grads` has shown so far. */
  readonly #shown = new Map<string, GPUBufferBinding>();

  // Of the step that is being made:
  #callersEncoder: GPUCommandEncoder | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** The dispatches of tensors whose gradient is in the caller's buffer. */
  readonly #bound = new Map<Tensor, readonly Dispatch[]>();
  /** Names of gradients whose buffer is new, and may turn out to be another device's. */
  #new: string[] = [];

  constructor(
    device: GPUDevice,
    ownsDevice: boolean,
    groups: readonly Group[],
    memories: readonly GroupMemory[],
    dispatches: readonly ReadonlyMap<Rule, Dispatches>[],
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
  }

  scalars(group: number): Float32Array {
    return new Float32Array(this.#groups[group].rule.scalars.length);
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
  }

  begin(encoder: GPUCommandEncoder | undefined): void {
    Kernels.of(this.#device).checkAlive();
    listen(this.#device);
    this.#callersEncoder = encoder;
    if (encoder === undefined) this.#stepScalars.rewind();
  }

  accept(group: number, tensor: Tensor, grad: unknown): void {
    if (grad === this.#shown.get(tensor.name)) return;
    const memory = this.#memories[group];
    if (isFloat32Array(grad)) {
      memory.upload(memory.grad(tensor), grad);
    } else {
      const { buffer, offset } = locate(grad, 'gradient', tensor.name);
      const place = { buffer: buffer as GPUBuffer, offset };
      const ofRule = this.#dispatches[group].get(this.#groups[group].rule)!;
      const dispatches = ofRule.bound(tensor, place, () => this.#new.push(tensor.name));
      this.#bound.set(tensor, dispatches);
    }
  }

  update(group: number, rule: Rule, { first, last, scalars }: Run): void {
    this.#encoder ??= this.#callersEncoder ?? this.#device.createCommandEncoder({ label: 'twinstep' });
    const pass = (this.#pass ??= this.#encoder.beginComputePass({ label: 'twinstep' }));
    const { bindGroup, offset } = this.#scalars.put(scalars);
    pass.setBindGroup(0, bindGroup, [offset]);
    const { tensors } = this.#groups[group];
    for (let i = first, next; i <= last; i = next) {
      next = i + 1;
      let dispatches = this.#bound.get(tensors[i]);
      if (dispatches === undefined) {
        while (next <= last && this.#adjoin(group, tensors[next - 1], tensors[next])) next++;
        dispatches = this.#dispatches[group].get(rule)!.stretch(i, next - 1);
      }
      for (const { pipeline, arrays, workgroups } of dispatches) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(1, arrays);
        pass.dispatchWorkgroups(...workgroups);
      }
    }
  }

  end(): Promise<Error | undefined> {
    this.#pass?.end();
    this.#scalars.flush();
    if (this.#callersEncoder === undefined && this.#encoder !== undefined) {
      this.#device.queue.submit([this.#encoder.finish()]);
    }
    const suspects = this.#new.length > 0 ? ` (gradients in new buffers: ${list(this.#new)})` : '';
    this.#clear();
    const refused = 'The GPU device refused a step, and nothing of it was done';
    return heard(this.#device).then((trouble) =>
      trouble === undefined ? undefined : new Error(`${refused}${suspects}: ${trouble}`),
    );
  }

  cancel(): void {
    this.#pass?.end();
    this.#clear();
    void heard(this.#device);
  }

  async read(arrays: readonly ArrayOf[]): Promise<Float32Array[]> {
    Kernels.of(this.#device).checkAlive();
    return readBack(
      this.#device,
      arrays.map(({ group, tensor, array }) => ({
        name: tensor.name,
        bytes: tensor.length * FLOAT,
        ...this.#memories[group].array(tensor, array),
      })),
    );
  }

  checkWrite({ group, tensor, array }: ArrayOf): void {
    const { buffer } = this.#memories[group].array(tensor, array);
    checkUsage(buffer, 'COPY_DST', `Writing ${show(tensor.name)}`);
  }

  write({ group, tensor, array }: ArrayOf, values: Float32Array): void {
    Kernels.of(this.#device).checkAlive();
    this.#memories[group].upload(this.#memories[group].array(tensor, array), values);
  }

  writeParam(arrays: readonly ArrayOf[]): void {
    if (arrays.length === 0) return;
    const encoder = this.#device.createCommandEncoder({ label: 'twinstep' });
    for (const { group, tensor, array } of arrays) {
      const [from, to] = [this.#memories[group].param(tensor), this.#memories[group].array(tensor, array)];
      checkUsage(from.buffer, 'COPY_SRC', `${array} of ${show(tensor.name)} begins at the parameter, which`);
      encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, tensor.length * FLOAT);
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  dispose(): void {
    for (const memory of this.#memories) memory.destroy();
    this.#stepScalars.destroy();
    this.#encodeScalars.destroy();
    if (this.#ownsDevice) this.#device.destroy();
  }

  get #scalars(): Uniforms {
    return this.#callersEncoder === undefined ? this.#stepScalars : this.#encodeScalars;
  }

  #clear(): void {
    this.#callersEncoder = this.#encoder = this.#pass = undefined;
    this.#bound.clear();
    this.#new = [];
  }

  /** Whether one dispatch can run from `a` on into `b`: both in the same arena, with all of their arrays. */
  #adjoin(group: number, a: Tensor, b: Tensor): boolean {
    return a.arena === b.arena && !this.#memories[group].isCallers(b) && !this.#bound.has(b);
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

const binding = ({ buffer, offset }: Place, { length }: Tensor): GPUBufferBinding =>
  Object.freeze({ buffer, offset, size: length * FLOAT });
