// From tensors to dispatches: what is bound, in how many parts, and bound only once.

import { alignDown, begin, end, FLOAT, type Tensor } from '../../layout.js';
import { workgroups, type Kernel } from './kernel.js';
import type { GroupMemory, Place } from './memory.js';
import { lanes, type Flavour } from './shaders.js';

export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly arrays: GPUBindGroup;
  readonly workgroups: readonly [number, number];
}

/** Patterns of present gradients recur, so they are few; should they never recur, the oldest is forgotten. */
const MAX_STRETCHES = 4096;

/** The dispatches of a group's tensors. */
export class Dispatches {
  readonly #device: GPUDevice;
  readonly #kernel: Kernel;
  readonly #memory: GroupMemory;
  readonly #tensors: readonly Tensor[];
  /** Over the optimizer's own gradients, by first and last tensor. */
  readonly #stretches = new Map<number, readonly Dispatch[]>();
  /** Over gradients in the caller's buffers, by tensor and buffer: forgotten with the buffer. */
  readonly #bound: readonly WeakMap<GPUBuffer, { readonly offset: number; readonly dispatches: readonly Dispatch[] }>[];

  constructor(device: GPUDevice, kernel: Kernel, memory: GroupMemory, tensors: readonly Tensor[]) {
    this.#device = device;
    this.#kernel = kernel;
    this.#memory = memory;
    this.#tensors = tensors;
    this.#bound = tensors.map(() => new WeakMap());
  }

  /** Of the tensors `first` to `last`, neighbours in an arena or a single one, and their own gradients. */
  stretch(first: number, last: number): readonly Dispatch[] {
    const key = first * this.#tensors.length + last;
    let dispatches = this.#stretches.get(key);
    if (dispatches === undefined) {
      const tensor = this.#tensors[first];
      // Padding takes part, so that the whole is one dispatch; the caller's own buffers have none.
      const bytes = this.#memory.isCallers(tensor) ? tensor.length * FLOAT : end(this.#tensors[last]) - begin(tensor);
      dispatches = this.#make(tensor, this.#memory.grad(tensor), bytes);
      if (this.#stretches.size === MAX_STRETCHES) this.#stretches.delete(this.#stretches.keys().next().value!);
      this.#stretches.set(key, dispatches);
    }
    return dispatches;
  }

  /** Whether `bound` would have to bind anew. */
  isBound(index: number, { buffer, offset }: Place): boolean {
    return this.#bound[index].get(buffer)?.offset === offset;
  }

  /** Of one tensor and a gradient in the caller's buffer. */
  bound(index: number, grad: Place): readonly Dispatch[] {
    const known = this.#bound[index].get(grad.buffer);
    if (known?.offset === grad.offset) return known.dispatches;
    const tensor = this.#tensors[index];
    const dispatches = this.#make(tensor, grad, tensor.length * FLOAT);
    this.#bound[index].set(grad.buffer, { offset: grad.offset, dispatches });
    return dispatches;
  }

  #make(tensor: Tensor, grad: Place, bytes: number): Dispatch[] {
    const places = [this.#memory.param(tensor), grad, ...this.#memory.slots(tensor)];
    return pieces(bytes, alignDown(this.#device.limits.maxStorageBufferBindingSize)).map(({ flavour, at, size }) => ({
      pipeline: this.#kernel.pipelines[flavour],
      arrays: this.#device.createBindGroup({
        layout: this.#kernel.arraysLayout,
        entries: places.map(({ buffer, offset }, binding) => ({
          binding,
          resource: { buffer, offset: offset + at, size },
        })),
      }),
      workgroups: workgroups(this.#device, flavour, size),
    }));
  }
}

/**
 * Cuts arrays of `bytes` into bindings of at most `limit`. What does not divide into vec4s, which only a caller's own
 * buffer can bring about, is cut off at the last offset that a binding may have, and stepped by the scalar kernel.
 */
export function pieces(bytes: number, limit: number): { flavour: Flavour; at: number; size: number }[] {
  const whole = bytes % (lanes.vec4 * FLOAT) === 0 ? bytes : alignDown(bytes);
  const cuts: { flavour: Flavour; at: number; size: number }[] = [];
  for (let at = 0; at < whole; at += limit) cuts.push({ flavour: 'vec4', at, size: Math.min(limit, whole - at) });
  if (whole < bytes) cuts.push({ flavour: 'scalar', at: whole, size: bytes - whole });
  return cuts;
}
