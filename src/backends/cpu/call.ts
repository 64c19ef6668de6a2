// Calls a compiled kernel with the addresses of its arrays. Each thread makes a call of its own.

import type { Kernel } from './module.js';
import type { RunKernel } from './machine.js';

/** The name of a kernel and the addresses of its arrays, except the gradient's, which may differ from call to call. */
export interface Call {
  readonly name: string;
  readonly arrays: readonly number[];
  readonly takesGrad: boolean;
}

/** Returns a function that calls the kernel. Each number of arrays has its own: spreading takes 40 times as long. */
export function makeCall(kernel: Kernel, { arrays, takesGrad }: Call): RunKernel {
  const [a, b, c, d] = arrays;
  switch (takesGrad ? arrays.length : -arrays.length) {
    case 1:
      return (scalars, at, bytes, grad) => kernel(scalars, a + at, grad, bytes);
    case 2:
      return (scalars, at, bytes, grad) => kernel(scalars, a + at, grad, b + at, bytes);
    case 3:
      return (scalars, at, bytes, grad) => kernel(scalars, a + at, grad, b + at, c + at, bytes);
    case 4:
      return (scalars, at, bytes, grad) => kernel(scalars, a + at, grad, b + at, c + at, d + at, bytes);
    case -2:
      return (scalars, at, bytes) => kernel(scalars, a + at, b + at, bytes);
    default:
      throw new RangeError(
        `No call is written for ${arrays.length} arrays ${takesGrad ? 'and' : 'without'} a gradient.`,
      );
  }
}
