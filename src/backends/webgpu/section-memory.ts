// The GPU memory of a section: the caller's parameter buffers, and arenas for everything else.

import type { Section, Sources } from '../section.js';
import { FLOAT, type Arena, type Tensor } from '../layout.js';
import { checkUnchanged, isFloat32Array, type GpuMemory } from '../memory.js';
import { allocate } from './buffers.js';
import { inErrorScopes } from './device.js';
import { ownOf } from '../../errors.js';
import type { Floats } from '../../platform.js';

/** Where an array of a tensor begins. */
export interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
}

/** Returns where a gradient lies. It has passed `check`: reading properties of the buffer again would be slow. */
export const placeOf = (grad: unknown): Place => {
  const memory = grad as GpuMemory;
  const isWhole = 'getMappedRange' in memory;
  return isWhole ? { buffer: memory, offset: 0 } : { buffer: memory.buffer, offset: memory.offset ?? 0 };
};

/** Returns the binding of one f32 in GPU memory that has passed a check. */
export const bindingOf = (memory: GpuMemory): GPUBufferBinding => ({ ...placeOf(memory), size: FLOAT });

/** The buffers of an arena: one per array, so that each can be as large as a binding. */
interface Buffers {
  readonly bytes: number;
  /** Undefined if the caller owns the parameters. */
  readonly param: GPUBuffer | undefined;
  /** Made at first use: callers that pass their own gradient buffers never need it. */
  grad: GPUBuffer | undefined;
  /** Gradients that were scaled and clipped. Made at first use. */
  clipped: GPUBuffer | undefined;
  readonly slots: readonly GPUBuffer[];
}

export class SectionMemory {
  readonly #device: GPUDevice;
  readonly #section: Section;
  readonly #arenas: readonly Buffers[];
  readonly #own: WeakSet<object>;
  readonly #callers = new Map<Tensor, Place>();

  /** Adds the buffers that it makes to `own`. */
  constructor(device: GPUDevice, section: Section, arenas: readonly Arena[], sources: Sources, own: WeakSet<object>) {
    this.#device = device;
    this.#section = section;
    this.#own = own;
    for (const tensor of section.tensors) {
      const source = sources.get(tensor)!;
      if (isFloat32Array(source)) {
        checkUnchanged(source, tensor.name, tensor.length);
        continue;
      }
      this.#callers.set(tensor, { buffer: source.buffer as GPUBuffer, offset: source.offset });
    }
    this.#arenas = arenas.map(({ bytes }) => ({
      bytes,
      param: this.#callers.size > 0 ? undefined : this.#allocate('param', bytes),
      grad: undefined,
      clipped: undefined,
      slots: section.rule.slots.map((slot) => this.#allocate(slot, bytes)),
    }));
  }

  /** Uploads parameters from Float32Arrays, and initializes the slots that start as a copy of the parameter. */
  fill(sources: Sources): void {
    const { tensors, rule } = this.#section;
    const { fromParam } = rule;
    for (const tensor of tensors) {
      const source = sources.get(tensor);
      if (!isFloat32Array(source)) continue;
      for (const array of ['param', ...fromParam]) this.upload(this.array(tensor, array), source);
    }
    if (fromParam.length === 0 || this.#callers.size === 0) return;
    const encoder = this.#device.createCommandEncoder(ownOf({ label: 'twinstep' }));
    for (const tensor of this.#callers.keys()) {
      if (tensor.length > 0) for (const array of fromParam) this.copyParamTo(array, tensor, encoder);
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Returns whether the parameter is in the caller's buffer. */
  isCallers(tensor: Tensor): boolean {
    return this.#callers.has(tensor);
  }

  param(tensor: Tensor): Place {
    return this.#callers.get(tensor) ?? { buffer: this.#arenas[tensor.arena].param!, offset: tensor.offset };
  }

  /** Returns the optimizer's own memory for the gradient. */
  grad(tensor: Tensor): Place {
    const arena = this.#arenas[tensor.arena];
    if (arena.grad === undefined) {
      // Ignore an out-of-memory error here: the step that uses the buffer reports it.
      void inErrorScopes(this.#device, () => (arena.grad = this.#allocate('grad', arena.bytes)));
    }
    return { buffer: arena.grad!, offset: tensor.offset };
  }

  /** Returns where the gradient is written, scaled and clipped, if many tensors share a dispatch. */
  clipped(tensor: Tensor): Place {
    const arena = this.#arenas[tensor.arena];
    arena.clipped ??= this.#allocate('clipped grad', arena.bytes);
    return { buffer: arena.clipped, offset: tensor.offset };
  }

  /** Returns the buffers of the optimizer's own gradients made so far. */
  gradBuffers(): GPUBuffer[] {
    return this.#arenas.flatMap(({ grad }) => grad ?? []);
  }

  /** Returns where an array of the section's rule lies, by name. */
  array(tensor: Tensor, name: string): Place {
    if (name === 'param') return this.param(tensor);
    if (name === 'grad') return this.grad(tensor);
    return { buffer: this.#arenas[tensor.arena].slots[this.#section.rule.slots.indexOf(name)], offset: tensor.offset };
  }

  /** Records a copy of the parameter into another of its arrays. */
  copyParamTo(array: string, tensor: Tensor, encoder: GPUCommandEncoder): void {
    const [from, to] = [this.param(tensor), this.array(tensor, array)];
    encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, tensor.length * FLOAT);
  }

  upload({ buffer, offset }: Place, values: Float32Array): void {
    // Deno crashes if there is nothing to write.
    if (values.length === 0) return;
    // Copy shared memory: not every implementation accepts it, and Dawn for Node crashes.
    const own = values.buffer instanceof ArrayBuffer ? values : values.slice();
    this.#device.queue.writeBuffer(buffer, offset, own as Floats);
  }

  destroy(): void {
    for (const { param, grad, clipped, slots } of this.#arenas) {
      for (const buffer of [param, grad, clipped, ...slots]) buffer?.destroy();
    }
  }

  #allocate(array: string, bytes: number): GPUBuffer {
    const buffer = allocate(this.#device, array, bytes);
    this.#own.add(buffer);
    return buffer;
  }
}
