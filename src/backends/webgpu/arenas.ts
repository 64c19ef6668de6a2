// The GPU memory of a section: the caller's parameters where they are, and arenas for all else.

import type { Section, Sources } from '../section.js';
import { FLOAT, type Arena, type Tensor } from '../layout.js';
import { checkThere, COPY_DST, COPY_SRC, isFloat32Array, STORAGE, type GpuMemory } from '../memory.js';
import { inErrorScopes } from './device.js';

/** Where an array of a tensor begins. */
export interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
}

/** Where a gradient lies that passed `check`: asking the buffer itself again would be dear. */
export const placeOf = (grad: unknown): Place => {
  const memory = grad as GpuMemory;
  const isWhole = 'getMappedRange' in memory;
  return isWhole ? { buffer: memory, offset: 0 } : { buffer: memory.buffer, offset: memory.offset ?? 0 };
};

/** An arena: one buffer for each array, so that each may be as large as a binding. */
interface Buffers {
  readonly bytes: number;
  /** None where the caller owns the parameters. */
  readonly param: GPUBuffer | undefined;
  /** Made at first use: callers who bind their own gradients never need it. */
  grad: GPUBuffer | undefined;
  readonly slots: readonly GPUBuffer[];
}

export class SectionMemory {
  readonly #device: GPUDevice;
  readonly #section: Section;
  readonly #arenas: readonly Buffers[];
  readonly #own: Set<object>;
  readonly #callers = new Map<Tensor, Place>();

  /** The buffers that it makes are in `own`, until `destroy`. */
  constructor(device: GPUDevice, section: Section, arenas: readonly Arena[], sources: Sources, own: Set<object>) {
    this.#device = device;
    this.#section = section;
    this.#own = own;
    for (const tensor of section.tensors) {
      const source = sources.get(tensor)!;
      if (isFloat32Array(source)) {
        // The caller may have transferred it since it was checked.
        checkThere(source, 'parameter', tensor.name);
        continue;
      }
      this.#callers.set(tensor, { buffer: source.buffer as GPUBuffer, offset: source.offset });
    }
    this.#arenas = arenas.map(({ bytes }) => ({
      bytes,
      param: this.#callers.size > 0 ? undefined : this.#allocate('param', bytes),
      grad: undefined,
      slots: section.rule.slots.map((slot) => this.#allocate(slot, bytes)),
    }));
  }

  /** Uploads the parameters that are Float32Arrays, and what begins as a copy of a parameter. */
  fill(sources: Sources): void {
    const { tensors, rule } = this.#section;
    const { fromParam = [] } = rule;
    for (const tensor of tensors) {
      const source = sources.get(tensor);
      if (!isFloat32Array(source)) continue;
      for (const array of ['param', ...fromParam]) this.upload(this.array(tensor, array), source);
    }
    if (fromParam.length === 0 || this.#callers.size === 0) return;
    const encoder = this.#device.createCommandEncoder({ label: 'twinstep' });
    for (const tensor of this.#callers.keys()) {
      if (tensor.length > 0) for (const array of fromParam) this.copyParamTo(array, tensor, encoder);
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  /** Whether the parameter lies in the caller's buffer. */
  isCallers(tensor: Tensor): boolean {
    return this.#callers.has(tensor);
  }

  param(tensor: Tensor): Place {
    return this.#callers.get(tensor) ?? { buffer: this.#arenas[tensor.arena].param!, offset: tensor.offset };
  }

  /** The optimizer's own memory for the gradient. */
  grad(tensor: Tensor): Place {
    const arena = this.#arenas[tensor.arena];
    if (arena.grad === undefined) {
      // Memory that the device does not give is refused by the step that uses it.
      void inErrorScopes(this.#device, () => (arena.grad = this.#allocate('grad', arena.bytes)));
    }
    return { buffer: arena.grad!, offset: tensor.offset };
  }

  /** The buffers of its own gradients, if they were made. */
  gradBuffers(): GPUBuffer[] {
    return this.#arenas.flatMap(({ grad }) => grad ?? []);
  }

  /** One of the arrays of the section's rule by name. */
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
    // A shared buffer is copied: not every implementation takes one, and Dawn for Node dies of it.
    const own = values.buffer instanceof ArrayBuffer ? values : values.slice();
    this.#device.queue.writeBuffer(buffer, offset, own as Float32Array<ArrayBuffer>);
  }

  destroy(): void {
    for (const { param, grad, slots } of this.#arenas) {
      for (const buffer of [param, grad, ...slots]) {
        if (buffer === undefined) continue;
        this.#own.delete(buffer);
        buffer.destroy();
      }
    }
  }

  #allocate(array: string, bytes: number): GPUBuffer {
    const usage = STORAGE | COPY_SRC | COPY_DST;
    const buffer = this.#device.createBuffer({ label: `twinstep ${array}`, size: bytes, usage });
    this.#own.add(buffer);
    return buffer;
  }
}
