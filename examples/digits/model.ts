// A small classifier with gradients written by hand: relu(x W1' + b1) W2' + b2. The loss is the mean cross-entropy.

const PIXELS = 64;
const HIDDEN = 32;
const CLASSES = 10;

export type Weights = Readonly<Record<string, Float32Array>>;

/** Activations of one image. */
interface Forward {
  readonly hidden: Float64Array;
  /** The probability of each class. */
  readonly probabilities: Float64Array;
}

function forward(weights: Weights, image: Float32Array): Forward {
  const hidden = new Float64Array(HIDDEN);
  for (let j = 0; j < HIDDEN; j++) {
    let sum = weights['fc1.bias'][j];
    for (let i = 0; i < PIXELS; i++) sum += weights['fc1.weight'][j * PIXELS + i] * image[i];
    hidden[j] = Math.max(sum, 0);
  }
  const logits = new Float64Array(CLASSES);
  for (let k = 0; k < CLASSES; k++) {
    let sum = weights['fc2.bias'][k];
    for (let j = 0; j < HIDDEN; j++) sum += weights['fc2.weight'][k * HIDDEN + j] * hidden[j];
    logits[k] = sum;
  }
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const total = exponentials.reduce((sum, x) => sum + x, 0);
  return { hidden, probabilities: exponentials.map((x) => x / total) };
}

/** Returns the mean loss of the images at `indices`, and writes its gradients into `grads`. */
export function lossAndGradients(
  weights: Weights,
  grads: Weights,
  images: Float32Array,
  labels: ArrayLike<number>,
  indices: readonly number[],
): number {
  for (const grad of Object.values(grads)) grad.fill(0);
  let loss = 0;
  for (const index of indices) {
    const image = images.subarray(index * PIXELS, (index + 1) * PIXELS);
    const { hidden, probabilities } = forward(weights, image);
    loss -= Math.log(probabilities[labels[index]]) / indices.length;

    // Backward: from the logits through fc2, then through relu and fc1.
    const hiddenGrad = new Float64Array(HIDDEN);
    for (let k = 0; k < CLASSES; k++) {
      const logitGrad = (probabilities[k] - (k === labels[index] ? 1 : 0)) / indices.length;
      grads['fc2.bias'][k] += logitGrad;
      for (let j = 0; j < HIDDEN; j++) {
        grads['fc2.weight'][k * HIDDEN + j] += logitGrad * hidden[j];
        hiddenGrad[j] += logitGrad * weights['fc2.weight'][k * HIDDEN + j];
      }
    }
    for (let j = 0; j < HIDDEN; j++) {
      if (hidden[j] === 0) continue;
      grads['fc1.bias'][j] += hiddenGrad[j];
      for (let i = 0; i < PIXELS; i++) grads['fc1.weight'][j * PIXELS + i] += hiddenGrad[j] * image[i];
    }
  }
  return loss;
}

/** Returns the fraction of the images at `indices` that are classified correctly. */
export function accuracy(
  weights: Weights,
  images: Float32Array,
  labels: ArrayLike<number>,
  indices: readonly number[],
): number {
  const right = indices.filter((index) => {
    const { probabilities } = forward(weights, images.subarray(index * PIXELS, (index + 1) * PIXELS));
    return probabilities.indexOf(Math.max(...probabilities)) === labels[index];
  });
  return right.length / indices.length;
}
