// L2 norms on the GPU: kernels compute partial sums, which are read back and added in f64.

import shader from '../../../wgsl/norm.wgsl';
import { align, alignDown, elements, FLOAT } from '../layout.js';
import { ownOf } from '../../errors.js';
import { makeBindGroup, COPY_SRC, STORAGE } from './buffers.js';
import { inErrorScopes } from './device.js';
import { Kernels } from './kernels.js';
import { readBack, type Source } from './readback.js';
import { WORKGROUP } from './shaders.js';

/** The most invocations per array: enough to keep a GPU busy, few enough to read back a result of each. */
const MOST_PARTS = 256 * WORKGROUP;
/** The fewest elements per invocation, for arrays that need less than `MOST_PARTS`. */
const LEAST_SHARE = 64;
const PART_BYTES = 2 * FLOAT;

/** Resolves to the norms of arrays at this point of the queue. Numbers are norms already known. */
export async function normsOf(device: GPUDevice, given: readonly (Source | number)[]): Promise<number[]> {
  const sources = given.filter((source) => typeof source !== 'number');
  const limit = alignDown(device.limits.maxStorageBufferBindingSize);
  let end = 0;
  const pieces = sources.flatMap((source, index) =>
    Array.from({ length: Math.ceil(source.bytes / limit) }, (_, k) => {
      const at = k * limit;
      const size = Math.min(limit, source.bytes - at);
      const bytes = PART_BYTES * Math.min(MOST_PARTS, Math.ceil(elements(size) / LEAST_SHARE));
      const offset = end;
      end += align(bytes);
      return { index, values: { buffer: source.buffer, offset: source.offset + at, size }, offset, bytes };
    }),
  );
  const squares = sources.map(() => 0);
  const norms = (): number[] => {
    const ofSources = squares.map(Math.sqrt).values();
    return given.map((source) => (typeof source === 'number' ? source : ofSources.next().value!));
  };
  if (pieces.length === 0) return norms();

  let parts: GPUBuffer | undefined;
  try {
    const report = inErrorScopes(device, () => {
      const pipeline = Kernels.of(device).tool('norm', shader, 'scalar');
      const layout = pipeline.getBindGroupLayout(0);
      const usage = STORAGE | COPY_SRC;
      const buffer = (parts = device.createBuffer(ownOf({ label: 'twinstep norms', size: end, usage })));
      const encoder = device.createCommandEncoder(ownOf({ label: 'twinstep norms' }));
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      for (const { values, offset, bytes } of pieces) {
        pass.setBindGroup(0, makeBindGroup(device, layout, [values, { buffer, offset, size: bytes }]));
        pass.dispatchWorkgroups(Math.ceil(bytes / PART_BYTES / WORKGROUP));
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
    });
    const read = readBack(
      device,
      pieces.map(({ index, offset, bytes }) => ({ name: sources[index].name, buffer: parts!, offset, bytes })),
    );
    const [message, values] = await Promise.all([report, read]);
    if (message !== undefined) throw new Error(`The GPU device cannot compute the norms: ${message}`);
    for (const [p, { index }] of pieces.entries()) squares[index] += squaresOf(values[p]);
    return norms();
  } finally {
    parts?.destroy();
  }
}

/** Returns the sum of squares. Each pair is a largest magnitude, and a sum of squares relative to it. */
function squaresOf(parts: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < parts.length; i += 2) sum += parts[i] * parts[i] * parts[i + 1];
  return sum;
}
