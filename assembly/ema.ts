// An exponential moving average of weights: param is the average, and grad are the weights that it is of.
// The weight is that of src/algorithms/ema.ts:
//
//   p = lerp(p, grad, weight)
//
// where lerp(a, b, w) is a + w*(b - a) if w > 0, else b + w*(b - a).

import { TURN, Full, Unknown, lerp, load, load_next, splat, store } from './simd';


@unmanaged
class EmaScalars {
  weight: f32;
}


@inline
function update<Known>(by: EmaScalars, param: usize, grad: usize, bytes: usize): void {
  const weight = splat(by.weight);

  let i: usize = 0;
  do {
    const p0 = load(param + i),
      p1 = load_next(param + i);
    const g0 = load(grad + i),
      g1 = load_next(grad + i);
    store(param + i, lerp<Known>(p0, g0, weight), lerp<Known>(p1, g1, weight));
    i += TURN;
  } while (i < bytes);
}

export function ema(by: EmaScalars, param: usize, grad: usize, bytes: usize): void {
  if (bytes == 0) return;
  if (by.weight > 0) update<Full>(by, param, grad, bytes);
  else update<Unknown>(by, param, grad, bytes);
}
