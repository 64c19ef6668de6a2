// Test numbers, the same in every run.

/** Uniform in [0, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export type Draw = (next: () => number) => number;

/** Numbers of the size that is usual in training. */
export const ordinary: Draw = (next) => next() * 4 - 2;

/** Numbers of any magnitude for which a thousandth of the square is a normal number. */
export const wide: Draw = (next) => (next() < 0.5 ? -1 : 1) * 10 ** (next() * 34 - 16);

const specials = [0, -0, 1e-40, -1e-45, 2 ** -126, -(2 ** -127), 3e38, -3e38, Infinity, -Infinity, NaN];

/** Half of the numbers are zero, subnormal, huge, infinite or NaN. */
export const special: Draw = (next) => (next() < 0.5 ? specials[Math.floor(next() * specials.length)] : wide(next));

export function array(length: number, seed: number, draw: Draw = ordinary): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length }, () => draw(next));
}

/** Tensors of the given lengths, named `w<length>`. */
export function tensors(lengths: readonly number[], seed: number, draw: Draw = ordinary): Record<string, Float32Array> {
  return Object.fromEntries(lengths.map((length, i) => [`w${length}`, array(length, seed * 1000 + i, draw)]));
}

/** Returns a sentence about the first element whose bits differ, or undefined. All NaNs are equal. */
export function difference(a: Float32Array, b: Float32Array): string | undefined {
  if (a.length !== b.length) return `lengths ${a.length} and ${b.length}`;
  for (let i = 0; i < a.length; i++) {
    if (!Object.is(a[i], b[i])) return `[${i}] is ${a[i]} and ${b[i]}`;
  }
  return undefined;
}

/** Returns the largest magnitude, or NaN if any is NaN, so that every bound fails. */
export const largest = (values: ArrayLike<number>): number => {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]));
  return most;
};

/** An array that lost its values because its buffer was resized to end before it. */
export function shrunk(length: number): Float32Array<ArrayBuffer>;
export function shrunk(length: number, type: Uint8ArrayConstructor): Uint8Array<ArrayBuffer>;
export function shrunk(length: number, type: Float32ArrayConstructor | Uint8ArrayConstructor = Float32Array): unknown {
  // The package is compiled for ES2023, whose types lack resizable buffers.
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void };
  const buffer = new Resizable(4 + 4 * length, { maxByteLength: 8 + 4 * length });
  const values = new type(buffer, 4, length);
  buffer.resize(4);
  return values;
}
