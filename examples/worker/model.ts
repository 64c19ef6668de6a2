// Predicts whether a user will click, by logistic regression: probability = 1 / (1 + exp(-z)), where z is the bias plus
// the features' values times their weights.

import { adamw } from 'twinstep';
import { hashed, POSITIONS, type Features } from './features.js';

/** An item that was shown, and whether the user clicked on it. */
export interface Example {
  readonly features: Features;
  readonly clicked: boolean;
}

/** Returns a new model: the optimizer that owns its weights. */
export const newModel = () =>
  adamw(
    { weight: new Float32Array(POSITIONS), bias: new Float32Array(1) },
    // Do not decay the bias: that would pull every probability towards a half.
    { lr: 0.02, decayMask: { weight: true, bias: false } },
  );

export type Model = Awaited<ReturnType<typeof newModel>>;

export const predict = (model: Model, features: Features): number => sigmoid(logit(model, features));

/** Does one step on the mean gradient of the examples. Returns the predictions before it, and the mean loss. */
export function learn(model: Model, examples: readonly Example[]): { probabilities: number[]; loss: number } {
  const { weight, bias } = model.grads;
  weight.fill(0);
  bias.fill(0);
  const probabilities: number[] = [];
  let loss = 0;
  for (const { features, clicked } of examples) {
    const z = logit(model, features);
    const probability = sigmoid(z);
    probabilities.push(probability);
    // -log of the probability of the outcome, in a form that does not overflow.
    loss += (Math.max(z, 0) - (clicked ? z : 0) + Math.log1p(Math.exp(-Math.abs(z)))) / examples.length;
    const slope = (probability - (clicked ? 1 : 0)) / examples.length;
    for (const { position, value } of hashed(features)) weight[position] += slope * value;
    bias[0] += slope;
  }
  model.step();
  return { probabilities, loss };
}

const logit = ({ params: { weight, bias } }: Model, features: Features): number =>
  hashed(features).reduce((z, { position, value }) => z + weight[position] * value, bias[0]);

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
