// The WebAssembly kernels on the caller's memory.

import { Unavailable, type WasmSource } from '../backends/backend.js';
import { bind, checkWasm, compile, compileKernel } from '../backends/cpu/module.js';
import { expect, expectArguments, expectOptions, ownOf, tagOf } from '../errors.js';
import { kernels, type KernelName } from './table.js';

/**
 * Updates arrays in place. Arguments: the byte address of the block of scalars, the byte addresses of the arrays in the
 * order of `kernels[name]`, and the length of each array in bytes. Updates 32 bytes at a time: the length is rounded up
 * to a multiple of 32. Every array, including the gradient, must be zero from the tensor's end to there, and stays
 * zero. Addresses of arrays must be multiples of 4; multiples of 16 are faster. Checks nothing, not even the number of
 * arguments.
 */
export type WasmKernel = (...addressesAndBytes: number[]) => void;

export type WasmKernels = Readonly<Record<KernelName, WasmKernel>>;

/** Returns the module with the kernel of a rule, or with all kernels. */
let sourceOf = (_rule: string): WasmSource => {
  throw new Unavailable('This build of twinstep has no WebAssembly; pass a WebAssembly.Module as the option wasm.');
};

/** Sets the function that loads the kernels. It must not be async. */
export function provideKernelsNow(own: typeof sourceOf): void {
  sourceOf = own;
}

/**
 * Returns the kernels of `dist/core.wasm`, bound to `memory`. Only the calls write to the memory. It may grow, but must
 * not be shared. In runtimes that cannot load the module, pass it as `wasm`. Throws if WebAssembly cannot run.
 */
export function wasmKernels(memory: WebAssembly.Memory, options: { wasm?: WasmSource | undefined } = {}): WasmKernels {
  expectArguments(arguments.length, 2, 'wasmKernels');
  expectOptions(options, 'wasmKernels', ['wasm']);
  const { wasm } = ownOf(options);
  expect(tagOf(memory) === 'WebAssembly.Memory', 'the memory', 'a WebAssembly.Memory', memory);
  expect(memory.buffer instanceof ArrayBuffer, 'the memory', 'not shared', memory.buffer);
  checkWasm(wasm);
  const own = wasm && bind(compile(wasm), memory);
  const kernelOf = own ?? ((name: KernelName) => bind(compileKernel(name, sourceOf(name)), memory)(name));
  const names = Object.keys(kernels) as KernelName[];
  return Object.fromEntries(names.map((name) => [name, kernelOf(name)])) as WasmKernels;
}
