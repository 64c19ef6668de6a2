// The state of a gradient scaler on the GPU: the struct Scaler of wgsl/scaler.wgsl.

import { lossOf } from '../backends/backend.js';
import { allocate, COPY_DST, COPY_SRC, MAP_READ, READ, STORAGE, UNIFORM } from '../backends/webgpu/buffers.js';
import type { ScalerStateDict } from '../inputs/scaler-dict.js';

/** The size of `Scaler`, and the index of its last member, `skipped`, in words of 4 bytes. */
const BYTES = 44;
const SKIPPED = 10;

export class ScalerMemory {
  readonly device: GPUDevice;
  readonly buffer: GPUBuffer;
  /** The scale, for the caller's kernels. */
  readonly binding: GPUBufferBinding;

  constructor(device: GPUDevice, dict: ScalerStateDict) {
    const usage = STORAGE | UNIFORM | COPY_SRC | COPY_DST;
    this.device = device;
    this.buffer = allocate(device, 'scaler', BYTES, usage);
    this.binding = Object.freeze({ buffer: this.buffer, offset: 0, size: 4 });
    this.write(dict);
  }

  /** Writes all members except `skipped`, at this point of the queue. */
  write(dict: ScalerStateDict): void {
    const words = new Uint32Array(SKIPPED);
    new Float32Array(words.buffer)[0] = dict.scale;
    const [growth, backoff] = [wordsOf(dict.growth_factor), wordsOf(dict.backoff_factor)];
    words.set([dict._growth_tracker, 0, dict.growth_interval, ...growth, ...backoff], 1);
    this.device.queue.writeBuffer(this.buffer, 0, words);
  }

  /** Resolves to the state at this point of the queue. */
  async read(): Promise<{ scale: number; growthTracker: number; skipped: number }> {
    const { device, buffer } = this;
    const staging = allocate(device, 'staging', BYTES, MAP_READ | COPY_DST);
    try {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, BYTES);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(READ);
      const bytes = staging.getMappedRange().slice(0);
      const words = new Uint32Array(bytes);
      return { scale: new Float32Array(bytes)[0], growthTracker: words[1], skipped: words[SKIPPED] };
    } catch (error) {
      await this.checkAlive();
      throw error;
    } finally {
      staging.destroy();
    }
  }

  /** Rejects if the device was lost. */
  async checkAlive(): Promise<void> {
    const loss = await Promise.race([this.device.lost, undefined]);
    if (loss !== undefined) throw new Error(lossOf(loss));
  }
}

/** Returns the struct Factor of a number greater than 0: the 53 binary digits of an f64, high word first, and exponent. */
function wordsOf(factor: number): [high: number, low: number, exponent: number] {
  const [low, high] = new Uint32Array(new Float64Array([factor]).buffer);
  return [(high & 0xfffff) | 0x100000, low, (high >>> 20) - 1075];
}
