// What a machine offers to the optimizer.

import type { Tensor } from './layout.js';
import type { ByteRange } from './memory.js';
import type { Rule } from '../rules/rule.js';
import type { TensorEntry, Run } from './plan.js';
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

/** One optimizer's memory on one machine, and the kernels that step it. A step is begin, accept, update, end. */
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
  /** A sentence saying that its device or its memory is lost; undefined until then. */
  readonly lost?: string | undefined;
  /** The parameter that has some of these bytes, where parameters are stepped in the caller's memory. */
  paramAt?(range: ByteRange): string | undefined;
  /** Makes memory for further sections. Where it cannot it rejects, and nothing has changed. */
  extend(added: NewTensors): Promise<Extension>;
  /** Removes tensors, each section listed once. */
  remove(removed: readonly Removed[]): void;
  /** Where the scalars of a section's run k are to be written before its `update`. */
  scalars(section: number, k: number): Float32Array;
  /** Throws an Error unless `grad` can be the gradient of `tensor` in this kind of step; changes nothing. */
  check(tensor: Tensor, grad: unknown, encoded: boolean): void;
  /** Throws if two gradients of one step overlap. Each of them has passed `check`. */
  checkTogether?(members: ReadonlyMap<string, TensorEntry>): void;
  /** Begins `what`, recorded into the caller's encoder if there is one. Throws if this backend cannot record. */
  begin(encoder: GPUCommandEncoder | undefined, what: string): void;
  /** Copies, uploads or binds a gradient that passed `check`. */
  accept(section: number, tensor: Tensor, grad: unknown): void;
  /** Runs one of the section's rules over the tensors of the run. */
  update(section: number, rule: Rule, run: Run): void;
  /** Within a step of its own: adds a gradient that passed `check` to the optimizer's own, or for the first writes it there. */
  accumulate(section: number, tensor: Tensor, grad: unknown, isFirst: boolean): void;
  /** Ends the step. A machine that can only tell later whether it was done gives a promise of the error, if any. */
  end(): Promise<Error | undefined> | undefined;
  /** Ends a step in which something was thrown, and throws nothing itself. */
  cancel(): void;
  /** Copies of arrays as they are now, whatever is stepped before the promise is kept. */
  read(arrays: readonly ArrayOf[]): Promise<Float32Array[]>;
  /** The L2 norms of arrays as they are now; where `grad` is given it is that gradient's. */
  norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]>;
  /** Within a step of its own: fills the optimizer's own gradients with zeros. */
  zeroGrad(): void;
  /** Throws an Error unless `write` can write this array, as far as can be told at once. */
  checkWrite(array: ArrayOf): void;
  /** Rejects with an Error unless `write` can write these arrays, on a backend that can tell only later. */
  checkWritable?(arrays: readonly ArrayOf[]): Promise<void>;
  /** Within a step of its own. */
  write(array: ArrayOf, values: Float32Array): void;
  /** Within a step of its own: copies what `params` of another backend of the same kind shows over parameters. */
  copyOver(params: Readonly<Record<string, unknown>>): void;
  /** Within a step of its own: copies the current parameters into these arrays. */
  copyParamTo(arrays: readonly ArrayOf[]): void;
  dispose(): void;
}

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
