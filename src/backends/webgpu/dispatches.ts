// Turns tensors into dispatches: splits arrays into bindings.

import { alignDown, arraysOf, begin, end, FLOAT, type Tensor } from '../layout.js';
import type { Rule } from '../../rules/rule.js';
import { BindingCache } from './binding-cache.js';
import { makeBindGroup } from './buffers.js';
import { workgroups, type Kernel, type Workgroups } from './kernels.js';
import type { SectionMemory, Place } from './section-memory.js';
import { lanes, type Variant } from './shaders.js';

export interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly arrays: GPUBindGroup;
  readonly workgroups: Workgroups;
}

/** The dispatches of one rule over a section's tensors. */
export class Dispatches {
  readonly #device: GPUDevice;
  readonly #arrays: readonly string[];
  /** The array that may be in a buffer of the caller: the gradient, or the parameter of a rule without one. */
  readonly #given: string;
  readonly #kernel: Kernel;
  readonly #memory: SectionMemory;
  readonly #tensors: readonly Tensor[];
  readonly #cache = new BindingCache<readonly Dispatch[]>();

  constructor(device: GPUDevice, rule: Rule, kernel: Kernel, memory: SectionMemory, tensors: readonly Tensor[]) {
    this.#device = device;
    this.#arrays = arraysOf(rule);
    this.#given = rule.takesGrad ? 'grad' : 'param';
    this.#kernel = kernel;
    this.#memory = memory;
    this.#tensors = tensors;
  }

  /**
   * Returns the dispatches over tensors `first` to `last`, adjacent in an arena, and the optimizer's own gradients, or
   * their copies that are clipped.
   */
  adjoining(first: number, last: number, isClipped = false): readonly Dispatch[] {
    const key = 2 * (first * this.#tensors.length + last) + Number(isClipped);
    return this.#cache.ofRange(key, () => {
      const tensor = this.#tensors[first];
      // Include the padding, so that one dispatch covers all. The caller's buffers have no padding.
      const bytes = this.#memory.isCallers(tensor) ? tensor.length * FLOAT : end(this.#tensors[last]) - begin(tensor);
      return this.#make(tensor, isClipped ? this.#memory.clipped(tensor) : undefined, bytes);
    });
  }

  /**
   * Returns the dispatches over one tensor, whose gradient is in the caller's buffer, or for a rule without gradients a
   * copy of its parameter. Calls `onNew` if none are cached.
   */
  bound(tensor: Tensor, given: Place, onNew: () => void): readonly Dispatch[] {
    return this.#cache.ofPlace(tensor, given, () => {
      onNew();
      return this.#make(tensor, given, tensor.length * FLOAT);
    });
  }

  /** Makes dispatches with an array at `given`, or all in the optimizer's own memory. */
  #make(tensor: Tensor, given: Place | undefined, bytes: number): Dispatch[] {
    const places = this.#arrays.map((name) =>
      name === this.#given && given !== undefined ? given : this.#memory.array(tensor, name),
    );
    return pieces(bytes, alignDown(this.#device.limits.maxStorageBufferBindingSize)).map(({ variant, at, size }) => ({
      pipeline: this.#kernel.pipelines[variant],
      arrays: makeBindGroup(
        this.#device,
        this.#kernel.arraysLayout,
        places.map(({ buffer, offset }) => ({ buffer, offset: offset + at, size })),
      ),
      workgroups: workgroups(this.#device, variant, size),
    }));
  }
}

/**
 * Splits arrays of `bytes` into bindings of at most `limit`. If the length is not a multiple of a vec4 (only possible
 * in a caller's buffer), the part after the last aligned offset is a binding of its own for the scalar kernel.
 */
export function pieces(bytes: number, limit: number): { variant: Variant; at: number; size: number }[] {
  const whole = bytes % (lanes.vec4 * FLOAT) === 0 ? bytes : alignDown(bytes);
  const cuts: { variant: Variant; at: number; size: number }[] = [];
  for (let at = 0; at < whole; at += limit) cuts.push({ variant: 'vec4', at, size: Math.min(limit, whole - at) });
  if (whole < bytes) cuts.push({ variant: 'scalar', at: whole, size: bytes - whole });
  return cuts;
}
