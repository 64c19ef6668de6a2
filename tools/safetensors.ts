// Reading safetensors files (https://huggingface.co/docs/safetensors): the golden cases and the digits.

export interface TensorView {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Uint8Array;
}

const types = { F32: Float32Array, F64: Float64Array, U8: Uint8Array } as const;

export function readSafetensors(file: Uint8Array): {
  metadata: Readonly<Record<string, string>>;
  tensors: ReadonlyMap<string, TensorView>;
} {
  // Not a Buffer of Node's, whose slice would not copy.
  const bytes = new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
  const size = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size))) as Record<string, never>;
  const tensors = new Map<string, TensorView>();
  const { __metadata__: metadata = {}, ...entries } = header;
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(
    entries as Record<string, { dtype: keyof typeof types; shape: number[]; data_offsets: [number, number] }>,
  )) {
    const [begin, end] = data_offsets;
    // Copied, since typed arrays want aligned offsets and files promise none.
    const data = new types[dtype](bytes.slice(8 + size + begin, 8 + size + end).buffer);
    tensors.set(name, { dtype, shape, data });
  }
  return { metadata, tensors };
}
