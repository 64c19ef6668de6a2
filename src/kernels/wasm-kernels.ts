// The WebAssembly kernels over the caller's own memory.

import type { WasmSource } from '../backends/backend.js';
import { bind, checkWasm, getCore } from '../backends/cpu/module.js';
import { expect, expectArguments, expectOptions, ownOf } from '../errors.js';
import { kernels, type KernelName } from './table.js';

/**
 * One update, in place: the byte address of the block of scalars, those of the arrays in the order of `kernels[name]`,
 * and the bytes of each array. 32 bytes are updated at a time: a length that is no multiple of 32 is rounded up, and what
 * is beyond a tensor's end in any array, the gradient's included, is to be zero, and stays zero. Nothing is checked, not
 * even the number of arguments. Addresses of arrays are multiples of 4, and of 16 for speed.
 */
export type WasmKernel = (...addressesAndBytes: number[]) => void;

export type WasmKernels = Readonly<Record<KernelName, WasmKernel>>;

/**
 * The kernels of `dist/core.wasm` bound to `memory`, which is not shared; nothing is written to it, and it may grow.
 * `wasm` is for runtimes that are to be given the module by hand. Throws where WebAssembly cannot run.
 */
export function wasmKernels(memory: WebAssembly.Memory, options: { wasm?: WasmSource } = {}): WasmKernels {
  expectArguments(arguments.length, 2, 'wasmKernels');
  expectOptions(options, 'wasmKernels', ['wasm']);
  const { wasm } = ownOf(options);
  const isMemory = Object.prototype.toString.call(memory) === '[object WebAssembly.Memory]';
  expect(isMemory, 'the memory', 'a WebAssembly.Memory', memory);
  expect(memory.buffer instanceof ArrayBuffer, 'the memory', 'one that is not shared', memory.buffer);
  checkWasm(wasm);
  const kernel = bind(getCore(wasm), memory);
  return Object.fromEntries(Object.keys(kernels).map((name) => [name, kernel(name)])) as WasmKernels;
}
