// The scalars on the GPU: blocks in a uniform buffer, bound at a dynamic offset.

import { ALIGNMENT, elements } from '../layout.js';
import { COPY_DST, UNIFORM } from '../memory.js';

/**
 * Blocks of scalars, one per run. Those of `step()` are rewound each time, since the queue keeps its order. A step that
 * was encoded waits for a submit of the caller's that may come at any time, so its block is never written again: a full
 * page is left to its command buffers, and a new one begun.
 */
export class Uniforms {
  readonly #device: GPUDevice;
  readonly #layout: GPUBindGroupLayout;
  readonly #isReused: boolean;
  #staging = new Float32Array(0);
  #page: { readonly buffer: GPUBuffer; readonly bindGroup: GPUBindGroup } | undefined;
  #written = 0;
  #end = 0;

  /** `isReused`: the one page is rewound for each step, so that no command buffer of the caller's uses it. */
  constructor(device: GPUDevice, layout: GPUBindGroupLayout, isReused: boolean) {
    this.#isReused = isReused;
    this.#device = device;
    this.#layout = layout;
  }

  /** Makes pages hold at least `blocks`. If they have to grow, they at least double, since more may follow. */
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

  /** Takes a block for the scalars. They reach the GPU at the next `flush`. */
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
    const buffer = this.#device.createBuffer({
      label: 'twinstep scalars',
      size: this.#staging.byteLength,
      usage: UNIFORM | COPY_DST,
    });
    const resource = { buffer, size: ALIGNMENT };
    const bindGroup = this.#device.createBindGroup({ layout: this.#layout, entries: [{ binding: 0, resource }] });
    return { buffer, bindGroup };
  }
}
