// The WebAssembly kernels over the caller's own memory.

import { bind, getCore, isWasmSource, type WasmSource } from '../backends/core.js';
import { expect } from '../sentences.js';
import { kernels, type KernelName } from './table.js';

/**
 * One update, in place: the byte address of the block of scalars, those of the arrays in the order of `kernels[name]`,
 * and the bytes of each array, a multiple of 32; what is beyond a tensor's end is to be zero, and stays zero. Addresses
 * are checked by nobody; those of arrays are multiples of 4, and of 16 for speed. It returns nothing and allocates
 * nothing.
 */
export type WasmKernel = (scalars: number, param: number, ...arraysAndBytes: number[]) => void;

export type WasmKernels = Readonly<Record<KernelName, WasmKernel>>;

/**
 * The kernels of `dist/core.wasm` bound to `memory`, which is not shared; nothing is written to it, and it may grow.
 * `wasm` is for runtimes that are to be given the module by hand. Throws where WebAssembly cannot run.
 */
export function wasmKernels(memory: WebAssembly.Memory, { wasm }: { wasm?: WasmSource } = {}): WasmKernels {
  const isMemory = Object.prototype.toString.call(memory) === '[object WebAssembly.Memory]';
  expect(isMemory, 'the memory', 'a WebAssembly.Memory', memory);
  expect(memory.buffer instanceof ArrayBuffer, 'the memory', 'one that is not shared', memory.buffer);
  expect(wasm === undefined || isWasmSource(wasm), 'wasm', 'a WebAssembly.Module, or the bytes of one', wasm);
  const kernel = bind(getCore(wasm), memory);
  return Object.fromEntries(Object.keys(kernels).map((name) => [name, kernel(name)])) as WasmKernels;
}
