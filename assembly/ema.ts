// Exponential moving average of a model's weights: param is the average, grad holds the model's weights.
// src/algorithms/ema.ts computes the scalar `weight`:
//
//   p = p + 2*weight*(grad/2 - p/2)       if weight > 0, else
//   p = grad + 2*weight*(grad/2 - p/2)
//
// grad - p may overflow f32, so the difference is computed from halves.

import { TURN, add, half_difference, load, load_next, mul, splat, store } from './simd';


@unmanaged
class EmaScalars {
  weight: f32;
}

// prettier-ignore
export function ema(by: EmaScalars, param: usize, grad: usize, bytes: usize): void {
  if (bytes == 0) return;
  const twice = splat(2 * by.weight), has_weight = f32x4.gt(splat(by.weight), splat(0));

  let i: usize = 0;
  do {
    const p0 = load(param + i), p1 = load_next(param + i);
    const g0 = load(grad + i), g1 = load_next(grad + i);
    store(param + i,
      add(v128.bitselect(p0, g0, has_weight), mul(twice, half_difference(p0, g0))),
      add(v128.bitselect(p1, g1, has_weight), mul(twice, half_difference(p1, g1))));
    i += TURN;
  } while (i < bytes);
}
