// Divides tensors among the workgroups of wgsl/squares.wgsl, and parts among the sums of wgsl/fold.wgsl.

import { align, ALIGNMENT, alignDown, elements, FLOAT, type Tensor } from '../layout.js';
import { WORKGROUP } from './shaders.js';

/** A struct `Part` of wgsl/parts.wgsl, a `Share` of wgsl/squares.wgsl, and a `Range` of wgsl/fold.wgsl. */
export const PART_BYTES = 2 * FLOAT;
export const SHARE_BYTES = 8 * FLOAT;
export const RANGE_BYTES = 2 * FLOAT;
/** The most workgroups per segment: enough to keep a GPU busy. */
const MOST_WORKGROUPS = 1024;
/** The fewest elements per invocation, for segments that need less than `MOST_WORKGROUPS`. */
const LEAST_ELEMENTS = 64;
/** The most sums per tensor between the two folds: the square root of the most parts. */
const FOLDED = 256;

/** The part of a tensor that fits a binding: a range of its bytes, and its shares. */
export interface Segment {
  readonly at: number;
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

export interface Division {
  /** Those of each tensor. An empty tensor has one, without shares. */
  readonly segments: ReadonlyMap<Tensor, readonly Segment[]>;
  /** One struct per workgroup. Those of a segment begin at an offset that can be bound, and empty ones precede them. */
  readonly shares: Uint32Array;
  /** One struct per slot for the first fold, and from the next offset that can be bound those for the second. */
  readonly ranges: Uint32Array;
  /** The number of parts, and of sums per slot between the two folds. */
  readonly parts: number;
  readonly folded: number;
}

/** Divides tensors. `slots` has the slot of each, below `count`. */
export function divide(
  tensors: readonly Tensor[],
  slots: ReadonlyMap<Tensor, number>,
  count: number,
  { maxStorageBufferBindingSize }: GPUSupportedLimits,
): Division {
  const most = alignDown(maxStorageBufferBindingSize);
  const least = leastElements(tensors, most);
  // All sums fit a binding.
  let folded = FOLDED;
  while (folded > 1 && folded * count * PART_BYTES > most) folded /= 2;
  const segments = new Map<Tensor, Segment[]>();
  const shares: number[] = [];
  const ranges = new Uint32Array(elements(2 * align(count * RANGE_BYTES)));
  const second = elements(align(count * RANGE_BYTES));
  let parts = 0;
  for (const tensor of tensors) {
    const slot = slots.get(tensor)!;
    const first = parts;
    const ofTensor = cut(tensor, most).map(({ at, size }) => {
      const workgroups = workgroupsOf(size, least);
      while (shares.length % elements(ALIGNMENT) > 0) shares.push(0);
      const from = shares.length / elements(SHARE_BYTES);
      const [offset, length] = [elements(tensor.offset + at), elements(size)];
      for (let k = 0; k < workgroups; k++, parts += WORKGROUP) {
        shares.push(slot, offset, length, k * WORKGROUP, workgroups * WORKGROUP, parts, 0, 0);
      }
      return { at, size, from, to: from + workgroups };
    });
    segments.set(tensor, ofTensor);
    ranges.set([first, parts - first], elements(slot * RANGE_BYTES));
    ranges.set([slot * folded, Math.min(folded, parts - first)], second + elements(slot * RANGE_BYTES));
  }
  return { segments, shares: Uint32Array.from(shares), ranges, parts, folded };
}

/** Cuts a tensor into ranges of at most `most` bytes. */
function cut({ length }: Tensor, most: number): { at: number; size: number }[] {
  const bytes = length * FLOAT;
  return Array.from({ length: Math.max(1, Math.ceil(bytes / most)) }, (_, k) => {
    return { at: k * most, size: Math.min(most, bytes - k * most) };
  });
}

const workgroupsOf = (size: number, least: number): number =>
  Math.min(MOST_WORKGROUPS, Math.ceil(elements(size) / least / WORKGROUP));

/** Returns the fewest elements per invocation with which all parts fit a binding of `most` bytes. */
function leastElements(tensors: readonly Tensor[], most: number): number {
  const sizes = tensors.flatMap((tensor) => cut(tensor, most)).map(({ size }) => size);
  const bytes = (least: number): number =>
    sizes.reduce((sum, size) => sum + workgroupsOf(size, least) * WORKGROUP * PART_BYTES, 0);
  let least = LEAST_ELEMENTS;
  while (bytes(least) > most && least < elements(most)) least *= 2;
  return least;
}
