// twinstep's optimizers on the CPU as contenders, with each way of passing gradients.

import * as twinstep from 'twinstep';
import { coefficients, kernels, type AlgorithmName, type KernelDescription } from 'twinstep/kernels';
import type { Model, System } from './contender.js';
import { hyper, MAX_NORM, type OptimizerName } from './truth.js';

type Options = Parameters<typeof twinstep.adamw>[1] & object;
type CpuOptions = Options & { backend: 'wasm' | 'reference' };
export type StepOptions = Parameters<Awaited<ReturnType<typeof twinstep.adamw>>['step']>[1];

interface Optimizer {
  readonly algorithm: AlgorithmName;
  readonly options: Options;
}

const { betas, ...common } = hyper;
const { lr, weightDecay } = common;
const adam: Options = { ...common, betas };

export const optimizers: Readonly<Record<OptimizerName, Optimizer>> = {
  adamw: { algorithm: 'adamw', options: adam },
  adam: { algorithm: 'adam', options: adam },
  amsgrad: { algorithm: 'adam', options: { ...adam, amsgrad: true } },
  nadam: { algorithm: 'nadam', options: adam },
  radam: { algorithm: 'radam', options: adam },
  adamwScheduleFree: { algorithm: 'adamwScheduleFree', options: adam },
  // With the silent phase, the first updates are zero.
  radamScheduleFree: { algorithm: 'radamScheduleFree', options: { ...adam, silentSgdPhase: false } as Options },
  sgdScheduleFree: { algorithm: 'sgdScheduleFree', options: { lr, weightDecay, momentum: betas[0] } as Options },
};

function kernelOf(name: OptimizerName): KernelDescription {
  const { algorithm, options } = optimizers[name];
  return kernels[coefficients(algorithm, options).kernel];
}

/** Number of arrays besides parameter and gradient. */
export const slotsOf = (name: OptimizerName): number => kernelOf(name).arrays.length - 2;

/** Returns whether the update takes a root and a division for each element. */
export const divides = (name: OptimizerName): boolean => kernelOf(name).scalars.includes('eps');

const make = (name: OptimizerName, params: Record<string, Float32Array>, machine: CpuOptions) => {
  const { algorithm, options } = optimizers[name];
  const create = twinstep[algorithm] as typeof twinstep.adamw;
  return create(params, { ...options, ...machine });
};

const version = 'this one';
const start = ({ length, param }: Model): { w: Float32Array } => ({ w: param(new Float32Array(length)) });

/** The options of a step that clips. */
export const clipping: StepOptions = { maxNorm: MAX_NORM };

/** Writes gradients to `optimizer.grads`, where the kernels read them. */
export const inPlace = (name: OptimizerName, machine: CpuOptions, stepOptions?: StepOptions): System => ({
  version,
  async open(model) {
    const optimizer = await make(name, start(model), machine);
    model.grad(optimizer.grads.w);
    return {
      step: stepOptions ? () => optimizer.step(optimizer.grads, stepOptions) : () => optimizer.step(),
      read: () => optimizer.params.w,
      close: () => optimizer.dispose(),
    };
  },
});

/** Runs the 256-bit kernels. Throws the reason if enableWideSimd() does not enable them. */
export function wide(name: OptimizerName): System {
  const { wasm, reason } = twinstep.enableWideSimd();
  if (wasm === undefined) throw new Error(reason);
  return inPlace(name, { backend: 'wasm', wasm });
}

/** Passes gradients in arrays of the caller, which a step copies. */
export const fromArrays = (name: OptimizerName, machine: CpuOptions): System => ({
  version,
  async open(model) {
    const optimizer = await make(name, start(model), machine);
    const grads = { w: model.grad(new Float32Array(model.length)) };
    return {
      step: () => optimizer.step(grads),
      read: () => optimizer.params.w,
      close: () => optimizer.dispose(),
    };
  },
});

const LAYERS = 40;

/** Like a backward pass: writes the gradient of a layer into a shared array, steps that layer, and reuses the array. */
export const layerByLayer = (name: OptimizerName, machine: CpuOptions): System => ({
  version,
  async open({ length, param, grad }) {
    const layerLength = Math.ceil(length / LAYERS);
    const starts = Array.from({ length: Math.ceil(length / layerLength) }, (_, i) => i * layerLength);
    const layers = starts.map((from): [string, Float32Array] => [
      `layer${from}`,
      param(new Float32Array(Math.min(layerLength, length - from)), from),
    ]);
    const optimizer = await make(name, Object.fromEntries(layers), { ...machine, keepGrads: false });
    const shared = new Float32Array(layerLength);
    return {
      step() {
        for (const [i, [layer, { length: size }]] of layers.entries())
          optimizer.step({ [layer]: grad(shared.subarray(0, size), starts[i]) });
      },
      read: () => layers.flatMap(([layer]) => Array.from(optimizer.params[layer])),
      close: () => optimizer.dispose(),
    };
  },
});
