// Reads safetensors files into typed arrays, for the golden cases and the digits.

import { parseSafetensors } from 'twinstep/checkpoint';

export interface TensorView {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Uint8Array;
}

const types = { F32: Float32Array, F64: Float64Array, U8: Uint8Array } as const;

export function readSafetensors(file: Uint8Array): {
  metadata: ReadonlyMap<string, string>;
  tensors: ReadonlyMap<string, TensorView>;
} {
  const { metadata, tensors } = parseSafetensors(file);
  const views = Array.from(tensors, ([name, { dtype, shape, bytes }]): [string, TensorView] => {
    // Copy: typed arrays need aligned offsets, which files do not guarantee.
    return [name, { dtype, shape, data: new types[dtype as keyof typeof types](bytes.slice().buffer) }];
  });
  return { metadata, tensors: new Map(views) };
}
