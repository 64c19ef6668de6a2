// Finds the byte range of a tensor in CPU or GPU memory.

import { ALIGNMENT, FLOAT } from '../layout.js';
import { locateArray, type Locate } from '../memory.js';
import { show, unexpected } from '../../errors.js';

// Checks properties: not every WebGPU implementation names the class GPUBuffer.
const isBuffer = (value: unknown): value is GPUBuffer =>
  typeof value === 'object' && value !== null && 'getMappedRange' in value && 'usage' in value;
const isBinding = (value: unknown): value is GPUBufferBinding =>
  typeof value === 'object' &&
  value !== null &&
  Object.hasOwn(value, 'buffer') &&
  isBuffer((value as { buffer: unknown }).buffer);

/** Returns the buffer of a GPUBuffer or a GPUBufferBinding; undefined for other values. */
export function bufferOf(value: unknown): GPUBuffer | undefined {
  if (isBuffer(value)) return value;
  return isBinding(value) ? value.buffer : undefined;
}

/**
 * Returns the byte range of `memory`. Throws an Error unless it is a Float32Array that has its memory, or a valid range
 * of a GPU buffer. Does not check whether the buffer can be used.
 */
export const locate: Locate = (memory, role, name) => {
  const whole = isBuffer(memory);
  if (!whole && !isBinding(memory)) return locateArray(memory, role, name);
  const buffer = whole ? memory : memory.buffer;
  const offset = (whole ? undefined : memory.offset) ?? 0;
  const size = (whole ? undefined : memory.size) ?? Math.max(buffer.size - offset, 0);
  const isValid = isSize(offset, ALIGNMENT) && isSize(size, FLOAT) && offset + size <= buffer.size;
  if (!isValid) throw whatIsWrong(buffer, offset, size, `${role} ${show(name)}`);
  return { kind: 'GPU', buffer, offset, bytes: size };
};

const isSize = (value: number, unit: number): boolean => Number.isInteger(value) && value >= 0 && value % unit === 0;

function whatIsWrong(buffer: GPUBuffer, offset: number, size: number, what: string): Error {
  if (!isSize(offset, ALIGNMENT))
    return unexpected(`the offset of ${what}`, `a multiple of ${ALIGNMENT} bytes`, offset);
  if (!isSize(size, FLOAT)) return unexpected(`the size of ${what}`, `a multiple of ${FLOAT} bytes`, size);
  const bytes = `bytes ${offset} to ${offset + size}`;
  return new RangeError(`Expected ${what} to lie inside its GPUBuffer of ${buffer.size} bytes, got ${bytes}.`);
}
