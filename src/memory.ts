// Telling apart the memory that callers hand over, and where in it a tensor lies.

import { ALIGNMENT, FLOAT } from './layout.js';
import { classOf, expect, list, show } from './sentences.js';

/** GPU memory as a caller names it: a buffer, or a part of one. */
export type GpuMemory = GPUBuffer | GPUBufferBinding;

/** A stretch of bytes in an ArrayBuffer or GPUBuffer. */
export interface Stretch {
  readonly kind: 'cpu' | 'gpu';
  readonly buffer: object;
  readonly offset: number;
  readonly bytes: number;
}

// Classes are told by name, since instanceof fails for objects of another realm or WebGPU implementation.
const isBuffer = (value: unknown): value is GPUBuffer => classOf(value) === 'GPUBuffer';
const isBinding = (value: unknown): value is GPUBufferBinding =>
  typeof value === 'object' && value !== null && 'buffer' in value && isBuffer(value.buffer);

export const isFloat32Array = (value: unknown): value is Float32Array =>
  value instanceof Float32Array || classOf(value) === 'Float32Array';
export const isGpuMemory = (value: unknown): value is GpuMemory => isBuffer(value) || isBinding(value);

/** Where `memory` lies. Throws a sentence about `role` and `name` for anything but a sound array or GPU buffer. */
export function locate(memory: unknown, role: 'parameter' | 'gradient', name: string): Stretch {
  if (isFloat32Array(memory)) {
    return { kind: 'cpu', buffer: memory.buffer, offset: memory.byteOffset, bytes: memory.byteLength };
  }
  const what = `${role} ${show(name)}`;
  expect(isGpuMemory(memory), what, 'a Float32Array, a GPUBuffer or a GPUBufferBinding', memory);
  const { buffer, offset = 0, size = buffer.size - offset } = isBuffer(memory) ? { buffer: memory } : memory;
  expect(
    isSize(offset) && offset % ALIGNMENT === 0,
    `the offset of ${what}`,
    `a multiple of ${ALIGNMENT} bytes`,
    offset,
  );
  expect(isSize(size) && size % FLOAT === 0, `the size of ${what}`, `a multiple of ${FLOAT} bytes`, size);
  if (offset + size > buffer.size) {
    const bytes = `bytes ${offset} to ${offset + size}`;
    throw new RangeError(`Expected ${what} to lie inside its GPUBuffer of ${buffer.size} bytes, got ${bytes}.`);
  }
  if ((buffer.usage & STORAGE) === 0) {
    throw new TypeError(`Expected the GPUBuffer of ${what} to have STORAGE usage, got usage ${buffer.usage}.`);
  }
  expect(buffer.mapState === 'unmapped', `the GPUBuffer of ${what}`, 'unmapped', buffer.mapState);
  return { kind: 'gpu', buffer, offset, bytes: size };
}

// GPUBufferUsage.STORAGE: the specification's number, since the global is missing where WebGPU is.
const STORAGE = 0x80;

const isSize = (value: number): boolean => Number.isInteger(value) && value >= 0;

export const overlap = (a: Stretch, b: Stretch): boolean =>
  a.buffer === b.buffer && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

/** Throws unless the named stretches are all of one kind and no two of them share a byte. */
export function checkSeparate(stretches: ReadonlyMap<string, Stretch>): void {
  const entries = [...stretches].filter(([, { bytes }]) => bytes > 0);
  const byBuffer = new Map<object, typeof entries>();
  for (const entry of entries) {
    const { buffer, kind } = entry[1];
    const other = entries[0];
    if (kind !== other[1].kind) {
      throw new TypeError(
        `Expected all parameters in one kind of memory, got ${show(other[0])} on the ${other[1].kind.toUpperCase()} ` +
          `and ${show(entry[0])} on the ${kind.toUpperCase()}.`,
      );
    }
    const neighbours = byBuffer.get(buffer);
    if (neighbours === undefined) byBuffer.set(buffer, [entry]);
    else neighbours.push(entry);
  }
  for (const neighbours of byBuffer.values()) {
    neighbours.sort((a, b) => a[1].offset - b[1].offset);
    for (let i = 1; i < neighbours.length; i++) {
      const pair = neighbours.slice(i - 1, i + 1);
      if (overlap(pair[0][1], pair[1][1])) {
        throw new TypeError(
          `Expected every parameter in memory of its own, but ${list(pair.map(([name]) => name))} overlap.`,
        );
      }
    }
  }
}
