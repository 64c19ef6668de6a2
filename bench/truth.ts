// Computes one update of each optimizer in float64 with the textbook formula, and the error of a contender.

/** The hyperparameters of every contender. */
export const hyper = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;

/** The largest norm of the gradients, of the contenders that clip them. bench/peers/pytorch.py has the same. */
export const MAX_NORM = 1;

const { lr, betas, eps } = hyper;
const [beta1, beta2] = betas;

/** The denominator at step 1, from the bias-corrected second moment. */
const root = (g: number): number => Math.sqrt(((1 - beta2) * g * g) / (1 - beta2)) + eps;

const adam = (g: number): number => (-lr * (((1 - beta1) * g) / (1 - beta1))) / root(g);

/** PyTorch's formula: the momentum of this step and of the next, each corrected by its own product. */
function nadam(g: number): number {
  const mu = (step: number): number => beta1 * (1 - 0.5 * 0.96 ** (step * 4e-3));
  const ofGrad = (lr * (1 - mu(1)) * g) / (1 - mu(1));
  const ofMoment = (lr * mu(2) * (1 - beta1) * g) / (1 - mu(1) * mu(2));
  return -(ofGrad + ofMoment) / root(g);
}

/** In its first steps RAdam does not divide. After the first step Schedule-Free's average is the newest iterate. */
const plain = (g: number): number => -lr * g;

/** The parameter after the first step from 0, by its gradient. At 0, weight decay has no effect. */
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

/** Returns the largest error of any parameter, relative to its true value. `isClipped`: by `MAX_NORM`. */
export function largestError(
  optimizer: OptimizerName,
  grads: Float32Array,
  params: ArrayLike<number>,
  isClipped = false,
): number {
  if (params.length !== grads.length)
    throw new RangeError(`Expected ${grads.length} parameters after the update, got ${params.length}.`);
  // The definition of torch.nn.utils.clip_grad_norm_.
  const coefficient = isClipped ? Math.min(1, MAX_NORM / (Math.hypot(...grads) + 1e-6)) : 1;
  const errors = Array.from(grads, (g, i) => {
    const truth = firstUpdate[optimizer](coefficient * g);
    return Math.abs((params[i] - truth) / truth);
  });
  // Math.max keeps NaN.
  return errors.reduce((worst, error) => Math.max(worst, error), 0);
}
