// Caches of what binds buffers, so that a step makes no bind groups.

import type { Tensor } from '../layout.js';
import { makeBindGroup } from './buffers.js';
import type { Place } from './section-memory.js';

/** The most cached values: by range of tensors, and by offset in one buffer. */
const MOST_RANGES = 4096;
const MOST_OFFSETS = 16;

export class BindingCache<Value> {
  /** For ranges of tensors in the optimizer's own memory. */
  readonly #ranges = new Map<number, Value>();
  /** For places in any buffer. Entries are freed with the buffer. */
  readonly #places = new WeakMap<Tensor, WeakMap<GPUBuffer, Map<number, Value>>>();

  /** Returns the value for a range, or makes it. `key` is the same for the same first and last tensor only. */
  ofRange(key: number, make: () => Value): Value {
    return remember(this.#ranges, key, MOST_RANGES, make);
  }

  /** Returns the value for a tensor with one of its arrays at a place, or makes it. */
  ofPlace(tensor: Tensor, { buffer, offset }: Place, make: () => Value): Value {
    let ofTensor = this.#places.get(tensor);
    if (ofTensor === undefined) this.#places.set(tensor, (ofTensor = new WeakMap()));
    let ofBuffer = ofTensor.get(buffer);
    if (ofBuffer === undefined) ofTensor.set(buffer, (ofBuffer = new Map()));
    return remember(ofBuffer, offset, MOST_OFFSETS, make);
  }
}

/** Keeps the latest bind group of each key, while it binds the same ranges. */
export class LatestGroups {
  readonly #device: GPUDevice;
  readonly #latest = new WeakMap<
    object,
    { readonly ranges: readonly GPUBufferBinding[]; readonly group: GPUBindGroup }
  >();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Returns the group of `key`: group `index` of a kernel that is not a rule. */
  of(key: object, pipeline: GPUComputePipeline, index: number, ranges: readonly GPUBufferBinding[]): GPUBindGroup {
    let latest = this.#latest.get(key);
    if (latest === undefined || !ranges.every((range, i) => isSame(range, latest!.ranges[i]))) {
      latest = { ranges, group: makeBindGroup(this.#device, pipeline.getBindGroupLayout(index), ranges) };
      this.#latest.set(key, latest);
    }
    return latest.group;
  }
}

const isSame = (a: GPUBufferBinding, b: GPUBufferBinding): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.size === b.size;

/** Returns the cached value of `key`, or makes it. Drops the oldest entry if `map` has `most`. */
export function remember<Value>(map: Map<number, Value>, key: number, most: number, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    if (map.size === most) map.delete(map.keys().next().value!);
    map.set(key, value);
  }
  return value;
}
