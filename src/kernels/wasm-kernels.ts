// The WebAssembly kernels on the caller's memory.

import { Unavailable, type WasmSource } from '../backends/backend.js';
import { bind, checkWasm, compile, compileKernel } from '../backends/cpu/module.js';
import { expect, expectArguments, expectOptions, ownOf, tagOf } from '../errors.js';
import { kernels, type KernelName } from './table.js';

/**
 * Updates arrays in place, 32 bytes at a time. Checks nothing, not even the number of arguments.
 *
 * @param addressesAndBytes - The byte address of the block of scalars, the byte addresses of the arrays in the order of
 *   `kernels[name].arrays`, and the length of each array in bytes, rounded up to a multiple of 32. Every array,
 *   including the gradient, must be zero from the tensor's end to there, and stays zero. Addresses of arrays must be
 *   multiples of 4; multiples of 16 are faster.
 * @throws WebAssembly.RuntimeError for addresses outside the memory.
 * @example
 * const memory = new WebAssembly.Memory({ initial: 1 });
 * const made = coefficients('adamw', { lr: 0.01 });
 * made.next();
 * new Float32Array(memory.buffer, 0).set(made.scalars());
 * // 4 arrays of 3 values at 128, 160, 192 and 224: param, grad and two slots
 * wasmKernels(memory)[made.kernel](0, 128, 160, 192, 224, 12);
 */
export type WasmKernel = (...addressesAndBytes: number[]) => void;

/** The kernels by name. */
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
 * Returns the kernels of `dist/core.wasm`, bound to `memory`. Only the calls write to the memory.
 *
 * @param memory - Your memory with scalars and arrays. It may grow, but must not be shared.
 * @param options - `wasm`: core.wasm, compiled or as bytes, for a runtime that cannot load it itself.
 * @returns The kernels by name.
 * @throws TypeError for another argument, and an Error if WebAssembly cannot run.
 * @example const { adam } = wasmKernels(new WebAssembly.Memory({ initial: 1 }));
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
