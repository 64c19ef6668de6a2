// What a machine offers to the optimizer.

import type { Group } from '../groups.js';
import type { Tensor } from '../layout.js';

export type BackendName = 'webgpu' | 'wasm' | 'reference';

/** Neighbours in `group.tensors`, from `first` to `last` inclusive, that take this step with the same scalars. */
export interface Run {
  first: number;
  last: number;
  readonly scalars: Float32Array;
}

/** One optimizer's memory on one machine, and the kernels that step it. */
export interface Backend {
  /** What `optimizer.params` and `optimizer.grads` show. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly grads: Readonly<Record<string, unknown>>;
  /** Where the scalars of a group's run k are to be written before its `update`. */
  scalars(group: number, k: number): Float32Array;
  /** Throws a sentence unless `grad` can be the gradient of `tensor` in this kind of step; changes nothing. */
  check(tensor: Tensor, grad: unknown, encoded: boolean): void;
  /** Begins a step, recorded into the caller's encoder if there is one. Throws where there can be none. */
  begin(encoder: GPUCommandEncoder | undefined): void;
  /** Copies, uploads or binds a gradient that passed `check`. */
  accept(group: number, tensor: Tensor, grad: unknown): void;
  /** Runs the group's kernel over the tensors of the run. */
  update(group: number, run: Run): void;
  /** Ends the step. A backend that can only tell later that nothing of it was done gives a promise of the error. */
  end(): Promise<Error | undefined> | undefined;
  /** A copy of one of the arrays of a tensor: 'param', or the name of a slot. */
  read(group: number, tensor: Tensor, array: string): Promise<Float32Array>;
  /** Overwrites one of the arrays of a tensor. */
  write(group: number, tensor: Tensor, array: string, values: Float32Array): void;
  dispose(): void;
}

/** What a backend is made from. */
export interface Request {
  readonly groups: readonly Group[];
  /** Where the parameters are. */
  readonly memory: 'cpu' | 'gpu';
  readonly device: GPUDevice | undefined;
}

/** Thrown by a backend that cannot serve: the reason in plain words, in the middle of a sentence. */
export class Unavailable extends Error {}
