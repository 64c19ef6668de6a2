// WebAssembly on several threads: the same kernels over memory that they share, and so the same bits.

import { Unavailable, type Request } from '../../backend.js';
import { modulesOf } from '../module.js';
import type { Machine } from '../cpu.js';
import { overMemories } from '../wasm.js';
import { Team } from './team.js';

export async function openThreads({ threads, wasm }: Request): Promise<Machine> {
  const modules = modulesOf(wasm, importSharedMemory);
  const team = await Team.start(threads);
  return {
    threads,
    load: modules.load,
    open: overMemories(modules, true, (...call) => team.share(...call)),
    drop: (buffer) => team.drop(buffer),
    close: () => team.end(),
  };
}

const encoder = new TextEncoder();
/** `import "env" "memory"`, of a memory that has at least 0 pages, or is shared and has 0 to 65536. */
const IMPORT = [1, 3, ...encoder.encode('env'), 6, ...encoder.encode('memory'), 2];
const ALONE = [2, IMPORT.length + 2, ...IMPORT, 0, 0];
const SHARED = [2, IMPORT.length + 5, ...IMPORT, 3, 0, 0x80, 0x80, 4];

/** A module says which kind of memory it imports. The kernels are the same for both, and so only that is changed. */
function importSharedMemory(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const at = bytes.findIndex((_, i) => ALONE.every((byte, k) => bytes[i + k] === byte));
  if (at < 0) throw new Unavailable("the module does not import its memory as the package's core.wasm does");
  return Uint8Array.from([...bytes.subarray(0, at), ...SHARED, ...bytes.subarray(at + ALONE.length)]);
}
