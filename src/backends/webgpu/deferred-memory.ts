// The GPU memory of deferred steps. The host writes inputs into it; everything else the GPU writes for itself.

import { ALIGNMENT } from '../layout.js';
import { allocate, COPY_DST, COPY_SRC, INDIRECT, makeBindGroup, STORAGE, UNIFORM } from './buffers.js';
import type { Packed } from './deferred-inputs.js';
import { Kernels } from './kernels.js';

/** The bytes of the struct State of wgsl/deferred.wgsl, of one of its tensors, and of the workgroups of a dispatch. */
export const STATE = 32;
export const TENSOR_STATE = 12;
export const COUNTS = 12;
/** The steps whose inputs fit into a page. */
const PAGE = 16;

/** How much of each the memory holds. */
interface Capacity {
  /** Bytes of inputs. */
  readonly inputs: number;
  readonly runs: number;
  readonly dispatches: number;
}

export class DeferredMemory {
  readonly #device: GPUDevice;
  readonly #capacity: Capacity;
  readonly inputs: GPUBuffer;
  /** The scalars of each run, at multiples of 256 bytes. */
  readonly scalars: GPUBuffer;
  readonly scalarsGroup: GPUBindGroup;
  /** The workgroups of each dispatch. */
  readonly counts: GPUBuffer;
  /** The inputs of steps that the caller submits. A page is never written twice; command buffers keep it alive. */
  #page: GPUBuffer | undefined;
  #end = 0;

  /** Holds at least what `packed` needs, and at least twice of what `before` holds if it was too small. */
  constructor(device: GPUDevice, needed: Capacity, before: DeferredMemory | undefined) {
    this.#device = device;
    const grown = (name: keyof Capacity): number => {
      const had = before === undefined ? 0 : before.#capacity[name];
      return needed[name] <= had ? had : Math.max(needed[name], 2 * had);
    };
    const capacity = { inputs: grown('inputs'), runs: grown('runs'), dispatches: grown('dispatches') };
    this.#capacity = capacity;
    this.inputs = allocate(device, 'inputs', capacity.inputs, STORAGE | COPY_DST);
    this.scalars = allocate(device, 'deferred scalars', capacity.runs * ALIGNMENT, STORAGE | UNIFORM);
    this.counts = allocate(device, 'workgroups', capacity.dispatches * COUNTS, STORAGE | INDIRECT);
    const ranges = [{ buffer: this.scalars, size: ALIGNMENT }];
    this.scalarsGroup = makeBindGroup(device, Kernels.of(device).scalarsLayout, ranges);
  }

  holds({ inputs, runs, dispatches }: Capacity): boolean {
    const most = this.#capacity;
    return inputs <= most.inputs && runs <= most.runs && dispatches <= most.dispatches;
  }

  /** Writes the inputs of a step, now or when the caller submits `encoder`. */
  upload({ bytes }: Packed, encoder: GPUCommandEncoder | undefined): void {
    const { queue } = this.#device;
    if (encoder === undefined) return queue.writeBuffer(this.inputs, 0, bytes);
    if (this.#page === undefined || this.#end + bytes.byteLength > this.#page.size) {
      this.#page = allocate(this.#device, 'pages', PAGE * this.#capacity.inputs, COPY_SRC | COPY_DST);
      this.#end = 0;
    }
    queue.writeBuffer(this.#page, this.#end, bytes);
    encoder.copyBufferToBuffer(this.#page, this.#end, this.inputs, 0, bytes.byteLength);
    this.#end += bytes.byteLength;
  }

  destroy(): void {
    for (const buffer of [this.inputs, this.scalars, this.counts, this.#page]) buffer?.destroy();
  }
}
