// The call of a compiled kernel over arrays that stand somewhere in a memory: each thread makes its own.

import type { Kernel } from './module.js';
import type { RunKernel } from './cpu.js';

/** A kernel by name, and where its arrays begin, but for the gradient, which may pass elsewhere. */
export interface Call {
  readonly name: string;
  readonly arrays: readonly number[];
  readonly takesGrad: boolean;
}

/** A call with its arguments written out: a spread one costs 40 times as much. */
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
