// The ways of stepping that the soak runs, and a count of the objects that they create on a device.

import { adamw, gradScaler } from 'twinstep';
import { openDevice, openNullDevice } from '../tools/dawn.js';

/** `step` takes a step; `settle` waits until all steps are done. */
export interface Stepping {
  step(): void;
  settle(): Promise<unknown>;
  gpuObjects(): number;
}

const lengths = { weight: 1000, bias: 10, norm: 64 };
type Tensors<Memory> = Record<string, Memory>;
const tensors = (of: Record<string, number> = lengths): Tensors<Float32Array<ArrayBuffer>> =>
  Object.fromEntries(Object.entries(of).map(([name, length]) => [name, new Float32Array(length).fill(0.5)]));
/** Makes two runs: one with weight decay, one without. */
const options = { decayMask: (name: string): boolean => name === 'weight' };

/** Each step clips, may be skipped, and updates the scale of the loss. */
const clipping = () => ({ maxNorm: 1, maxValue: 1, scaler: gradScaler() });

const onCpu =
  (backend: 'wasm' | 'reference', gradients: 'in place' | 'arrays' | 'clipped') => async (): Promise<Stepping> => {
    const optimizer = await adamw(tensors(), { ...options, backend });
    const grads = tensors();
    for (const [name, grad] of Object.entries(grads)) optimizer.grads[name].set(grad);
    const stepOptions = clipping();
    const steps = {
      'in place': () => optimizer.step(),
      arrays: () => optimizer.step(grads),
      clipped: () => optimizer.step(grads, stepOptions),
    };
    return { step: steps[gradients], settle: () => Promise.resolve(), gpuObjects: () => 0 };
  };

/** Has a tensor that is long enough to be split between threads. */
async function onThreads(): Promise<Stepping> {
  const optimizer = await adamw(tensors({ ...lengths, embedding: 20_000 }), { ...options, threads: 2 });
  for (const grad of Object.values(optimizer.grads)) grad.fill(0.5);
  return { step: () => optimizer.step(), settle: () => Promise.resolve(), gpuObjects: () => 0 };
}

async function openAdapter(): Promise<GPUDevice> {
  const opened = await openDevice();
  if (typeof opened === 'string') throw new Error(opened);
  return opened.device;
}

type Gradients = 'in place' | 'buffers' | 'arrays' | 'encoded' | 'clipped';

const onGpu = (open: () => Promise<GPUDevice>, gradients: Gradients) => async (): Promise<Stepping> => {
  const device = await open();
  device.addEventListener('uncapturederror', ({ error }) => {
    throw new Error(error.message);
  });
  const gpuObjects = countObjects(device);
  const buffers = (): Tensors<GPUBuffer> =>
    Object.fromEntries(
      Object.entries(tensors()).map(([name, values]) => {
        const buffer = device.createBuffer({ size: values.byteLength, usage: 0x8c });
        device.queue.writeBuffer(buffer, 0, values);
        return [name, buffer];
      }),
    );
  const isOwn = gradients === 'in place' || gradients === 'arrays';
  const optimizer = isOwn
    ? await adamw(tensors(), { ...options, backend: 'webgpu', device })
    : await adamw(buffers(), { ...options, device });
  const [arrays, bound, stepOptions] = [tensors(), buffers(), clipping()];
  const steps: Record<Gradients, () => void> = {
    'in place': () => optimizer.step(),
    buffers: () => optimizer.step(bound),
    arrays: () => optimizer.step(arrays),
    clipped: () => optimizer.step(bound, stepOptions),
    encoded: () => {
      const encoder = device.createCommandEncoder();
      optimizer.encode(encoder, bound);
      device.queue.submit([encoder.finish()]);
    },
  };
  return { step: steps[gradients], settle: () => device.queue.onSubmittedWorkDone(), gpuObjects };
};

/** Counts the objects of a device that are neither destroyed nor collected, except encoders, which each step makes. */
function countObjects(device: GPUDevice): () => number {
  const alive = new Set<number>();
  const collected = new FinalizationRegistry((id: number) => alive.delete(id));
  let made = 0;
  const count = <Made extends object>(object: Made): Made => {
    const id = made++;
    alive.add(id);
    collected.register(object, id);
    if ('destroy' in object) {
      const destroy = (object.destroy as () => void).bind(object);
      object.destroy = () => {
        alive.delete(id);
        destroy();
      };
    }
    return object;
  };
  const makers = Object.getPrototypeOf(device) as Record<string, unknown>;
  for (const name of Object.getOwnPropertyNames(makers).filter((each) => /^create(?!CommandEncoder)/.test(each))) {
    const make = (device[name as keyof GPUDevice] as (...args: unknown[]) => object).bind(device);
    const counting = (...args: unknown[]): object => {
      const result = make(...args);
      return result instanceof Promise ? result.then(count) : count(result);
    };
    Object.defineProperty(device, name, { value: counting });
  }
  return () => alive.size;
}

/** The null device validates everything and computes nothing, so only our own work remains. */
const devices = { 'null device': openNullDevice, adapter: openAdapter };

export const ways: Readonly<Record<string, () => Promise<Stepping>>> = {
  'wasm, in place': onCpu('wasm', 'in place'),
  'wasm, arrays': onCpu('wasm', 'arrays'),
  'wasm, clipped': onCpu('wasm', 'clipped'),
  'wasm, 2 threads': onThreads,
  'reference, in place': onCpu('reference', 'in place'),
  ...Object.fromEntries(
    Object.entries(devices).flatMap(([name, open]) =>
      (['in place', 'buffers', 'arrays', 'encoded', 'clipped'] as const).map((gradients) => [
        `webgpu, ${name}, ${gradients}`,
        onGpu(open, gradients),
      ]),
    ),
  ),
};
