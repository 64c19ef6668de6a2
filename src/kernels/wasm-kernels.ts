// The WebAssembly kernels over the caller's own memory.

import { Unavailable, type WasmSource } from '../backends/backend.js';
import { bind, checkWasm, compile, compileFile, fileOf } from '../backends/cpu/module.js';
import * as rules from '../rules/table.js';
import { expect, expectArguments, expectOptions, ownOf } from '../errors.js';
import { kernels, type KernelName } from './table.js';

/**
 * Updates arrays in place. Arguments: the byte address of the block of scalars, those of the arrays in the order of
 * `kernels[name]`, and the length of each array in bytes. Updates 32 bytes at a time: the length is rounded up to a
 * multiple of 32, and every array, the gradient too, must be zero beyond the tensor's end; it stays zero there. Checks
 * nothing, not even the number of arguments. Addresses of arrays must be multiples of 4, for speed of 16.
 */
export type WasmKernel = (...addressesAndBytes: number[]) => void;

export type WasmKernels = Readonly<Record<KernelName, WasmKernel>>;

/** Gives the kernels of a file of assembly/, or of all. */
let bring = (_file: string): WasmSource => {
  throw new Unavailable('This build of twinstep has no WebAssembly; pass a WebAssembly.Module as the option wasm.');
};

/** Sets what gives the kernels when they are needed. */
export function provideKernelsNow(own: typeof bring): void {
  bring = own;
}

/**
 * The kernels of `dist/core.wasm` bound to `memory`, which is not shared; nothing is written to it, and it may grow.
 * Pass the module as `wasm` in runtimes that cannot load it. Throws if WebAssembly cannot run.
 */
export function wasmKernels(memory: WebAssembly.Memory, options: { wasm?: WasmSource } = {}): WasmKernels {
  expectArguments(arguments.length, 2, 'wasmKernels');
  expectOptions(options, 'wasmKernels', ['wasm']);
  const { wasm } = ownOf(options);
  const isMemory = Object.prototype.toString.call(memory) === '[object WebAssembly.Memory]';
  expect(isMemory, 'the memory', 'a WebAssembly.Memory', memory);
  expect(memory.buffer instanceof ArrayBuffer, 'the memory', 'one that is not shared', memory.buffer);
  checkWasm(wasm);
  const own = wasm && bind(compile(wasm), memory);
  const files = new Map<string, ReturnType<typeof bind>>();
  const ofFile = (file: string): ReturnType<typeof bind> => {
    if (!files.has(file)) files.set(file, bind(compileFile(file, bring(file)), memory));
    return files.get(file)!;
  };
  const names = Object.keys(kernels) as KernelName[];
  return Object.fromEntries(names.map((name) => [name, (own ?? ofFile(fileOf(rules[name])))(name)])) as WasmKernels;
}
