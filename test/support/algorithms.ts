// Every algorithm of the package, in each variant that has different memory or arithmetic.

import * as twinstep from 'twinstep';
import type { Options } from './backends.js';

export type Create = typeof twinstep.adam;

const { adam, adamw, nadam, radam, adamwScheduleFree, radamScheduleFree, sgdScheduleFree } = twinstep;

/**
 * A name that begins with that of the algorithm, the function that creates it, and options. test/algorithms.test.ts
 * checks that no algorithm is missing.
 */
export const algorithms = [
  ['adam', adam, { weightDecay: 0.1 }],
  ['adam with amsgrad', adam, { amsgrad: true, weightDecay: 0.1 }],
  ['adamw', adamw, {}],
  ['adamw with nesterov', adamw, { nesterov: true }],
  ['nadam', nadam, { weightDecay: 0.1 }],
  ['radam', radam, { weightDecay: 0.1, decoupledWeightDecay: true }],
  ['adamwScheduleFree', adamwScheduleFree, { weightDecay: 0.1 }],
  ['adamwScheduleFree with inner momentum', adamwScheduleFree, { weightDecay: 0.1, innerMomentum: 0.9 }],
  ['radamScheduleFree', radamScheduleFree, { weightDecay: 0.1 }],
  ['sgdScheduleFree', sgdScheduleFree, { weightDecay: 0.1, lr: 0.1 }],
] as unknown as [string, Create, Options][];
