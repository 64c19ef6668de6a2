// Caches what binds arrays of tensors, so that a step makes no bind groups.

import type { Tensor } from '../layout.js';
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
    return ofOffset(ofTensor, buffer, offset, make);
  }
}

/** Returns the cached value for an offset in a buffer, or makes it. */
export function ofOffset<Value>(
  cache: WeakMap<GPUBuffer, Map<number, Value>>,
  buffer: GPUBuffer,
  offset: number,
  make: () => Value,
): Value {
  let ofBuffer = cache.get(buffer);
  if (ofBuffer === undefined) cache.set(buffer, (ofBuffer = new Map()));
  return remember(ofBuffer, offset, MOST_OFFSETS, make);
}

/** Returns the cached value of `key`, or makes it. Drops the oldest entry if `map` has `most`. */
function remember<Value>(map: Map<number, Value>, key: number, most: number, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    if (map.size === most) map.delete(map.keys().next().value!);
    map.set(key, value);
  }
  return value;
}
