// Measures a machine's limits with two loops: one moves the memory that a step moves, the other computes its division
// and square root. Written with the same helpers and loops as the kernels, and compiled like them.

import { TURN, add, div, load, load_next, sqrt, store } from '../../assembly/simd';

// prettier-ignore
@inline
function traffic(grad: usize, a: usize, b: usize, c: usize, d: usize, bytes: usize, arrays: i32): void {
  for (let i: usize = 0; i < bytes; i += TURN) {
    const g0 = load(grad + i), g1 = load_next(grad + i);
    const a0 = load(a + i), a1 = load_next(a + i);
    const b0 = load(b + i), b1 = load_next(b + i);
    const c0 = arrays > 2 ? load(c + i) : g0, c1 = arrays > 2 ? load_next(c + i) : g1;
    const d0 = arrays > 3 ? load(d + i) : g0, d1 = arrays > 3 ? load_next(d + i) : g1;

    store(a + i, add(a0, g0), add(a1, g1));
    store(b + i, add(b0, g0), add(b1, g1));
    if (arrays > 2) store(c + i, add(c0, g0), add(c1, g1));
    if (arrays > 3) store(d + i, add(d0, g0), add(d1, g1));
  }
}

/** Reads the gradient; reads and writes parameter and slots: with one slot 20 bytes per element. */
export function traffic20(grad: usize, a: usize, b: usize, bytes: usize): void {
  traffic(grad, a, b, 0, 0, bytes, 2);
}

/** With two slots. */
export function traffic28(grad: usize, a: usize, b: usize, c: usize, bytes: usize): void {
  traffic(grad, a, b, c, 0, bytes, 3);
}

/** With three. */
export function traffic36(grad: usize, a: usize, b: usize, c: usize, d: usize, bytes: usize): void {
  traffic(grad, a, b, c, d, bytes, 4);
}

/** Bytes to read. Together with as many that are written, they fit into the first-level cache of any machine. */
const BLOCK: usize = 4096;

/** Computes one square root and one division per element, for `bytes` of elements, always from the same block. */
export function divider(from: usize, to: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += TURN) {
    const at = i & (BLOCK - 1);
    const x0 = load(from + at),
      x1 = load_next(from + at);
    store(to + at, div(x0, sqrt(x0)), div(x1, sqrt(x1)));
  }
}
