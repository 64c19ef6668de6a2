// Converts values of a file to Float32Arrays.

import { show, unexpected } from '../errors.js';
import type { Dtype, Entry } from './header.js';
import type { Floats } from '../platform.js';

/** Converts the bits of an f16 or bf16. Writes the value to `floats[i]`. `bits` is the same memory. */
const widen = {
  BF16(half: number, i: number, bits: Uint32Array): void {
    bits[i] = half << 16;
  },
  F16(half: number, i: number, bits: Uint32Array, floats: Float32Array): void {
    const isFinite = (half & 0x7c00) !== 0x7c00;
    // Moves exponent and fraction to their places in an f32. The bias differs by 112, also for subnormals.
    bits[i] = (half & 0x7fff) << 13;
    if (isFinite) floats[i] *= 2 ** 112;
    else bits[i] |= 0x7f800000;
    bits[i] |= (half & 0x8000) << 16;
  },
};

/** Throws unless values of this dtype can be read as f32. */
export function checkFloats(name: string, dtype: Dtype): void {
  if (dtype === 'F32' || Object.hasOwn(widen, dtype)) return;
  throw unexpected(`dtype of tensor ${show(name)}`, 'F32, F16 or BF16, to be read as f32', dtype);
}

/** Returns the values of a tensor whose dtype was checked. They are a copy: data in a file may be unaligned. */
export function toFloats({ dtype, begin, end }: Entry, data: Uint8Array): Floats {
  const { buffer } = data.slice(begin, end);
  if (dtype === 'F32') return new Float32Array(buffer);
  const write = widen[dtype as keyof typeof widen];
  const halves = new Uint16Array(buffer);
  const floats = new Float32Array(halves.length);
  const bits = new Uint32Array(floats.buffer);
  for (let i = 0; i < halves.length; i++) write(halves[i], i, bits, floats);
  return floats;
}
