// The compiled kernels of assembly/. Some runtimes forbid compiling from bytes: each entry of the package
// (src/entries/) provides the kernels as its runtime can load them.

import { gone } from '../memory.js';
import { expect, show, tagOf } from '../../errors.js';
import type { Rule } from '../../rules/rule.js';
import { Unavailable, type WasmSource } from '../backend.js';
import type { Bytes } from '../../platform.js';

/** Rewrites a module's bytes before they are compiled. */
type Change = (bytes: Bytes) => Bytes;

/** Returns a kernel, or all kernels. */
type Loader = (kernel: string) => WasmSource | Promise<WasmSource>;

let loader: Loader = () => {
  throw new Unavailable('this build of twinstep has no WebAssembly; pass a WebAssembly.Module as the option wasm');
};

/** Sets the function that loads the kernels. */
export function provideKernels(load: Loader): void {
  loader = load;
}

/** Modules compiled so far, by change and kernel. */
const compiled = /* @__PURE__ */ new Map<Change | undefined, Map<string, WebAssembly.Module>>();

function compiledBy(change: Change | undefined): Map<string, WebAssembly.Module> {
  let modules = compiled.get(change);
  if (modules === undefined) compiled.set(change, (modules = new Map()));
  return modules;
}

/** Compiles a kernel, once. */
export function compileKernel(kernel: string, source: WasmSource, change?: Change): WebAssembly.Module {
  const modules = compiledBy(change);
  let module = modules.get(kernel);
  if (module === undefined) modules.set(kernel, (module = compile(source, change)));
  return module;
}

/** The kernel that is not a rule's: the sum of squares. Every optimizer has it. */
export const SQUARES = 'squares';

const namesOf = (rules: readonly Rule[]): Set<string> => new Set([SQUARES, ...rules.map(({ name }) => name)]);

/** The compiled kernels of rules, and the sum of squares. */
export interface Modules {
  /** Whether they import shared memory. */
  readonly shared: boolean;
  /** Loads and compiles the kernels of rules and the sum of squares, unless they are compiled. */
  load(rules: readonly Rule[]): Promise<void> | void;
  /** Returns the module with a kernel that was loaded. */
  of(kernel: string): WebAssembly.Module;
}

/** Returns the caller's own module, or the package's. `shareMemory` changes bytes so that they import shared memory. */
export function modulesOf(own: WasmSource | undefined, shareMemory?: Change): Modules {
  if (own !== undefined) {
    const module = compile(own, shareMemory);
    return { shared: importsShared(module), load: async () => {}, of: () => module };
  }
  const modules = compiledBy(shareMemory);
  return {
    shared: shareMemory !== undefined,
    async load(rules) {
      const missing = [...namesOf(rules)].filter((name) => !modules.has(name));
      await Promise.all(missing.map(async (name) => compileKernel(name, await loadKernel(name), shareMemory)));
    },
    of: (kernel) => modules.get(kernel)!,
  };
}

/** Returns the caller's own module, or modules that are compiled at once from kernels, as hex. */
export function modulesNow(own: WasmSource | undefined, hexOf: (kernel: string) => string): Modules {
  if (own !== undefined) return modulesOf(own);
  const modules = compiledBy(undefined);
  return {
    shared: false,
    load(rules) {
      for (const name of namesOf(rules)) if (!modules.has(name)) compileKernel(name, bytesOfHex(hexOf(name)));
    },
    of: (kernel) => modules.get(kernel)!,
  };
}

async function loadKernel(kernel: string): Promise<WasmSource> {
  try {
    return await loader(kernel);
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    throw new Unavailable(`its kernels cannot be loaded here (${error})`);
  }
}

/** Whether a module imports shared memory. Only an instance tells: engines do not show the type of an import. */
function importsShared(module: WebAssembly.Module): boolean {
  try {
    instantiate(module, new WebAssembly.Memory({ initial: 0, maximum: 0, shared: true }));
    return true;
  } catch {
    return false;
  }
}

/** Returns a copy of bytes, since the caller may change them later; a compiled module is returned itself. */
const keep = (source: WasmSource): WasmSource => (isModule(source) ? source : bytesOf(source as BufferSource).slice());

/** Returns what the option `wasm` has, copied if it is bytes. Throws unless it is undefined, a module or the bytes of one. */
export function readWasm(value: unknown): WasmSource | undefined {
  checkWasm(value);
  return value && keep(value);
}

/** Throws unless `value` is undefined, a module (of any realm) or the bytes of one. */
export function checkWasm(value: unknown): asserts value is WasmSource | undefined {
  const isOne = value === undefined || isModule(value) || (isBytes(value) && isWasm(bytesOf(value as BufferSource)));
  expect(isOne, 'wasm', 'a WebAssembly.Module, or the bytes of one', value);
}

export function bytesOf(source: BufferSource): Bytes {
  try {
    if (!ArrayBuffer.isView(source)) return new Uint8Array(source);
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  } catch {
    throw gone('the bytes of wasm');
  }
}

/** Checks the wasm magic number (an HTML error page lacks it). */
const isWasm = (bytes: Uint8Array): boolean => [0x00, 0x61, 0x73, 0x6d].every((byte, i) => bytes[i] === byte);

export const isBytes = (value: unknown): boolean => ArrayBuffer.isView(value) || tagOf(value) === 'ArrayBuffer';
const isModule = (value: unknown): boolean => tagOf(value) === 'WebAssembly.Module';

/**
 * Compiles bytes, synchronously, since they are a few kB; returns a compiled module itself. Chromium before 114
 * compiles at most 4 kB synchronously on a page: there the reference backend is used.
 */
export function compile(source: WasmSource, change?: Change): WebAssembly.Module {
  if (isModule(source)) return source as WebAssembly.Module;
  const bytes = change === undefined ? source : change(bytesOf(source as BufferSource));
  try {
    return new WebAssembly.Module(bytes as BufferSource);
  } catch (error) {
    // No WebAssembly at all, no SIMD, or a policy against compiling from bytes.
    throw new Unavailable(`WebAssembly cannot be compiled here (${error})`);
  }
}

/** Arguments: the addresses of the scalars and of each array, then the bytes of each array. */
export type Kernel = (scalars: number, ...arraysAndBytes: number[]) => void;

/** Binds the kernels to a memory. The function returned throws a TypeError for a kernel that the module lacks. */
export function bind(module: WebAssembly.Module, memory: WebAssembly.Memory): (name: string) => Kernel {
  const names = new Set(WebAssembly.Module.exports(module).map(({ name }) => name));
  let kernels: Record<string, Kernel> | undefined;
  return (name) => {
    if (!names.has(name)) {
      throw new TypeError(`The WebAssembly module has no kernel ${show(name)}: is it this version's core.wasm?`);
    }
    kernels ??= instantiate(module, memory).exports as Record<string, Kernel>;
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

/**
 * Decodes kernels from a file of JavaScript. Hex instead of base64: equal bytes are equal letters, so the compressed
 * file is a quarter shorter.
 */
export const bytesOfHex = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16));
