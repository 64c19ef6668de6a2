// What the bench compares: a step over one tensor of n parameters.

import { adamw, adamwScheduleFree } from 'twinstep';

export interface Contender {
  readonly name: string;
  /** The largest size that it is worth waiting for. */
  readonly most: number;
  /** Makes a step over `length` parameters; called again and again, and waits for the machine that it runs on. */
  open(length: number): Promise<{ step: () => void | Promise<unknown>; close: () => void }>;
}

// Away from zero, so that no number becomes subnormal in however many steps.
const values = (length: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 0.1 + ((i * 7919) % 1009) / 1009);

const algorithms = { adamw, adamwScheduleFree };

/** One of our optimizers on the CPU, its gradients in place. */
const ours = (name: keyof typeof algorithms, backend: 'wasm' | 'reference', most: number): Contender => ({
  name: `twinstep ${name}, ${backend}`,
  most,
  async open(length) {
    const create = algorithms[name] as typeof adamw;
    const optimizer = await create({ w: values(length) }, { backend });
    optimizer.grads.w.set(values(length));
    return { step: () => optimizer.step(), close: () => optimizer.dispose() };
  },
});

/** The loop that people write: textbook AdamW in one pass, its numbers in f64 between loads and stores. */
const plainLoop: Contender = {
  name: 'plain JS loop',
  most: 1e7,
  open(length) {
    const [w, grad, m, v] = [values(length), values(length), new Float32Array(length), new Float32Array(length)];
    const [lr, beta1, beta2, eps, decay] = [1e-3, 0.9, 0.999, 1e-8, 1e-2];
    let t = 0;
    const step = (): void => {
      t += 1;
      const correction1 = 1 - beta1 ** t;
      const correction2 = 1 - beta2 ** t;
      for (let i = 0; i < w.length; i++) {
        const g = grad[i];
        const mi = (m[i] = beta1 * m[i] + (1 - beta1) * g);
        const vi = (v[i] = beta2 * v[i] + (1 - beta2) * g * g);
        w[i] = w[i] - lr * decay * w[i] - (lr * (mi / correction1)) / (Math.sqrt(vi / correction2) + eps);
      }
    };
    return Promise.resolve({ step, close: () => {} });
  },
};

/** Our WebGPU backend, all in GPU memory; each step is waited for, so small sizes show what a submit costs. */
const webgpu = (device: GPUDevice, most: number): Contender => ({
  name: 'twinstep adamw, webgpu',
  most,
  async open(length) {
    const optimizer = await adamw({ w: values(length) }, { backend: 'webgpu', device });
    const { buffer, offset = 0 } = optimizer.grads.w;
    device.queue.writeBuffer(buffer, offset, values(length) as Float32Array<ArrayBuffer>);
    return {
      step: () => {
        optimizer.step();
        return device.queue.onSubmittedWorkDone();
      },
      close: () => optimizer.dispose(),
    };
  },
});

/** All contenders of this machine. The software adapter is there to be seen at all, not to be fast. */
export const contenders = (device: GPUDevice | undefined, isSoftware: boolean): Contender[] => [
  plainLoop,
  ours('adamw', 'wasm', 1e7),
  ours('adamwScheduleFree', 'wasm', 1e7),
  ours('adamw', 'reference', 1e6),
  ...(device === undefined ? [] : [webgpu(device, isSoftware ? 1e5 : 1e7)]),
];
