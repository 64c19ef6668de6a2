// The compiled kernels of assembly/. Runtimes differ in whether a module may be compiled from bytes, and how one comes
// by it otherwise: each entry of the package (src/entries/) brings its own.

import { gone } from '../memory.js';
import { expect, show } from '../../errors.js';
import { Unavailable, type WasmSource } from '../backend.js';

/** Rewrites a module's bytes before they are compiled. */
export type Change = (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;

let bringCore = (): WasmSource => {
  throw new Unavailable('this build of twinstep has no WebAssembly; pass a WebAssembly.Module as the option wasm');
};
/** How often the way of compiling was changed. */
export let generation = 0;
let makeModule = (bytes: BufferSource): WebAssembly.Module => new WebAssembly.Module(bytes);
/** Compiled so far, by what was changed in them. */
const cores = /* @__PURE__ */ new Map<Change | undefined, WebAssembly.Module>();

/** Sets what gives the kernels when they are needed. */
export function provideCore(bring: () => WasmSource): void {
  bringCore = bring;
}

/** Sets what compiles modules from now on. */
export function compileBy(make: typeof makeModule): void {
  makeModule = make;
  cores.clear();
  generation += 1;
}

/** The kernels, the caller's own if there are any; compiled at first use. */
export function getCore(own: WasmSource | undefined, change?: Change): WebAssembly.Module {
  if (own !== undefined) return compile(own, change);
  let core = cores.get(change);
  if (core === undefined) cores.set(change, (core = compile(bringCore(), change)));
  return core;
}

/** A copy of the bytes, which the caller may change later; a compiled module as it is. */
export const keep = (source: WasmSource): WasmSource =>
  isModule(source) ? source : bytesOf(source as BufferSource).slice();

/** The kernels as bytes. */
export function coreBytes(): Uint8Array<ArrayBuffer> {
  const source = bringCore();
  if (isModule(source)) throw new Unavailable('the runtime gives them compiled');
  return bytesOf(source as BufferSource);
}

/** Throws unless `value` is undefined, or kernels. It does not ask for the class, so a module of another realm passes. */
export function checkWasm(value: unknown): asserts value is WasmSource | undefined {
  const isSource = ArrayBuffer.isView(value) || tag(value) === 'ArrayBuffer';
  const isOne = value === undefined || isModule(value) || (isSource && isWasm(bytesOf(value as BufferSource)));
  expect(isOne, 'wasm', 'a WebAssembly.Module, or the bytes of one', value);
}

export function bytesOf(source: BufferSource): Uint8Array<ArrayBuffer> {
  try {
    if (!ArrayBuffer.isView(source)) return new Uint8Array(source);
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  } catch {
    throw gone('the bytes of wasm');
  }
}

/** Checks the wasm magic number (an HTML error page lacks it). */
const isWasm = (bytes: Uint8Array): boolean => [0x00, 0x61, 0x73, 0x6d].every((byte, i) => bytes[i] === byte);

const isModule = (value: unknown): boolean => tag(value) === 'WebAssembly.Module';
const tag = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Synchronously: the module is a few kB. (Chromium before 114 allows 4 kB on a page: there the reference takes over.) */
function compile(source: WasmSource, change?: Change): WebAssembly.Module {
  if (isModule(source)) {
    if (change === undefined) return source as WebAssembly.Module;
    throw new Unavailable('the kernels are compiled already, and not of that kind');
  }
  const bytes = change === undefined ? source : change(bytesOf(source as BufferSource));
  try {
    return makeModule(bytes as BufferSource);
  } catch (error) {
    // No WebAssembly at all, no SIMD, or a policy against compiling from bytes.
    throw new Unavailable(`WebAssembly cannot be compiled here (${error})`);
  }
}

/** Addresses of the scalars and of each array, then the bytes of each. */
export type Kernel = (by: number, ...arraysAndBytes: number[]) => void;

/** The kernels over a memory, by name. Throws an Error where the module is some other. */
export function bind(module: WebAssembly.Module, memory: WebAssembly.Memory): (name: string) => Kernel {
  const names = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  const check = (name: string): void => {
    if (names.has(name)) return;
    throw new TypeError(`The WebAssembly module has no kernel ${show(name)}: is it this version's core.wasm?`);
  };
  // Before anything of another module runs.
  check('adam');
  const kernels = instantiate(module, memory).exports as Record<string, Kernel>;
  return (name) => {
    check(name);
    return kernels[name];
  };
}

function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): WebAssembly.Instance {
  try {
    return new WebAssembly.Instance(module, { env: { memory } });
  } catch (error) {
    throw new Unavailable(`WebAssembly cannot be instantiated here (${error})`);
  }
}
