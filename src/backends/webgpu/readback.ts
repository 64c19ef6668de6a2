// Reads arrays back to the CPU, in one submit.

import { elements } from '../layout.js';
import { checkUsage, COPY_DST, MAP_READ, READ } from './buffers.js';
import type { Floats } from '../../platform.js';
import { ownOf, show } from '../../errors.js';
import { inErrorScopes } from './device.js';
import type { Place } from './section-memory.js';

/** An array to read, and the name of its tensor. */
export interface Source extends Place {
  readonly name: string;
  readonly bytes: number;
}

/** A staging buffer, and where each source goes in it. */
interface Staging {
  bytes: number;
  readonly parts: { readonly source: Source; readonly index: number; readonly at: number }[];
}

/** Resolves to copies of arrays at this point of the queue. */
export async function readBack(device: GPUDevice, sources: readonly Source[]): Promise<Floats[]> {
  for (const { buffer, name } of sources) checkUsage(buffer, 'COPY_SRC', `Reading ${show(name)}`);
  const stagings = stage(sources, device.limits.maxBufferSize);
  const buffers: GPUBuffer[] = [];
  try {
    const message = await inErrorScopes(device, () => {
      const encoder = device.createCommandEncoder();
      for (const { bytes, parts } of stagings) {
        const buffer = device.createBuffer(ownOf({ size: bytes, usage: MAP_READ | COPY_DST }));
        buffers.push(buffer);
        for (const { source, at } of parts) {
          encoder.copyBufferToBuffer(source.buffer, source.offset, buffer, at, source.bytes);
        }
      }
      device.queue.submit([encoder.finish()]);
    });
    if (message !== undefined) throw new Error(`The GPU device cannot read ${show(sources[0].name)}: ${message}`);
    await Promise.all(buffers.map((buffer) => buffer.mapAsync(READ)));
    const read = sources.map(() => new Float32Array(0));
    for (const [s, { parts }] of stagings.entries()) {
      const mapped = new Float32Array(buffers[s].getMappedRange());
      for (const { source, index, at } of parts) {
        read[index] = mapped.slice(elements(at), elements(at + source.bytes));
      }
    }
    return read;
  } finally {
    for (const buffer of buffers) buffer.destroy();
  }
}

/** Assigns the sources to as few staging buffers as possible, each of at most `most` bytes. Skips empty ones. */
function stage(sources: readonly Source[], most: number): Staging[] {
  const stagings: Staging[] = [];
  for (const [index, source] of sources.entries()) {
    if (source.bytes === 0) continue;
    let staging = stagings.at(-1);
    if (staging === undefined || staging.bytes + source.bytes > most) {
      stagings.push((staging = { bytes: 0, parts: [] }));
    }
    staging.parts.push({ source, index, at: staging.bytes });
    staging.bytes += source.bytes;
  }
  return stagings;
}
