// Wide SIMD: V8 can join two operations of 128 bits into one of 256. The kernels are written so that it can.
// This is an experiment behind a flag of V8, so the bits and the speed are tested before a module is returned.

import { Unavailable } from '../backend.js';
import { bytesOf, checkWasm, isBytes, SQUARES } from './module.js';
import { nodeProcess, type NodeFs, type NodeV8 } from './node.js';
import { importSharedMemory } from './shared.js';
import { expect, expectArguments, expectOptions, ownOf } from '../../errors.js';
import type { Bytes } from '../../platform.js';

/** The result of `enableWideSimd`. */
export interface WideSimd {
  /** Whether this engine has wide kernels. */
  readonly enabled: boolean;
  /** Why, as a sentence. */
  readonly reason: string;
  /** The wide kernels, for the option `wasm` of optimizers; undefined unless `enabled`. */
  readonly wasm?: WebAssembly.Module;
}

const WIDEN = '--experimental-wasm-revectorize';
/** Compile all functions at once with the optimizing compiler, so that the tested code is the code that runs. */
const EAGER = ['--no-liftoff', '--no-wasm-lazy-compilation'];
/** The first version of V8 that can widen, and the least gain that is worth an experiment. */
const V8 = 13;
const LEAST_GAIN = 1.2;

/**
 * Compiles the kernels for operations of 256 bits, if the engine can (Node 24 and newer, on x64 with AVX2). They have
 * the same bits, and are up to twice as fast while all data fit the cache. V8's flags are as before when it returns.
 *
 * @param core - The bytes of the package's core.wasm. Without it, the file beside this code is read, which a bundle may
 *   lack.
 * @param options - `threads: true`: the kernels import shared memory, as optimizers with `threads` need; with them an
 *   optimizer has shared memory on one thread, too. Default false.
 * @returns The kernels as `wasm`, for the option `wasm` of an optimizer. It is undefined if the engine cannot widen,
 *   gives other bits or gains nothing: `reason` says why.
 * @throws TypeError for other arguments.
 * @example
 * const { wasm, reason } = enableWideSimd();
 * const wide = await adamw({ w: new Float32Array([1, 2, 3]) }, { wasm });
 */
export function enableWideSimd(
  core?: ArrayBuffer | ArrayBufferView,
  options: { readonly threads?: boolean } = {},
): WideSimd {
  expectArguments(arguments.length, 2, 'enableWideSimd');
  expect(core === undefined || isBytes(core), 'core', "the bytes of the package's core.wasm", core);
  checkWasm(core);
  expectOptions(options, 'enableWideSimd', ['threads']);
  const { threads: shared = false } = ownOf(options);
  expect(typeof shared === 'boolean', 'threads', 'true or false', shared);
  try {
    const setFlag = flagsOfV8();
    const bytes = core === undefined ? readCore() : bytesOf(core as BufferSource);
    const source = shared ? importSharedMemory(bytes) : bytes;
    const make = (flags: readonly string[], tag: string): WebAssembly.Module =>
      withFlags([...flags, ...EAGER], setFlag, () => new WebAssembly.Module(tagged(source, tag)));
    const narrow = make([], 'narrow');
    const wasm = make([WIDEN], 'wide');
    const gain = compare(narrow, wasm, shared);
    const reason = `The kernels are ${gain.toFixed(1)} times as fast in cache, with the same bits.`;
    return { enabled: true, reason, wasm };
  } catch (error) {
    const why = error instanceof Unavailable ? error.message : String(error);
    return { enabled: false, reason: `The kernels stay as they are: ${why}.` };
  }
}

/** Reads the core.wasm beside this file. */
function readCore(): Bytes {
  try {
    const fs = nodeProcess()!.getBuiltinModule!('node:fs') as NodeFs;
    const core = ownAddress().replace(/[^/\\]*$/, 'core.wasm');
    return fs.readFileSync(core.startsWith('file:') ? new URL(core) : core);
  } catch (error) {
    throw new Unavailable(`core.wasm cannot be read beside this code (${error}); its bytes may be passed`);
  }
}

/**
 * Returns the URL or path of this file, from V8's stack traces. Not from `import.meta`: engines without modules refuse
 * files that have it, and bundlers would copy core.wasm for every program.
 */
function ownAddress(): string {
  const v8 = Error as {
    prepareStackTrace?: (error: Error, calls: { getFileName(): string }[]) => unknown;
    stackTraceLimit?: number;
  };
  const { prepareStackTrace, stackTraceLimit } = v8;
  try {
    v8.stackTraceLimit = 1;
    v8.prepareStackTrace = (_, [here]) => here.getFileName();
    return new Error('here').stack!;
  } finally {
    v8.prepareStackTrace = prepareStackTrace;
    v8.stackTraceLimit = stackTraceLimit;
  }
}

/** Returns the function that sets a flag of V8. */
function flagsOfV8(): (flag: string) => void {
  const node = nodeProcess();
  const v8 = node?.getBuiltinModule?.('node:v8') as NodeV8 | undefined;
  if (v8?.setFlagsFromString === undefined) throw new Unavailable('there is no node:v8 to set flags of V8 by');
  const version = node?.versions?.v8 ?? 'of no version';
  if (!(parseInt(version, 10) >= V8))
    throw new Unavailable(`V8 ${version} cannot widen them, V8 ${V8}.6 of Node 24 can`);
  return (flag) => v8.setFlagsFromString!(flag);
}

/** Runs `work` with flags set, then resets those that the process was not started with. */
function withFlags<Result>(flags: readonly string[], set: (flag: string) => void, work: () => Result): Result {
  const given = nodeProcess()?.execArgv ?? [];
  const ours = flags.filter((flag) => !given.includes(flag));
  try {
    for (const flag of ours) set(flag);
    return work();
  } finally {
    for (const flag of ours) set(flag.startsWith('--no-') ? `--${flag.slice(5)}` : `--no-${flag.slice(2)}`);
  }
}

/** Appends a custom section, which has no effect: for bytes that it has compiled before, V8 reuses the code. */
function tagged(bytes: Uint8Array, tag: string): Bytes {
  const name = new TextEncoder().encode(tag);
  return Uint8Array.from([...bytes, 0, name.length + 1, name.length, ...name]);
}

type Kernel = (...args: number[]) => unknown;
type Kernels = Readonly<Record<string, Kernel>>;
/** Numbers in each array to compare, and in the scalars before them. */
const FEW = 64;
/** Numbers in each array to measure. */
const MANY = 1024;
/** Enough draws of scalars to run each loop of each kernel several times: some loops are for scalars of 0 or 1. */
const DRAWS = 1200;

/** Returns how many times as fast the wide kernels are. Throws unless they are faster and give the same bits. */
function compare(narrow: WebAssembly.Module, wide: WebAssembly.Module, shared: boolean): number {
  const memories = [narrow, wide].map(() => new WebAssembly.Memory({ initial: 1, maximum: 1, shared }));
  const floats = memories.map(({ buffer }) => new Float32Array(buffer));
  const [narrowKernels, wideKernels] = [narrow, wide].map((module, i) => {
    return new WebAssembly.Instance(module, { env: { memory: memories[i] } }).exports as unknown as Kernels;
  });
  const functions = Object.keys(narrowKernels).filter((name) => typeof narrowKernels[name] === 'function');
  for (const name of ['adam', SQUARES]) {
    if (!functions.includes(name)) throw new Unavailable(`the module has no kernel ${name}`);
  }
  const names = functions.filter((name) => name !== SQUARES);
  const compared = floats.map((each) => each.subarray(0, 7 * FEW));
  const drawn = new Float32Array(7 * FEW);
  for (let seed = 0; seed < DRAWS; seed++) {
    fill(drawn, seed);
    for (const name of names) {
      for (const each of compared) each.set(drawn);
      run(narrowKernels[name], FEW, 1);
      run(wideKernels[name], FEW, 1);
      if (compared[0].every((x, i) => Object.is(x, compared[1][i]))) continue;
      throw new Unavailable(`the wide kernel ${name} gives other bits`);
    }
    for (const each of compared) each.set(drawn);
    const [sum, wideSum] = [narrowKernels, wideKernels].map(({ [SQUARES]: squares }) => {
      return squares(0, compared[0].byteLength, (seed & 4) === 0 ? 1 : Infinity, seed & 2);
    });
    if (!Object.is(sum, wideSum)) throw new Unavailable(`the wide kernel ${SQUARES} gives other bits`);
  }
  // Adam without an L2 term (the second scalar) and without a flush (the eighth).
  for (const each of floats) each.fill(0.5)[1] = each[7] = 0;
  const gain = measureGain(narrowKernels.adam, wideKernels.adam);
  if (gain < LEAST_GAIN) throw new Unavailable(`widening them gains nothing here (${gain.toFixed(2)})`);
  return gain;
}

const specials = [0, -0, 1e-40, 3e38, Infinity, -Infinity, NaN];

/**
 * Fills scalars, then arrays. Two or four in five scalars are 0 or 1, since some loops are for those. Arrays are
 * numbers of all magnitudes, for odd seeds with infinities, NaN and other special values among them.
 */
function fill(floats: Float32Array, seed: number): void {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  const usual = (seed & 2) + 2;
  for (let i = 0; i < floats.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const choice = state >>> 8;
    const scalar = choice % 5 < usual ? choice % 2 : undefined;
    const special = i < FEW ? scalar : seed % 2 === 1 ? specials[choice % 29] : undefined;
    floats[i] = special ?? (state / 2 ** 31 - 0.5) * 10 ** (((state >>> 4) % 9) - 4);
  }
}

/** Calls a kernel, with an array for each argument between the first (scalars) and the last (length). */
function run(kernel: Kernel, floats: number, times: number): void {
  const bytes = 4 * floats;
  const args = [0, ...Array.from({ length: kernel.length - 2 }, (_, k) => (k + 1) * bytes), bytes];
  for (let i = 0; i < times; i++) kernel(...args);
}

/** Returns how many times as fast the second kernel is: both are timed in turns, and the best times compared. */
function measureGain(...kernels: readonly [Kernel, Kernel]): number {
  const least = [Infinity, Infinity];
  for (let round = 0; round < 30; round++) {
    for (const [i, kernel] of kernels.entries()) {
      const begun = performance.now();
      run(kernel, MANY, 100);
      least[i] = Math.min(least[i], performance.now() - begun);
    }
  }
  return least[0] / least[1];
}
