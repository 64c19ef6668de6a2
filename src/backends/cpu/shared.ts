// The import of shared memory, which is all that differs in kernels for threads.

import type { Bytes } from '../../platform.js';

/**
 * Changes the import of the memory to shared memory. Bytes that do not import memory as core.wasm does stay as they
 * are.
 */
export function importSharedMemory(bytes: Bytes): Bytes {
  const encoder = new TextEncoder();
  const names = [3, ...encoder.encode('env'), 6, ...encoder.encode('memory')];
  // Sections of one import each: a memory (2) of at least 0 pages, or a shared one (3) of 0 to 65536 pages.
  const unshared = [2, 15, 1, ...names, 2, 0, 0];
  const shared = [2, 18, 1, ...names, 2, 3, 0, 0x80, 0x80, 4];
  const at = bytes.findIndex((_, i) => unshared.every((byte, k) => bytes[i + k] === byte));
  if (at < 0) return bytes;
  return Uint8Array.from([...bytes.subarray(0, at), ...shared, ...bytes.subarray(at + unshared.length)]);
}
