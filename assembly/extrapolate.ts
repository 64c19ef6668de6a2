// Schedule-Free's train() and eval() (arXiv 2405.15682): moves p from y to the average x or back, along the line
// through z. src/algorithms/schedulefree.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(z/2 - p/2)
//
// z - p may overflow f32, so the difference is computed from halves. If p is finite, the result is clamped to the
// largest f32. Reads no gradient.

import { TURN, Unknown, add, half_difference, limited, load, load_next, mul, splat, store } from './simd';


@unmanaged
class ExtrapolateScalars {
  weight: f32;
}

// prettier-ignore
export function extrapolate(by: ExtrapolateScalars, param: usize, z: usize, bytes: usize): void {
  if (bytes == 0) return;
  const twice = splat(2 * by.weight);

  let i: usize = 0;
  do {
    const p0 = load(param + i), p1 = load_next(param + i);
    const z0 = load(z + i), z1 = load_next(z + i);
    store(param + i,
      limited<Unknown>(add(p0, mul(twice, half_difference(p0, z0))), p0),
      limited<Unknown>(add(p1, mul(twice, half_difference(p1, z1))), p1));
    i += TURN;
  } while (i < bytes);
}
