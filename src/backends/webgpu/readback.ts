// Reads arrays back to the CPU, in one submit.

import { elements } from '../layout.js';
import { allocate, checkUsage, COPY_DST, MAP_READ, READ } from './buffers.js';
import type { Floats } from '../../platform.js';
import { show } from '../../errors.js';
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

/**
 * Calls `record` with an encoder and buffers of these sizes, submits it, and resolves to what `read` returns for the
 * contents of the buffers. `what` names the work in an error.
 */
export async function readStaged<Read>(
  device: GPUDevice,
  what: string,
  sizes: readonly number[],
  record: (encoder: GPUCommandEncoder, to: readonly GPUBuffer[]) => void,
  read: (contents: readonly ArrayBuffer[]) => Read,
): Promise<Read> {
  const buffers: GPUBuffer[] = [];
  try {
    const message = await inErrorScopes(device, () => {
      for (const size of sizes) buffers.push(allocate(device, 'staging', size, MAP_READ | COPY_DST));
      const encoder = device.createCommandEncoder();
      record(encoder, buffers);
      device.queue.submit([encoder.finish()]);
    });
    if (message !== undefined) throw new Error(`The GPU device cannot ${what}: ${message}`);
    await Promise.all(buffers.map((buffer) => buffer.mapAsync(READ)));
    return read(buffers.map((buffer) => buffer.getMappedRange()));
  } finally {
    for (const buffer of buffers) buffer.destroy();
  }
}

/** Resolves to copies of arrays at this point of the queue. */
export async function readBack(device: GPUDevice, sources: readonly Source[]): Promise<Floats[]> {
  for (const { buffer, name } of sources) checkUsage(buffer, 'COPY_SRC', `Reading ${show(name)}`);
  const stagings = stage(sources, device.limits.maxBufferSize);
  return readStaged(
    device,
    `read ${show(sources[0]?.name)}`,
    stagings.map(({ bytes }) => bytes),
    (encoder, to) => {
      for (const [s, { parts }] of stagings.entries()) {
        for (const { source, at } of parts) {
          encoder.copyBufferToBuffer(source.buffer, source.offset, to[s], at, source.bytes);
        }
      }
    },
    (contents) => {
      const read = sources.map(() => new Float32Array(0));
      for (const [s, { parts }] of stagings.entries()) {
        const floats = new Float32Array(contents[s]);
        for (const { source, index, at } of parts) {
          read[index] = floats.slice(elements(at), elements(at + source.bytes));
        }
      }
      return read;
    },
  );
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
