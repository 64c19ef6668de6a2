// The digits, the initial weights, and the results of PyTorch.

import { readFileSync } from 'node:fs';
import { readSafetensors } from '../../tools/safetensors.js';

const folder = new URL('../../../../examples/digits/', import.meta.url);
const { tensors } = readSafetensors(readFileSync(new URL('digits.safetensors', folder)));

interface Run {
  readonly losses: readonly number[];
  readonly testAccuracy: number;
}

/** The same training in PyTorch: its settings, and the loss of every batch. */
export const pytorch = JSON.parse(readFileSync(new URL('digits-pytorch.json', folder), 'utf8')) as {
  batch: number;
  steps: number;
  train: number;
  runs: Record<
    string,
    { options: { lr: number; weightDecay?: number; warmupSteps?: number; decay?: 'weights only' }; float32: Run }
  >;
};

/** One image after another, 8x8 pixels each, scaled from 0..16 to 0..1. */
export const images = Float32Array.from(tensors.get('images')!.data, (pixel) => pixel / 16);
export const labels = tensors.get('labels')!.data;

/** Returns copies of the initial weights, by name. */
export const initialWeights = (): Record<string, Float32Array> =>
  Object.fromEntries(
    ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'].map((name) => [
      name,
      tensors.get(`init/${name}`)!.data.slice() as Float32Array,
    ]),
  );
