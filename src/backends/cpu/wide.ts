// Wide SIMD: V8 can make one operation of 256 bits of two of 128, for which the kernels are written as it likes them.
// It is an experiment of V8's behind a flag, so nothing is taken on trust: not the bits, and not the speed.

import { Unavailable } from '../backend.js';
import { bytesOf, checkWasm, isBytes } from './module.js';
import { nodeProcess, type NodeV8 } from './node.js';
import { expect, expectArguments } from '../../errors.js';

/** Whether the kernels can be wide, and why, in plain words. */
export interface WideSimd {
  readonly enabled: boolean;
  readonly reason: string;
  /** The wide kernels, for the option `wasm` of optimizers; undefined unless `enabled`. */
  readonly wasm?: WebAssembly.Module;
}

const WIDEN = '--experimental-wasm-revectorize';
/** All functions by the optimizing compiler, before anything runs: what is tested is what will run. */
const EAGER = ['--no-liftoff', '--no-wasm-lazy-compilation'];
/** The first version of V8 that can, and the least gain that is worth an experiment. */
const V8 = 13;
const LEAST_GAIN = 1.2;

/**
 * Compiles kernels of 256 bits from the bytes of the package's core.wasm, if the engine can (Node 24 and newer, on x64
 * with AVX2). They have the same bits, and are up to twice as fast while all data fit the cache. Pass `wasm` as the option
 * `wasm` of an optimizer. It is undefined if the engine cannot widen, gives other bits or gains nothing: `reason` says
 * why. V8's flags are as before when it returns. Throws a TypeError for anything but such bytes.
 */
export function enableWideSimd(core: ArrayBuffer | ArrayBufferView): WideSimd {
  expectArguments(arguments.length, 1, 'enableWideSimd');
  expect(isBytes(core), 'core', "the bytes of the package's core.wasm", core);
  checkWasm(core);
  try {
    const setFlag = flagsOfV8();
    const make = (flags: readonly string[], tag: string): WebAssembly.Module =>
      withFlags([...flags, ...EAGER], setFlag, () => new WebAssembly.Module(tagged(core as BufferSource, tag)));
    const narrow = make([], 'narrow');
    const wasm = make([WIDEN], 'wide');
    const gain = compare(narrow, wasm);
    const reason = `The kernels are ${gain.toFixed(1)} times as fast in cache, with the same bits.`;
    return { enabled: true, reason, wasm };
  } catch (error) {
    const why = error instanceof Unavailable ? error.message : String(error);
    return { enabled: false, reason: `The kernels stay as they are: ${why}.` };
  }
}

/** The function that sets a flag of V8. */
function flagsOfV8(): (flag: string) => void {
  const node = nodeProcess();
  const v8 = node?.getBuiltinModule?.('node:v8') as NodeV8 | undefined;
  if (v8?.setFlagsFromString === undefined) throw new Unavailable('there is no node:v8 to set flags of V8 by');
  const version = node?.versions?.v8 ?? 'of no version';
  if (!(parseInt(version, 10) >= V8))
    throw new Unavailable(`V8 ${version} cannot widen them, V8 ${V8}.6 of Node 24 can`);
  return (flag) => v8.setFlagsFromString!(flag);
}

/** Does something under flags, of which those that the process was not started with are taken back. */
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

/** With a custom section that does nothing: V8 gives the code that it has for bytes which it has seen before. */
function tagged(source: BufferSource, tag: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(tag);
  return Uint8Array.from([...bytesOf(source), 0, name.length + 1, name.length, ...name]);
}

type Kernel = (...args: number[]) => void;
type Kernels = Readonly<Record<string, Kernel>>;
/** Of each array to compare, and of the scalars before them; and of each array to measure. */
const FEW = 64;
const MANY = 1024;
/** So many draws of scalars reach each loop of each kernel several times: there are some for scalars of 0, and of 1. */
const DRAWS = 1200;

/** How much faster the wide kernels are; throws unless they are, and give the same bits. */
function compare(narrow: WebAssembly.Module, wide: WebAssembly.Module): number {
  const memories = [narrow, wide].map(() => new WebAssembly.Memory({ initial: 1 }));
  const floats = memories.map(({ buffer }) => new Float32Array(buffer));
  const [narrowKernels, wideKernels] = [narrow, wide].map((module, i) => {
    return new WebAssembly.Instance(module, { env: { memory: memories[i] } }).exports as unknown as Kernels;
  });
  const names = Object.keys(narrowKernels).filter((name) => typeof narrowKernels[name] === 'function');
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
  }
  // Adam's, with no L2 term, its second scalar, and no flush, its eighth.
  for (const each of floats) each.fill(0.5)[1] = each[7] = 0;
  const gain = best(narrowKernels.adam) / best(wideKernels.adam);
  if (gain < LEAST_GAIN) throw new Unavailable(`widening them gains nothing here (${gain.toFixed(2)})`);
  return gain;
}

const specials = [0, -0, 1e-40, 3e38, Infinity, -Infinity, NaN];

/**
 * Scalars, of which two or four in five are 0 or 1, as loops that know their scalars want them; then arrays: numbers of
 * all magnitudes, and of odd seeds some that are none.
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

/** Calls a kernel, which has as many arrays as it has arguments between the scalars' and the length. */
function run(kernel: Kernel, floats: number, times: number): void {
  const bytes = 4 * floats;
  const args = [0, ...Array.from({ length: kernel.length - 2 }, (_, k) => (k + 1) * bytes), bytes];
  for (let i = 0; i < times; i++) kernel(...args);
}

/** The shortest time that a kernel took for many calls. */
function best(kernel: Kernel): number {
  let least = Infinity;
  for (let round = 0; round < 30; round++) {
    const begun = performance.now();
    run(kernel, MANY, 100);
    least = Math.min(least, performance.now() - begun);
  }
  return least;
}
