// From tensors to dispatches: what is bound, in how many parts, and bound only once.

import { alignDown, arraysOf, begin, end, FLOAT, type Tensor } from '../layout.js';
import type { Rule } from '../../rules/rule.js';
import { workgroups, type Kernel } from './kernels.js';
import type { SectionMemory, Place } from './arenas.js';
import { lanes, type Variant } from './shaders.js';

export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly arrays: GPUBindGroup;
  readonly workgroups: readonly [number, number];
}

/** Bind groups of the same tensors recur, so they are kept: up to so many, should they not recur after all. */
const MOST_RANGES = 4096;
const MOST_OFFSETS = 16;

/** The dispatches of one rule over a section's tensors. */
export class Dispatches {
  readonly #device: GPUDevice;
  readonly #arrays: readonly string[];
  readonly #kernel: Kernel;
  readonly #memory: SectionMemory;
  readonly #tensors: readonly Tensor[];
  /** Over the optimizer's own gradients, by first and last tensor. */
  readonly #adjoining = new Map<number, readonly Dispatch[]>();
  /** Over gradients in the caller's buffers, by tensor, buffer and offset: forgotten with the buffer. */
  readonly #bound = new WeakMap<Tensor, WeakMap<GPUBuffer, Map<number, readonly Dispatch[]>>>();

  constructor(device: GPUDevice, rule: Rule, kernel: Kernel, memory: SectionMemory, tensors: readonly Tensor[]) {
    this.#device = device;
    this.#arrays = arraysOf(rule);
    this.#kernel = kernel;
    this.#memory = memory;
    this.#tensors = tensors;
  }

  /** Of the tensors `first` to `last`, neighbours in an arena or a single one, and their own gradients. */
  adjoining(first: number, last: number): readonly Dispatch[] {
    const key = first * this.#tensors.length + last;
    return remember(this.#adjoining, key, MOST_RANGES, () => {
      const tensor = this.#tensors[first];
      // Padding takes part, so that the whole is one dispatch; the caller's own buffers have none.
      const bytes = this.#memory.isCallers(tensor) ? tensor.length * FLOAT : end(this.#tensors[last]) - begin(tensor);
      return this.#make(tensor, undefined, bytes);
    });
  }

  /** Of one tensor and a gradient in the caller's buffer. `onNew` is told when it had to be bound. */
  bound(tensor: Tensor, grad: Place, onNew: () => void): readonly Dispatch[] {
    let ofTensor = this.#bound.get(tensor);
    if (ofTensor === undefined) this.#bound.set(tensor, (ofTensor = new WeakMap()));
    let ofBuffer = ofTensor.get(grad.buffer);
    if (ofBuffer === undefined) ofTensor.set(grad.buffer, (ofBuffer = new Map()));
    return remember(ofBuffer, grad.offset, MOST_OFFSETS, () => {
      onNew();
      return this.#make(tensor, grad, tensor.length * FLOAT);
    });
  }

  /** With the gradient at `grad`, or in the optimizer's own memory. */
  #make(tensor: Tensor, grad: Place | undefined, bytes: number): Dispatch[] {
    const places = this.#arrays.map((name) =>
      name === 'grad' && grad !== undefined ? grad : this.#memory.array(tensor, name),
    );
    return pieces(bytes, alignDown(this.#device.limits.maxStorageBufferBindingSize)).map(({ variant, at, size }) => ({
      pipeline: this.#kernel.pipelines[variant],
      arrays: this.#device.createBindGroup({
        layout: this.#kernel.arraysLayout,
        entries: places.map(({ buffer, offset }, binding) => ({
          binding,
          resource: { buffer, offset: offset + at, size },
        })),
      }),
      workgroups: workgroups(this.#device, variant, size),
    }));
  }
}

/** What `map` has for `key`, made if need be; the oldest entry makes room. */
function remember<Value>(map: Map<number, Value>, key: number, most: number, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    if (map.size === most) map.delete(map.keys().next().value!);
    map.set(key, value);
  }
  return value;
}

/**
 * Cuts arrays of `bytes` into bindings of at most `limit`. What does not divide into vec4s, which only a caller's own
 * buffer can bring about, is cut off at the last offset that a binding may have, and stepped by the scalar kernel.
 */
export function pieces(bytes: number, limit: number): { variant: Variant; at: number; size: number }[] {
  const whole = bytes % (lanes.vec4 * FLOAT) === 0 ? bytes : alignDown(bytes);
  const cuts: { variant: Variant; at: number; size: number }[] = [];
  for (let at = 0; at < whole; at += limit) cuts.push({ variant: 'vec4', at, size: Math.min(limit, whole - at) });
  if (whole < bytes) cuts.push({ variant: 'scalar', at: whole, size: bytes - whole });
  return cuts;
}
