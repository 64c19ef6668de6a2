// Adds gradients on the GPU.

import source from '../../../wgsl/accumulate.wgsl';
import { alignDown } from '../layout.js';
import { ownOf } from '../../errors.js';
import { makeBindGroup } from './buffers.js';
import { pieces } from './dispatches.js';
import { dispatch, Kernels, workgroups } from './kernels.js';
import type { Place } from './section-memory.js';

/** A gradient to add to the sum of the earlier ones. */
export interface Sum {
  readonly sum: Place;
  readonly grad: Place;
  readonly bytes: number;
}

export function addAll(device: GPUDevice, encoder: GPUCommandEncoder, sums: readonly Sum[]): void {
  const pass = encoder.beginComputePass(ownOf({ label: 'twinstep accumulate' }));
  for (const { sum, grad, bytes } of sums) {
    for (const { variant, at, size } of pieces(bytes, alignDown(device.limits.maxStorageBufferBindingSize))) {
      const pipeline = Kernels.of(device).tool('accumulate', [source], variant);
      const ranges = [sum, grad].map(({ buffer, offset }) => ({ buffer, offset: offset + at, size }));
      const arrays = makeBindGroup(device, pipeline.getBindGroupLayout(0), ranges);
      dispatch(pass, pipeline, arrays, workgroups(device, variant, size));
    }
  }
  pass.end();
}
