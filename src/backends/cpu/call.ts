// Calls a compiled kernel with the addresses of its arrays. Each thread makes a call of its own.

import type { Kernel } from './module.js';
import type { RunKernel } from './cpu.js';

/**
 * The name of a kernel and the addresses of its arrays, except for the gradient, which may be elsewhere at each call.
 */
export interface Call {
  readonly name: string;
  readonly arrays: readonly number[];
  readonly takesGrad: boolean;
}

/** Returns a function that calls the kernel. Arguments are written out: a spread call takes 40 times as long. */
export function makeCall(kernel: Kernel, { arrays, takesGrad }: Call): RunKernel {
  const [a, b, c, d] = arrays;
  switch (takesGrad ? arrays.length : -arrays.length) {
    case 1:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, bytes);
    case 2:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, bytes);
    case 3:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, c + at, bytes);
    case 4:
      return (by, at, bytes, grad) => kernel(by, a + at, grad, b + at, c + at, d + at, bytes);
    case -2:
      return (by, at, bytes) => kernel(by, a + at, b + at, bytes);
    default:
      throw new RangeError(`No call is written out for ${arrays.length} arrays ${takesGrad ? 'and' : 'without'} grad.`);
  }
}
