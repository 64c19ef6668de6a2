// jax-js: AdamW written with its arrays, with the operations of Optax and of jax-js' own optimizers, plain and under
// its jit.

import type { System } from '../contender.js';
import { hyper } from '../truth.js';
import { load, versionOf } from './installed.js';

/** The part that is used. An operation consumes the arrays passed to it; `ref` keeps one. */
interface JaxArray {
  readonly ref: JaxArray;
  add(other: JaxArray | number): JaxArray;
  mul(other: JaxArray | number): JaxArray;
  div(other: JaxArray): JaxArray;
  blockUntilReady(): Promise<unknown>;
  data(): Promise<Float32Array>;
  dispose(): void;
}

type Arrays = [param: JaxArray, m: JaxArray, v: JaxArray];
type Update = (
  ...args: [...Arrays, grad: JaxArray, mCorrection: JaxArray | number, vCorrection: JaxArray | number]
) => Arrays;

interface Jax {
  init(device: string): Promise<readonly string[]>;
  defaultDevice(device: string): void;
  jit(update: Update): Update;
  readonly numpy: {
    array(values: Float32Array | number): JaxArray;
    zeros(shape: readonly number[]): JaxArray;
    sqrt(array: JaxArray): JaxArray;
  };
}

const name = '@jax-js/jax';

export const jax = (isJit: boolean) => async (): Promise<System> => {
  const { init, defaultDevice, jit, numpy } = load(name) as Jax;
  if (!(await init('wasm')).includes('wasm')) throw new Error(`${name} does not start on wasm.`);
  defaultDevice('wasm');
  const { lr, betas, eps, weightDecay } = hyper;
  const [beta1, beta2] = betas;

  const eager: Update = (param, m, v, grad, mCorrection, vCorrection) => {
    const nextM = grad.ref.mul(1 - beta1).add(m.mul(beta1));
    const nextV = grad.ref
      .mul(grad)
      .mul(1 - beta2)
      .add(v.mul(beta2));
    const direction = nextM.ref.mul(mCorrection).div(numpy.sqrt(nextV.ref.mul(vCorrection)).add(eps));
    return [param.ref.add(direction.add(param.mul(weightDecay)).mul(-lr)), nextM, nextV];
  };
  const update = isJit ? jit(eager) : eager;
  // Plain numbers would become constants of the compiled code, so every step would compile again.
  const scalar = (x: number): JaxArray | number => (isJit ? numpy.array(x) : x);

  return {
    version: versionOf(name),
    open({ length, param, grad }) {
      const grads = numpy.array(grad(new Float32Array(length)));
      let arrays: Arrays = [numpy.array(param(new Float32Array(length))), numpy.zeros([length]), numpy.zeros([length])];
      let t = 0;
      return {
        async step() {
          t += 1;
          arrays = update(...arrays, grads.ref, scalar(1 / (1 - beta1 ** t)), scalar(1 / (1 - beta2 ** t)));
          for (const array of arrays) await array.blockUntilReady();
        },
        read: () => arrays[0].ref.data(),
        close: () => [...arrays, grads].forEach((array) => array.dispose()),
      };
    },
  };
};
