// The compiled kernels of assembly/. Runtimes differ in whether a module may be compiled from bytes, and how one comes
// by it otherwise: each entry of the package (src/entries/) brings its own.

import { gone } from '../memory.js';
import { expect, show } from '../../errors.js';
import type { Rule } from '../../rules/rule.js';
import { Unavailable, type WasmSource } from '../backend.js';

/** Rewrites a module's bytes before they are compiled. */
export type Change = (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;

/** Gives the kernel of a rule, or all kernels. */
type Bring = (rule: string) => WasmSource | Promise<WasmSource>;

let bring: Bring = () => {
  throw new Unavailable('this build of twinstep has no WebAssembly; pass a WebAssembly.Module as the option wasm');
};

/** Sets what gives the kernels when they are needed. */
export function provideKernels(own: Bring): void {
  bring = own;
}

/** Compiled so far, by what was changed in them, and by rule. */
const compiled = /* @__PURE__ */ new Map<Change | undefined, Map<string, WebAssembly.Module>>();

function compiledBy(change: Change | undefined): Map<string, WebAssembly.Module> {
  let modules = compiled.get(change);
  if (modules === undefined) compiled.set(change, (modules = new Map()));
  return modules;
}

/** Compiles the kernel of a rule, once. */
export function compileKernel(rule: string, source: WasmSource, change?: Change): WebAssembly.Module {
  const modules = compiledBy(change);
  let module = modules.get(rule);
  if (module === undefined) modules.set(rule, (module = compile(source, change)));
  return module;
}

/** Where the kernels of rules come from. */
export interface Modules {
  /** Loads and compiles what rules need, if that has not been done. */
  load(rules: readonly Rule[]): Promise<void>;
  /** The module with the kernel of a rule that was loaded. */
  of(rule: Rule): WebAssembly.Module;
}

/** The caller's own module, or those of the package. */
export function modulesOf(own: WasmSource | undefined, change?: Change): Modules {
  if (own !== undefined) {
    const module = compile(own, change);
    return { load: async () => {}, of: () => module };
  }
  const modules = compiledBy(change);
  return {
    async load(rules) {
      const missing = [...new Set(rules.map(({ name }) => name))].filter((name) => !modules.has(name));
      await Promise.all(missing.map(async (name) => compileKernel(name, await loadKernel(name), change)));
    },
    of: ({ name }) => modules.get(name)!,
  };
}

async function loadKernel(rule: string): Promise<WasmSource> {
  try {
    return await bring(rule);
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    throw new Unavailable(`its kernels cannot be loaded here (${error})`);
  }
}

/** A copy of the bytes, which the caller may change later; a compiled module as it is. */
export const keep = (source: WasmSource): WasmSource =>
  isModule(source) ? source : bytesOf(source as BufferSource).slice();

/** Throws unless `value` is undefined, or kernels. It does not ask for the class, so a module of another realm passes. */
export function checkWasm(value: unknown): asserts value is WasmSource | undefined {
  const isOne = value === undefined || isModule(value) || (isBytes(value) && isWasm(bytesOf(value as BufferSource)));
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

export const isBytes = (value: unknown): boolean => ArrayBuffer.isView(value) || tag(value) === 'ArrayBuffer';
const isModule = (value: unknown): boolean => tag(value) === 'WebAssembly.Module';
const tag = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Synchronously: the module is a few kB. (Chromium before 114 allows 4 kB on a page: there the reference takes over.) */
export function compile(source: WasmSource, change?: Change): WebAssembly.Module {
  if (isModule(source)) {
    if (change === undefined) return source as WebAssembly.Module;
    throw new Unavailable('the kernels are compiled already, and not of that kind');
  }
  const bytes = change === undefined ? source : change(bytesOf(source as BufferSource));
  try {
    return new WebAssembly.Module(bytes as BufferSource);
  } catch (error) {
    // No WebAssembly at all, no SIMD, or a policy against compiling from bytes.
    throw new Unavailable(`WebAssembly cannot be compiled here (${error})`);
  }
}

/** Addresses of the scalars and of each array, then the bytes of each. */
export type Kernel = (by: number, ...arraysAndBytes: number[]) => void;

/** The kernels over a memory, by name. Throws an Error where the module is some other, before anything of it runs. */
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
 * Kernels that are in a file of JavaScript, for runtimes which may compile from bytes. As hex and not as base64: a byte
 * that recurs does so as the same two letters, and compressed the file is three quarters as long.
 */
export const bytesOfHex = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (byte) => parseInt(byte, 16));
