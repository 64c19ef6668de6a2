// Adds arrays on the GPU, and copies them.

import source from '../../../wgsl/accumulate.wgsl';
import { alignDown } from '../layout.js';
import { ownOf } from '../../errors.js';
import { makeBindGroup } from './buffers.js';
import { pieces } from './dispatches.js';
import { dispatch, Kernels, workgroups } from './kernels.js';
import type { Place } from './section-memory.js';

/** An array to add to a sum. */
export interface Sum {
  readonly sum: Place;
  readonly term: Place;
  readonly bytes: number;
}

export function addAll(device: GPUDevice, encoder: GPUCommandEncoder, sums: readonly Sum[]): void {
  if (sums.length === 0) return;
  const pass = encoder.beginComputePass(ownOf({ label: 'twinstep accumulate' }));
  for (const { sum, term, bytes } of sums) {
    for (const { variant, at, size } of pieces(bytes, alignDown(device.limits.maxStorageBufferBindingSize))) {
      const pipeline = Kernels.of(device).tool('accumulate', [source], variant);
      const ranges = [sum, term].map(({ buffer, offset }) => ({ buffer, offset: offset + at, size }));
      const arrays = makeBindGroup(device, pipeline.getBindGroupLayout(0), ranges);
      dispatch(pass, pipeline, arrays, workgroups(device, variant, size));
    }
  }
  pass.end();
}

/** Writes the term of each sum in its place, also within one buffer, where WebGPU refuses copies. */
export function copyAll(device: GPUDevice, encoder: GPUCommandEncoder, copies: readonly Sum[]): void {
  const within = copies.filter(({ sum, term }) => sum.buffer === term.buffer);
  for (const copy of copies) {
    const { sum, term, bytes } = copy;
    if (sum.buffer === term.buffer) encoder.clearBuffer(sum.buffer, sum.offset, bytes);
    else encoder.copyBufferToBuffer(term.buffer, term.offset, sum.buffer, sum.offset, bytes);
  }
  addAll(device, encoder, within);
}
