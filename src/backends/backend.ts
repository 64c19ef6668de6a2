// What a machine offers to the optimizer.

import type { Tensor } from './layout.js';
import type { ByteRange } from './memory.js';
import type { Plan, TensorEntry } from './plan.js';
import type { NewTensors } from './section.js';

/** What callers may hand over as the kernels of the CPU: a compiled dist/core.wasm, or its bytes. */
export type WasmSource = WebAssembly.Module | ArrayBuffer | ArrayBufferView;

export type BackendName = 'webgpu' | 'wasm' | 'reference';

/** One of the arrays of a tensor: 'param', 'grad', or a slot. */
export interface ArrayOf {
  readonly section: number;
  readonly tensor: Tensor;
  readonly array: string;
}

/** Tensors of a section that are removed. If they are its last ones, `isWhole`, its memory is freed, too. */
export interface Removed {
  readonly section: number;
  readonly tensors: readonly Tensor[];
  readonly isWhole: boolean;
}

export const namesOf = (removed: readonly Removed[]): Set<string> =>
  new Set(removed.flatMap(({ tensors }) => tensors.map(({ name }) => name)));

/** Memory that is not in use yet: to be taken in, or let go of. */
export interface Extension {
  take(): void;
  drop(): void;
}

/** What every call throws after `dispose`. */
export const DISPOSED = 'This optimizer has been disposed of.';

/** One optimizer's memory on one machine, and the kernels that step it. */
export interface Backend {
  /** The GPU device that it runs on, if any. */
  readonly device: GPUDevice | undefined;
  /** How many threads of the CPU run its kernels. */
  readonly threads?: number;
  /** A sentence on how it serves the request, where there is something to say. */
  readonly remark?: string;
  /** What `optimizer.params` and `optimizer.grads` show. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly grads: Readonly<Record<string, unknown>>;
  /** A sentence saying that its memory is gone: lost with its device, transferred, or freed. Undefined until then. */
  readonly lost: string | undefined;
  /** The first error that the device reported late. It is final, until the state is replaced. Undefined on the CPU. */
  readonly failed?: Error | undefined;
  /** Resolves once it is known whether all work so far was done. Undefined on the CPU, where it is done on return. */
  settled?(): Promise<void>;
  /** The parameter that has some of these bytes, where parameters are stepped in the caller's memory. */
  paramAt?(range: ByteRange): string | undefined;
  /** Makes memory for further sections. Where it cannot it rejects, and nothing has changed. */
  extend(added: NewTensors): Promise<Extension>;
  /** Removes tensors, each section listed once. */
  remove(removed: readonly Removed[]): void;
  /** Where the scalars of a section's run k are to be written before `run`. */
  scalars(section: number, k: number): Float32Array;
  /** Throws an Error unless `grad` can be the gradient of `tensor` in this kind of step; changes nothing. */
  check(tensor: Tensor, grad: unknown, encoded: boolean): void;
  /** Whether a gradient that has passed `check` is the optimizer's own memory for it. */
  isOwn(tensor: Tensor, grad: unknown): boolean;
  /** Throws if two gradients of one step overlap. Each of them has passed `check`. */
  checkTogether?(entries: ReadonlyMap<string, TensorEntry>): void;
  /**
   * Runs a step: takes the gradients of all entries, then updates each run of each plan. Records it into the caller's
   * encoder if there is one; throws if this backend cannot record. If it throws, nothing was done; what the device reports
   * later becomes `failed`. The same holds for the other work below.
   */
  run(plans: readonly Plan[], encoder: GPUCommandEncoder | undefined): void;
  /** Adds the gradients of these entries to the optimizer's own, or for the first of a sum writes them there. */
  accumulate(entries: readonly TensorEntry[]): void;
  /** Fills the optimizer's own gradients with zeros. */
  zeroGrad(): void;
  /** Copies of arrays as they are now, whatever is stepped before the promise is kept. */
  read(arrays: readonly ArrayOf[]): Promise<Float32Array[]>;
  /** The L2 norms of arrays as they are now; where `grad` is given it is that gradient's. */
  norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]>;
  /** Throws an Error unless `write` can write this array, as far as can be told at once. */
  checkWrite(array: ArrayOf): void;
  /** Rejects with an Error unless `write` can write these arrays, on a backend that can tell only later. */
  checkWritable?(arrays: readonly ArrayOf[]): Promise<void>;
  /**
   * Replaces the state: writes values, or for undefined zeros, into arrays, then copies the parameters into `copies`, and
   * forgets `failed`. If it throws after something was written, here or as `isBegun` says before, that becomes `failed`.
   */
  write(writes: readonly Write[], copies: readonly ArrayOf[], isBegun: boolean): void;
  /** Copies what `params` of another backend of the same kind shows over parameters. */
  copyOver(params: Readonly<Record<string, unknown>>, encoder: GPUCommandEncoder | undefined): void;
  dispose(): void;
}

/** An array, and the values to write there; undefined stands for zeros. */
export type Write = readonly [ArrayOf, Float32Array | undefined];

/** What a backend is made from. */
export interface Request extends NewTensors {
  readonly device: GPUDevice | undefined;
  /** The kernels of the CPU, if the caller has them. */
  readonly wasm: WasmSource | undefined;
  /** How many threads of the CPU to use, the calling one included. */
  readonly threads: number;
  /** Whether there is memory for the gradients of all tensors, or none that outlives a step. */
  readonly keepGrads: boolean;
}

/** Thrown by a backend that cannot serve: the reason in plain words, in the middle of a sentence. */
export class Unavailable extends Error {}
