// An exponential moving average of weights: param is the average, and grad are the weights that it is of.
// The weight is that of src/algorithms/ema.ts:
//
//   p = lerp(p, grad, weight)
//
// where lerp(a, b, weight) is a + weight*(b - a).

import { TURN, lerp, load, load_next, splat, store } from './simd';


@unmanaged
class EmaScalars {
  weight: f32;
}


@inline
function update(by: EmaScalars, param: usize, grad: usize, bytes: usize, from_a: bool): void {
  const weight = splat(by.weight);

  for (let i: usize = 0; i < bytes; i += TURN) {
    const p0 = load(param + i),
      p1 = load_next(param + i);
    const g0 = load(grad + i),
      g1 = load_next(grad + i);
    store(param + i, lerp(p0, g0, weight, from_a), lerp(p1, g1, weight, from_a));
  }
}

export function ema(by: EmaScalars, param: usize, grad: usize, bytes: usize): void {
  if (by.weight > 0) update(by, param, grad, bytes, true);
  else update(by, param, grad, bytes, false);
}
