// js-pytorch: its Adam.

import type { System } from '../contender.js';
import { hyper } from '../truth.js';
import { load, versionOf } from './installed.js';

interface Tensor {
  readonly data: number[];
  _grad: Tensor;
}

/** The part that is used. */
interface JsPytorch {
  readonly torch: {
    tensor(data: readonly number[], requiresGrad?: boolean): Tensor;
    readonly optim: {
      readonly Adam: new (
        params: readonly Tensor[],
        lr: number,
        decay: number,
        betas: readonly number[],
        eps: number,
      ) => { step(): void };
    };
  };
}

const name = 'js-pytorch';

export async function jsPytorch(): Promise<System> {
  const { torch } = load(name) as JsPytorch;
  return {
    version: versionOf(name),
    open({ length, param, grad }) {
      const w = torch.tensor(Array.from(param(new Float32Array(length))), true);
      w._grad = torch.tensor(Array.from(grad(new Float32Array(length))));
      const adam = new torch.optim.Adam([w], hyper.lr, hyper.weightDecay, hyper.betas, hyper.eps);
      return { step: () => adam.step(), read: () => w.data, close: () => {} };
    },
  };
}
