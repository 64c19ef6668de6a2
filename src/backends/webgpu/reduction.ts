// Sums of squares of tensors on the GPU, in a fixed order. wgsl/squares.wgsl makes many parts of each tensor, and
// wgsl/fold.wgsl adds them, in two dispatches for all tensors.

import foldSource from '../../../wgsl/fold.wgsl';
import partsSource from '../../../wgsl/parts.wgsl';
import squaresSource from '../../../wgsl/squares.wgsl';
import { align, begin, elements, end, FLOAT, type Tensor } from '../layout.js';
import type { Section } from '../section.js';
import { BindingCache, LatestGroups } from './binding-cache.js';
import { allocate, makeBindGroup } from './buffers.js';
import { Kernels, rowsOf, type Workgroups } from './kernels.js';
import type { Place, SectionMemory } from './section-memory.js';
import { WORKGROUP } from './shaders.js';
import { divide, PART_BYTES, RANGE_BYTES, SHARE_BYTES, type Segment } from './shares.js';

interface Bound {
  readonly arrays: GPUBindGroup;
  readonly workgroups: Workgroups;
}

/** A dispatch of squares.wgsl. */
export interface Work extends Bound {
  readonly values: GPUBufferBinding;
  readonly shares: GPUBufferBinding;
}

/** Adds up the squares of tensors, each into a slot of its own. Allocates nothing on the device before the first use. */
export class Reduction {
  readonly #device: GPUDevice;
  readonly #sections = new Map<Section, SectionMemory>();
  /** Each tensor has a slot until it is removed. Later tensors use free slots. */
  readonly #slots = new Map<Tensor, number>();
  readonly #free: number[] = [];
  /** Made at first use, and again after tensors were added or removed. */
  #tables: Tables | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  add(section: Section, memory: SectionMemory): void {
    this.#sections.set(section, memory);
    for (const tensor of section.tensors) this.#slots.set(tensor, this.#free.pop() ?? this.#slots.size);
    // The caller's command buffers may still use the old buffers: do not destroy them.
    this.#tables = undefined;
  }

  remove(tensors: readonly Tensor[]): void {
    for (const tensor of tensors) {
      this.#free.push(this.#slots.get(tensor)!);
      this.#slots.delete(tensor);
    }
    for (const section of this.#sections.keys()) {
      if (!section.tensors.some((tensor) => this.#slots.has(tensor))) this.#sections.delete(section);
    }
    this.#tables = undefined;
  }

  /** The number of slots, free ones included. */
  get slots(): number {
    return this.#slots.size + this.#free.length;
  }

  /** Returns the index of a tensor's sum and limit. */
  slotOf(tensor: Tensor): number {
    return this.#slots.get(tensor)!;
  }

  /** Returns a copy of the slots of all tensors. */
  copySlots(): ReadonlyMap<Tensor, number> {
    return new Map(this.#slots);
  }

  /** The sum of each slot: a `Part` of wgsl/parts.wgsl. Another buffer after tensors were added or removed. */
  get sums(): GPUBuffer {
    return this.#current.sums;
  }

  /** Returns the work over the optimizer's own gradients of tensors `first` to `last`, adjacent in an arena. */
  adjoining(section: Section, first: number, last: number): readonly Work[] {
    const memory = this.#sections.get(section)!;
    return this.#current.adjoining(section.tensors[first], section.tensors[last], memory);
  }

  /** Returns the work over one tensor, with its values at `place`. */
  bound(tensor: Tensor, place: Place): readonly Work[] {
    return this.#current.bound(tensor, place);
  }

  /**
   * Records the work, and writes `sums`. Sums of other tensors are of no use. `limits` has an f32 per slot, by which
   * magnitudes are limited before they are squared; 0 means no limit.
   */
  record(pass: GPUComputePassEncoder, works: readonly Work[], limits?: GPUBufferBinding): void {
    this.#current.record(pass, works, limits);
  }

  destroy(): void {
    this.#tables?.destroy();
  }

  get #current(): Tables {
    return (this.#tables ??= new Tables(this.#device, [...this.#sections.keys()], this.#slots, this.slots));
  }
}

/** The buffers and bind groups for a set of tensors. */
class Tables {
  readonly sums: GPUBuffer;
  readonly #device: GPUDevice;
  readonly #segments: ReadonlyMap<Tensor, readonly Segment[]>;
  readonly #squares: GPUComputePipeline;
  readonly #fold: GPUComputePipeline;
  /** The two dispatches of fold.wgsl. */
  readonly #folds: readonly Bound[];
  readonly #shares: GPUBuffer;
  readonly #parts: GPUBuffer;
  /** All are 0. */
  readonly #noLimits: GPUBufferBinding;
  readonly #buffers: GPUBuffer[] = [];
  readonly #cache = new BindingCache<readonly Work[]>();
  readonly #limits: LatestGroups;

  constructor(device: GPUDevice, sections: readonly Section[], slots: ReadonlyMap<Tensor, number>, count: number) {
    this.#device = device;
    this.#limits = new LatestGroups(device);
    const kernels = Kernels.of(device);
    this.#squares = kernels.tool('squares', [partsSource, squaresSource]);
    this.#fold = kernels.tool('fold', [partsSource, foldSource]);

    const tensors = sections.flatMap((section) => section.tensors).filter((tensor) => slots.has(tensor));
    const { segments, shares, ranges, parts, folded: perSlot } = divide(tensors, slots, count, device.limits);
    this.#segments = segments;
    this.#shares = this.#upload('shares', shares);
    this.#parts = this.#allocate('parts', Math.max(parts, 1) * PART_BYTES);
    const folded = this.#allocate('folded', perSlot * count * PART_BYTES);
    this.sums = this.#allocate('sums', count * PART_BYTES);
    this.#noLimits = { buffer: this.#allocate('limits', count * FLOAT) };
    const rangesBuffer = this.#upload('ranges', ranges);
    const size = count * RANGE_BYTES;
    this.#folds = [
      this.#foldOf({ buffer: rangesBuffer, size }, this.#parts, folded),
      this.#foldOf({ buffer: rangesBuffer, offset: align(size), size }, folded, this.sums),
    ];
  }

  adjoining(first: Tensor, last: Tensor, memory: SectionMemory): readonly Work[] {
    const segments = this.#segments.get(first)!;
    if (segments.length > 1) return this.bound(first, memory.grad(first));
    const { from } = segments[0];
    const { to } = this.#segments.get(last)!.at(-1)!;
    return this.#cache.ofRange(from * elements(this.#shares.size) + to, () => {
      return this.#works(memory.grad(first), [{ at: 0, size: end(last) - begin(first), from, to }]);
    });
  }

  bound(tensor: Tensor, place: Place): readonly Work[] {
    return this.#cache.ofPlace(tensor, place, () => this.#works(place, this.#segments.get(tensor)!));
  }

  record(pass: GPUComputePassEncoder, works: readonly Work[], limits = this.#noLimits): void {
    const run = (pipeline: GPUComputePipeline, dispatches: readonly Bound[]): void => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(1, this.#limits.of(pipeline, pipeline, 1, [limits]));
      for (const { arrays, workgroups } of dispatches) {
        pass.setBindGroup(0, arrays);
        pass.dispatchWorkgroups(workgroups[0], workgroups[1]);
      }
    };
    run(this.#squares, works);
    run(this.#fold, this.#folds);
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }

  /** Makes the work over segments of the array that begins at a place. */
  #works({ buffer, offset }: Place, segments: readonly Segment[]): Work[] {
    return segments
      .filter(({ from, to }) => from < to)
      .map(({ at, size, from, to }) => {
        const shares = { buffer: this.#shares, offset: from * SHARE_BYTES, size: (to - from) * SHARE_BYTES };
        const values = { buffer, offset: offset + at, size };
        const ranges = [values, shares, { buffer: this.#parts }];
        return {
          values,
          shares,
          arrays: makeBindGroup(this.#device, this.#squares.getBindGroupLayout(0), ranges),
          workgroups: rowsOf(this.#device, to - from),
        };
      });
  }

  #foldOf(ranges: GPUBufferBinding, parts: GPUBuffer, sums: GPUBuffer): Bound {
    return {
      arrays: makeBindGroup(this.#device, this.#fold.getBindGroupLayout(0), [
        ranges,
        { buffer: parts },
        { buffer: sums },
      ]),
      workgroups: rowsOf(this.#device, Math.ceil(sums.size / PART_BYTES / WORKGROUP)),
    };
  }

  #upload(name: string, values: Uint32Array): GPUBuffer {
    const buffer = this.#allocate(name, values.byteLength);
    // Deno crashes if there is nothing to write.
    if (values.length > 0) this.#device.queue.writeBuffer(buffer, 0, values as Uint32Array<ArrayBuffer>);
    return buffer;
  }

  #allocate(name: string, bytes: number): GPUBuffer {
    const buffer = allocate(this.#device, name, bytes);
    this.#buffers.push(buffer);
    return buffer;
  }
}
