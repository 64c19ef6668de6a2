// L2 norms on the GPU: the sums of squares of a reduction, which are read back.

import type { ArrayOf } from '../backend.js';
import { readStaged } from './readback.js';
import type { Reduction } from './reduction.js';
import type { Place } from './section-memory.js';
import { PART_BYTES } from './shares.js';

/** Resolves to the norms of arrays at this point of the queue. Numbers are norms already known. */
export async function normsOf(
  device: GPUDevice,
  reduction: Reduction,
  given: readonly ((ArrayOf & Place) | number)[],
): Promise<number[]> {
  const sources = given.filter((source) => typeof source !== 'number');
  if (sources.length === 0) return given as number[];
  const names = [...new Set(sources.map(({ array }) => array))];
  const bytes = reduction.slots * PART_BYTES;
  // Where the sum of each source is read: tensors may be removed meanwhile.
  const at = sources.map(({ tensor, array }) => names.indexOf(array) * bytes + reduction.slotOf(tensor) * PART_BYTES);
  return readStaged(
    device,
    'compute the norms',
    [names.length * bytes],
    (encoder, [staging]) => {
      for (const [i, name] of names.entries()) {
        const pass = encoder.beginComputePass();
        const ofName = sources.filter(({ array }) => array === name);
        const works = ofName.flatMap((source) => reduction.bound(source.tensor, source));
        reduction.record(pass, works);
        pass.end();
        encoder.copyBufferToBuffer(reduction.sums, 0, staging, i * bytes, bytes);
      }
    },
    ([contents]) => {
      const sums = new DataView(contents);
      const norms = at.map((byte) => normAt(sums, byte)).values();
      return given.map((source) => (typeof source === 'number' ? source : norms.next().value!));
    },
  );
}

/** Returns the norm whose square is a `Part` of wgsl/parts.wgsl. */
function normAt(sums: DataView, at: number): number {
  const largest = sums.getFloat32(at, true);
  if (!Number.isFinite(largest)) return largest;
  const exponent = Math.max(1, sums.getUint32(at, true) >> 23);
  return 2 ** (exponent - 127) * Math.sqrt(sums.getFloat32(at + 4, true));
}
