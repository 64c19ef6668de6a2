// The GPU of this machine, and our optimizers on it as contenders.

import * as twinstep from 'twinstep';
import type { Most, System } from './contender.js';
import { optimizers } from './ours.js';
import type { OptimizerName } from './truth.js';

/** Whether an adapter of that name computes on the CPU. */
export const isSoftware = (adapter: string): boolean => /swiftshader|llvmpipe|lavapipe/i.test(adapter);

/** The most that software steps in the bench. */
const SMALL = 1000;

interface Gpu {
  readonly device: GPUDevice;
  readonly version: string;
  readonly most?: Most;
}

/** The device, and up to which size the steps of an optimizer on it are worth waiting for. */
export async function openGpu(name: OptimizerName): Promise<Gpu> {
  // A driver takes time and memory, which contenders on the CPU do without.
  const { openDevice } = await import('../tools/dawn.js');
  const opened = await openDevice();
  if (typeof opened === 'string') throw new Error(`${opened}.`);
  const { device, adapter: version } = opened;
  if (!isSoftware(version)) return { device, version };
  const because = `${version} is software: that it runs is shown by AdamW, up to ${SMALL} parameters, and its speed says nothing`;
  return { device, version, most: { size: name === 'adamw' ? SMALL : 0, because } };
}

/** Counts the bytes of all buffers from now on; asked, it tells the most that there were at once. */
function countBuffers(device: GPUDevice): () => number {
  let [now, most] = [0, 0];
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    now += buffer.size;
    most = Math.max(most, now);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      now -= buffer.size;
      buffer.destroy = destroy;
      return destroy();
    };
    return buffer;
  };
  return () => most;
}

/** A step of the optimizer, waited for: small sizes show what a submit costs. */
export async function gpuStep(name: OptimizerName): Promise<System> {
  const { device, ...told } = await openGpu(name);
  const { algorithm, options } = optimizers[name];
  return {
    ...told,
    // Buffers are counted exactly.
    memoryLength: 1e6,
    async open({ length, param, grad }) {
      const peak = countBuffers(device);
      const create = twinstep[algorithm] as typeof twinstep.adamw;
      const params = { w: param(new Float32Array(length)) };
      const optimizer = await create(params, { ...options, backend: 'webgpu', device });
      const { buffer, offset = 0 } = optimizer.grads.w;
      device.queue.writeBuffer(buffer, offset, grad(new Float32Array(length)) as Float32Array<ArrayBuffer>);
      return {
        step() {
          optimizer.step();
          return device.queue.onSubmittedWorkDone();
        },
        read: () => optimizer.read('w'),
        peak,
        close: () => optimizer.dispose(),
      };
    },
  };
}
