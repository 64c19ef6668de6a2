// Scalars on the GPU: blocks of a uniform buffer, bound at a dynamic offset.

import { ALIGNMENT, elements } from '../layout.js';
import { allocate, makeBindGroup, COPY_DST, UNIFORM } from './buffers.js';

/**
 * Blocks of scalars, one per run. `step()` reuses its blocks, since the queue executes in order. The caller may submit
 * an encoded step at any time, so `encode()` never writes a block twice: if the page is full, it starts a new one, and
 * the command buffers keep the old one alive.
 */
export class Uniforms {
  readonly #device: GPUDevice;
  readonly #layout: GPUBindGroupLayout;
  readonly #isReused: boolean;
  #staging = new Float32Array(0);
  #page: { readonly buffer: GPUBuffer; readonly bindGroup: GPUBindGroup } | undefined;
  #written = 0;
  #end = 0;

  /** `isReused`: each step rewinds the same page; no command buffer of the caller may use it. */
  constructor(device: GPUDevice, layout: GPUBindGroupLayout, isReused: boolean) {
    this.#isReused = isReused;
    this.#device = device;
    this.#layout = layout;
  }

  /** Makes pages hold at least `blocks`. Growing at least doubles them. */
  reserve(blocks: number): void {
    const before = this.#staging.byteLength / ALIGNMENT;
    if (blocks <= before) return;
    if (this.#isReused) this.#page?.buffer.destroy();
    this.#staging = new Float32Array(elements(Math.max(blocks, 2 * before) * ALIGNMENT));
    this.#page = undefined;
    this.rewind();
  }

  rewind(): void {
    this.#written = this.#end = 0;
  }

  /** Copies the scalars into a new block. `flush` uploads it. */
  put(scalars: Float32Array): { bindGroup: GPUBindGroup; offset: number } {
    if (this.#end === this.#staging.byteLength) {
      this.flush();
      this.#page = undefined;
      this.rewind();
    }
    const { bindGroup } = (this.#page ??= this.#newPage());
    const offset = this.#end;
    this.#staging.set(scalars, elements(offset));
    this.#end += ALIGNMENT;
    return { bindGroup, offset };
  }

  flush(): void {
    if (this.#page === undefined || this.#written === this.#end) return;
    const [first, count] = [elements(this.#written), elements(this.#end - this.#written)];
    this.#device.queue.writeBuffer(this.#page.buffer, this.#written, this.#staging, first, count);
    this.#written = this.#end;
  }

  destroy(): void {
    this.#page?.buffer.destroy();
  }

  #newPage() {
    const buffer = allocate(this.#device, 'scalars', this.#staging.byteLength, UNIFORM | COPY_DST);
    return { buffer, bindGroup: makeBindGroup(this.#device, this.#layout, [{ buffer, size: ALIGNMENT }]) };
  }
}
