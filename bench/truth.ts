// What one update of each optimizer is in float64, by its textbook, and how far a contender is from it.

/** The hyperparameters of every contender. */
export const hyper = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

const { lr, betas, eps } = hyper;
const [beta1, beta2] = betas;

/** The denominator at step 1, of the second moment corrected for its start at zero. */
const root = (g: number): number => Math.sqrt(((1 - beta2) * g * g) / (1 - beta2)) + eps;

const adam = (g: number): number => (-lr * (((1 - beta1) * g) / (1 - beta1))) / root(g);

/** PyTorch's: the momentum of this step and of the next, each corrected by its own product. */
function nadam(g: number): number {
  const mu = (step: number): number => beta1 * (1 - 0.5 * 0.96 ** (step * 4e-3));
  const ofGrad = (lr * (1 - mu(1)) * g) / (1 - mu(1));
  const ofMoment = (lr * mu(2) * (1 - beta1) * g) / (1 - mu(1) * mu(2));
  return -(ofGrad + ofMoment) / root(g);
}

/** RAdam divides by nothing in its first steps, and Schedule-Free's average is at first its newest iterate. */
const plain = (g: number): number => -lr * g;

/** The parameter after the first step from 0, where nothing decays, by its gradient. */
export const firstUpdate = {
  adamw: adam,
  adam,
  amsgrad: adam,
  nadam,
  radam: plain,
  adamwScheduleFree: adam,
  radamScheduleFree: plain,
  sgdScheduleFree: plain,
} as const;

export type OptimizerName = keyof typeof firstUpdate;

/** The largest error of any parameter, relative to it. */
export function largestError(optimizer: OptimizerName, grads: Float32Array, params: ArrayLike<number>): number {
  if (params.length !== grads.length)
    throw new RangeError(`Expected ${grads.length} parameters after the update, got ${params.length}.`);
  const errors = Array.from(grads, (g, i) => {
    const truth = firstUpdate[optimizer](g);
    return Math.abs((params[i] - truth) / truth);
  });
  // NaN is the worst of all, and Math.max keeps it.
  return errors.reduce((worst, error) => Math.max(worst, error), 0);
}
