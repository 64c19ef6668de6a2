// Counts recorded calls on the CPU and on the GPU, so that a state dict never mixes two moments: encode() counts its step
// at once, but the caller may submit the commands later, or never.

import source from '../../../wgsl/submitted.wgsl';
import { FLOAT } from '../layout.js';
import type { Floats } from '../../platform.js';
import { allocate, makeBindGroup } from './buffers.js';
import { dispatch, Kernels } from './kernels.js';
import type { Source } from './readback.js';

/** What to read together with the state, and a check of what was read. */
export interface Check {
  readonly source: Source;
  /** Throws if the state that was read with `counts` is not that of the counters at the call. */
  run(counts: Floats): void;
}

export class Submissions {
  readonly #device: GPUDevice;
  /** The calls that ran since the state was replaced: those recorded since then, and those recorded before. */
  #counts: GPUBuffer | undefined;
  /** What is recorded now binds it. Becomes 1 when the state is replaced, so that its buffer then counts apart. */
  #isReplaced: GPUBuffer | undefined;
  #bindGroup: GPUBindGroup | undefined;
  /** The number of calls recorded since the state was replaced. */
  #recorded = 0;
  /** Whether the latest call has recorded a count. */
  #hasCount = false;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Records one count, at the end of what the call has recorded. Without a pass it has recorded nothing to count. */
  record(pass: GPUComputePassEncoder | undefined): void {
    this.#hasCount = pass !== undefined;
    if (pass === undefined) return;
    const pipeline = Kernels.of(this.#device).tool('submitted', [source]);
    if (this.#bindGroup === undefined) {
      this.#counts ??= allocate(this.#device, 'submitted', 2 * FLOAT);
      this.#isReplaced = allocate(this.#device, 'is replaced', FLOAT);
      const ranges = [{ buffer: this.#isReplaced }, { buffer: this.#counts }];
      this.#bindGroup = makeBindGroup(this.#device, pipeline.getBindGroupLayout(0), ranges);
    }
    dispatch(pass, pipeline, this.#bindGroup, [1, 1]);
  }

  /** Counts the latest call. */
  count(): void {
    if (this.#hasCount) this.#recorded += 1;
  }

  /** Returns a check of the calls recorded so far. Undefined if there were none: then there is nothing to read. */
  check(): Check | undefined {
    if (this.#counts === undefined) return undefined;
    const recorded = this.#recorded;
    const bytes = 2 * FLOAT;
    return {
      source: { name: 'the count of submitted calls', buffer: this.#counts, offset: 0, bytes },
      run(counts) {
        const [current, replaced] = new Uint32Array(counts.buffer, counts.byteOffset, 2);
        // The counts of the GPU are modulo 2^32.
        const missing = (recorded - current) | 0;
        if (missing > 0) {
          const what = `The encoders of recorded calls were not submitted (calls: ${missing})`;
          const how = 'submit them first; if one was dropped, load a state dict of all tensors';
          throw new Error(`${what}, but the counters include them: ${how}.`);
        }
        if (missing === 0 && replaced === 0) return;
        const when = 'recorded by a call that threw, or before a state dict was loaded';
        throw new Error(`Commands were submitted that were ${when}: load a state dict of all tensors.`);
      },
    };
  }

  /** Forgets all recorded calls: the state was replaced. Commands that are submitted later are noticed. */
  forget(): void {
    if (this.#counts === undefined) return;
    const { queue } = this.#device;
    queue.writeBuffer(this.#counts, 0, new Uint32Array(2));
    if (this.#isReplaced !== undefined) queue.writeBuffer(this.#isReplaced, 0, new Uint32Array([1]));
    // Not destroyed: the caller may still submit commands that use it.
    this.#isReplaced = this.#bindGroup = undefined;
    this.#recorded = 0;
  }

  destroy(): void {
    this.#counts?.destroy();
    this.#isReplaced?.destroy();
  }
}
