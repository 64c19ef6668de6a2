// Byte ranges in CPU or GPU memory, and checks of the caller's memory.

import { list, show, unexpected } from '../errors.js';
// For its global types.
import '../platform.js';

/** GPU memory of the caller: a buffer, or a part of one. */
export type GpuMemory = GPUBuffer | GPUBufferBinding;

/** A range of bytes in an ArrayBuffer or GPUBuffer. */
export interface ByteRange {
  readonly kind: 'CPU' | 'GPU';
  readonly buffer: object;
  readonly offset: number;
  readonly bytes: number;
}

// Reads the internal tag: `instanceof` fails for objects of another realm, and accepts a Proxy.
const typedArrayTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;
export const isFloat32Array = (value: unknown): value is Float32Array => typedArrayTag.call(value) === 'Float32Array';

/** Returns the error for an array whose buffer was transferred (to a Worker, say) or has shrunk. */
export const gone = (what: string): TypeError =>
  new TypeError(`Expected ${what} to have its memory, got a buffer that was transferred or has shrunk.`);

export function checkThere(array: Float32Array, role: string, name: string): void {
  if (!isThere(array)) throw gone(`${role} ${show(name)}`);
}

/** Throws if the caller has transferred or resized the array of a parameter since it was located. */
export function checkUnchanged(array: Float32Array, name: string, length: number): void {
  checkThere(array, 'parameter', name);
  if (array.length === length) return;
  throw new RangeError(`Expected parameter ${show(name)} to keep its ${length} values, got ${array.length}.`);
}

/** Returns whether an array has its memory. Without memory its length is 0, and it cannot be copied. */
export function isThere(array: Float32Array | Uint8Array): boolean {
  try {
    if (array.length === 0) void new Uint8Array(array);
    return true;
  } catch {
    return false;
  }
}

/** What the caller's memory is for. */
export type Role = 'parameter' | 'gradient' | 'destination' | 'option';

/** Returns the byte range of `memory`. Throws an Error about `role` and `name` if it is not memory. */
export type Locate = (memory: unknown, role: Role, name: string) => ByteRange;

/**
 * Returns a `Locate` for Float32Arrays. It throws for everything else, and for an array that has lost its memory.
 * `wanted`: what the error message asks for.
 */
export const arrayLocator =
  (wanted: string): Locate =>
  (memory, role, name) => {
    if (!isFloat32Array(memory)) throw unexpected(`${role} ${show(name)}`, wanted, memory);
    checkThere(memory, role, name);
    return { kind: 'CPU', buffer: memory.buffer, offset: memory.byteOffset, bytes: memory.byteLength };
  };

export const locateArray = /* @__PURE__ */ arrayLocator('a Float32Array, a GPUBuffer or a GPUBufferBinding');

const overlap = (a: ByteRange, b: ByteRange): boolean =>
  a.buffer === b.buffer && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;

const overlapping = (...names: string[]): TypeError =>
  new TypeError(`Expected every parameter in memory of its own, but ${list(names)} overlap.`);

/** The tensors that an optimizer already has. */
export interface Located {
  /** The name of one of them, and the kind of memory that all of them came from. */
  readonly one: readonly [name: string, kind: ByteRange['kind']] | undefined;
  /** Returns the name of a tensor that overlaps these bytes, if any. */
  at(range: ByteRange): string | undefined;
  /** Returns whether the optimizer allocated the buffer of these bytes itself. */
  owns(range: ByteRange): boolean;
}

/** Throws if the ranges, or those of `existing`, are in more than one kind of memory, or if two of them overlap. */
export function checkSeparate(ranges: ReadonlyMap<string, ByteRange>, existing: Located): void {
  const entries = [...ranges];
  if (entries.length === 0) return;
  const [other, otherKind] = existing.one ?? [entries[0][0], entries[0][1].kind];
  const byBuffer = new Map<object, typeof entries>();
  for (const entry of entries) {
    const [name, range] = entry;
    const { buffer, kind, bytes } = range;
    if (kind !== otherKind) {
      const both = `${show(other)} on the ${otherKind} and ${show(name)} on the ${kind}`;
      throw new TypeError(`Expected all parameters in one kind of memory, got ${both}.`);
    }
    if (bytes === 0) continue;
    const under = existing.at(range);
    if (under !== undefined) throw overlapping(under, name);
    if (existing.owns(range)) {
      throw new TypeError(
        `Expected parameter ${show(name)} in a buffer of yours, got one that the optimizer allocated.`,
      );
    }
    const neighbours = byBuffer.get(buffer);
    if (neighbours === undefined) byBuffer.set(buffer, [entry]);
    else neighbours.push(entry);
  }
  for (const neighbours of byBuffer.values()) {
    neighbours.sort((a, b) => a[1].offset - b[1].offset);
    for (let i = 1; i < neighbours.length; i++) {
      const [[a, before], [b, after]] = neighbours.slice(i - 1, i + 1);
      if (overlap(before, after)) throw overlapping(a, b);
    }
  }
}
