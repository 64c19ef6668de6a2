// The interface of a backend: one optimizer's memory, on the CPU or the GPU, and the kernels that run on it.

import type { Floats } from '../platform.js';
import type { GradientOptions } from './gradient-options.js';
import type { Tensor } from './layout.js';
import type { ByteRange } from './memory.js';
import type { Plan, TensorEntry } from './plan.js';
import type { NewTensors } from './section.js';
import type { Rule } from '../rules/rule.js';

/** The option `wasm`: a compiled dist/core.wasm, or its bytes. */
export type WasmSource = WebAssembly.Module | ArrayBuffer | ArrayBufferView;

/** A backend: WGSL on a GPU, WebAssembly on the CPU, or the reference in plain JavaScript. */
export type BackendName = 'webgpu' | 'wasm' | 'reference';

/**
 * The option `backend`: a name, a list of names for the first that can run, 'auto' for the first that works with the
 * parameters' memory, or 'fastest'.
 */
export type Wanted = BackendName | 'auto' | 'fastest' | readonly BackendName[];

/** The backend that runs an optimizer, and the reason as sentences. */
export interface Choice {
  /** The backend. */
  readonly name: BackendName;
  /** Why it runs, and why those wanted before it cannot; with 'fastest' also the measured times. */
  readonly reason: string;
}

/** An open backend, and why it was chosen. */
export interface Chosen {
  readonly backend: Backend;
  readonly choice: Choice;
}

/** An array of a tensor: 'param', 'grad', or a slot. */
export interface ArrayOf {
  readonly section: number;
  readonly tensor: Tensor;
  readonly array: string;
}

/** An average to write into a buffer of the caller. */
export interface Average {
  readonly section: number;
  readonly tensor: Tensor;
  /** The caller's buffer. */
  readonly destination: unknown;
  /** Those of the rule that moves a copy of the parameter to the average. Undefined if the parameter is the average. */
  readonly scalars: Float32Array | undefined;
}

/** Tensors to remove from a section. `isWhole`: none are left, so the section's memory is freed. */
export interface Removed {
  readonly section: number;
  readonly tensors: readonly Tensor[];
  readonly isWhole: boolean;
}

export const namesOf = (removed: readonly Removed[]): Set<string> =>
  new Set(removed.flatMap(({ tensors }) => tensors.map(({ name }) => name)));

/** What the GPU decided in steps that it may have skipped. */
export interface Outcomes {
  /** The norm of the gradients at the latest step that needed it, or NaN. */
  readonly norm: number;
  /** The number of skipped steps. */
  readonly skipped: number;
  /** Returns the number of steps that a tensor took part in and that were skipped. */
  ofTensor(tensor: Tensor): number;
  /** Throws unless all recorded calls were submitted: the counters include them. */
  checkSubmitted(): void;
}

/** Memory for new tensors, not in use yet: `take` adds it to the backend, `drop` frees it. */
export interface Extension {
  take(): void;
  drop(): void;
}

/** The message of the error that every call throws after `dispose`. */
export const DISPOSED = 'This optimizer has been disposed of.';

export interface Backend {
  /** The GPU device, if any. */
  readonly device: GPUDevice | undefined;
  /** The number of CPU threads that run kernels. */
  readonly threads?: number;
  /** A sentence to add to the reason for the choice of this backend, if any. */
  readonly remark?: string;
  /** The values of `optimizer.params` and `optimizer.grads`. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly grads: Readonly<Record<string, unknown>>;
  /** A sentence if the memory is gone: the device was lost, a buffer was transferred, or the optimizer disposed of. */
  readonly lost: string | undefined;
  /** The first error that the device reported late. It stays until the state is replaced. Undefined on the CPU. */
  readonly failed: Error | undefined;
  /** Resolves when the device has accepted all work so far; rejects with `failed`. Undefined on the CPU. */
  readonly settled: (() => Promise<void>) | undefined;
  /** Returns the name of a parameter that overlaps these bytes. Undefined on the CPU, which copies parameters. */
  paramAt?(range: ByteRange): string | undefined;
  /** Returns whether the backend allocated a buffer, which it may have destroyed since. Undefined on the CPU. */
  owns?(buffer: object): boolean;
  /** Allocates memory for new sections. If it rejects, nothing has changed. */
  extend(added: NewTensors): Promise<Extension>;
  /** Removes tensors. Each section is listed once. */
  remove(removed: readonly Removed[]): void;
  /** Returns the array for the scalars of run `k` of a section, to be filled before `run`. */
  scalars(section: number, k: number): Float32Array;
  /** Throws an Error unless `grad` can be the gradient of `tensor`. `encoded`: for a step with an encoder. */
  check(tensor: Tensor, grad: unknown, encoded: boolean): void;
  /** Returns whether a gradient that passed `check` is the optimizer's own memory for it. */
  isOwn(tensor: Tensor, grad: unknown): boolean;
  /** Throws if two gradients of a step overlap. Each has passed `check`. */
  checkTogether?(entries: ReadonlyMap<string, TensorEntry>): void;
  /** Throws unless the value can be the `gradScale` of a step in GPU memory. Undefined on the CPU. */
  checkScale?(value: object, ofScaler: GPUBuffer | undefined): void;
  /**
   * Takes the gradients of a plan, and computes the sum of squares of each, of values clamped to `limit`. `isStrict`:
   * the sum is NaN if a gradient is not finite before it is clamped. Undefined on the GPU, which measures in `run`.
   */
  measure?(plan: Plan, limit: number, isStrict: boolean): void;
  /**
   * Runs a step: takes the gradients of all entries, then updates each run of each plan. With an encoder, records the
   * step instead, or throws if this backend cannot record. If it throws, nothing was done. An error that the device
   * reports later becomes `failed`. So do those of the methods below. `options`: on the GPU, how to clip and when to
   * skip the step. On the CPU both were done before.
   */
  run(plans: readonly Plan[], encoder: GPUCommandEncoder | undefined, options?: GradientOptions): void;
  /**
   * Returns whether `run` clips this gradient in the optimizer's own memory, if each tensor is clipped on its own:
   * neighbours whose gradients it clips may have the same scalars. Undefined on the CPU.
   */
  clips?: (entry: TensorEntry) => boolean;
  /** Resolves to what the device decided in all steps up to this call. Undefined on the CPU. */
  outcomes?(): Promise<Outcomes>;
  /** Counts a call that has recorded `run`: its state is that of the counters once it is submitted. */
  countRecorded?(): void;
  /**
   * Records averages of parameters into buffers of the caller. Throws an Error before it records anything for what
   * cannot be a destination. Undefined on the CPU.
   */
  encodeAverages?(rule: Rule, averages: readonly Average[], encoder: GPUCommandEncoder): void;
  /** Adds gradients to the optimizer's own. The first of a sum replaces the old values. */
  accumulate(entries: readonly TensorEntry[]): void;
  /** Fills the optimizer's own gradients with zeros. */
  zeroGrad(): void;
  /** Returns an array where it lies: a view on the CPU, a binding on the GPU. */
  memory(array: ArrayOf): unknown;
  /**
   * Resolves to copies of arrays as of this call: later steps do not change them. `ofState`: rejects unless all recorded
   * calls were submitted, since the counters include them.
   */
  read(arrays: readonly ArrayOf[], ofState?: boolean): Promise<Floats[]>;
  /** Resolves to L2 norms as of this call: of `grad` if there is one, else of the array. */
  norms(sources: readonly (ArrayOf & { readonly grad?: unknown })[]): Promise<number[]>;
  /** Throws an Error if it is known at once that `write` cannot write this array. */
  checkWrite(array: ArrayOf): void;
  /** Rejects with an Error if the device reports that `write` cannot write these arrays. Undefined on the CPU. */
  checkWritable?(arrays: readonly ArrayOf[]): Promise<void>;
  /**
   * Replaces the state: writes values into arrays, copies the parameters into `copies`, and clears `failed`. If it
   * throws after something was written, the error becomes `failed`. `isBegun`: something was written before the call.
   * `loaded`: the tensors that it replaces. Their skipped steps are forgotten, and if they are all tensors, also calls
   * that were recorded and not submitted.
   */
  write(writes: readonly Write[], copies: readonly ArrayOf[], isBegun: boolean, loaded: readonly Tensor[]): void;
  /** Overwrites parameters with the `params` of another backend of the same kind. */
  copyOver(params: Readonly<Record<string, unknown>>, encoder: GPUCommandEncoder | undefined): void;
  dispose(): void;
}

/** An array and the values to write; undefined writes zeros. */
export type Write = readonly [ArrayOf, Float32Array | undefined];

/** The arguments for opening a backend. */
export interface Request extends NewTensors {
  readonly device: GPUDevice | undefined;
  /** The kernels for the CPU, if the caller passed them. */
  readonly wasm: WasmSource | undefined;
  /** The number of CPU threads to use, including the calling one. */
  readonly threads: number;
  /** Whether to allocate memory for all gradients. If not, a gradient is kept only during its step. */
  readonly keepGrads: boolean;
}

/** Thrown if a backend cannot be used. The message is the reason, as a clause of a longer sentence. */
export class Unavailable extends Error {}

/** The cause of the choice of a backend, for its reason. */
export const BY_NAME = 'asked for by name';
export const BY_LIST = 'the first in the list that can run';

/** Returns the error that no backend can run, for these reasons. */
export const noneCanRun = (obstacles: readonly string[]): Error =>
  new Error(`No backend can run this optimizer. ${obstacles.join('. ')}.`);

/** Returns the sentence that a device was lost, and why. */
export function lossOf(info: { readonly reason?: string; readonly message: string }): string {
  // Not every implementation gives a message.
  const why = info.reason === 'destroyed' ? 'it was destroyed' : 'no reason was given';
  return `The GPU device was lost: ${reasonOf(info) || why}`;
}

/** Whether a value is a GPUDevice. */
export const isDevice = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'createBindGroup' in value && 'queue' in value;

/** Returns the message of an error as a clause. */
export const reasonOf = (error: unknown): string =>
  String((error as Error).message)
    .trim()
    .replace(/\.$/, '');
