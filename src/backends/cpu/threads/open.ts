// WebAssembly on several threads. They run the same kernels on shared memory, so the bits are the same.

import { Unavailable, type Request } from '../../backend.js';
import { modulesOf } from '../module.js';
import type { Machine } from '../machine.js';
import { importSharedMemory } from '../shared.js';
import { overMemories } from '../wasm.js';
import { ThreadPool } from './pool.js';

/** Starts the threads. Rejects with Unavailable if they cannot start or the caller's module is for unshared memory. */
export async function openThreads({ threads, wasm }: Request): Promise<Machine> {
  const modules = modulesOf(wasm, importSharedMemory);
  if (!modules.shared) {
    throw new Unavailable(
      'wasm is compiled for memory that is not shared; pass its bytes, or what enableWideSimd returns for threads',
    );
  }
  const pool = await ThreadPool.start(threads);
  return {
    threads,
    load: modules.load,
    open: overMemories(modules, (...call) => pool.share(...call)),
    drop: (buffer) => pool.drop(buffer),
    close: () => pool.end(),
  };
}
