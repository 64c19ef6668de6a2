// Our optimizers on the GPU of this machine, as contenders.

import * as twinstep from 'twinstep';
import type { SizeLimit, System } from './contender.js';
import { optimizers, type StepOptions } from './ours.js';
import type { OptimizerName } from './truth.js';

/** Returns whether an adapter of that name computes on the CPU. */
export const isSoftware = (adapter: string): boolean => /swiftshader|llvmpipe|lavapipe/i.test(adapter);

/** Largest size on a software adapter. */
const SMALL = 1000;

interface Gpu {
  readonly device: GPUDevice;
  readonly version: string;
  readonly sizeLimit?: SizeLimit;
}

/** Opens the device. Sets a size limit on a software adapter, whose times say nothing. */
export async function openGpu(name: OptimizerName): Promise<Gpu> {
  // Imported here because a driver takes time and memory, which contenders on the CPU must not pay for.
  const { openDevice } = await import('../tools/dawn.js');
  const opened = await openDevice();
  if (typeof opened === 'string') throw new Error(`${opened}.`);
  const { device, adapter: version } = opened;
  if (!isSoftware(version)) return { device, version };
  const because = `${version} is software: its speed says nothing, so only AdamW runs, up to ${SMALL} parameters`;
  return { device, version, sizeLimit: { size: name === 'adamw' ? SMALL : 0, because } };
}

/** Counts the bytes of all buffers made from now on. The returned function gives their peak. */
function countBuffers(device: GPUDevice): () => number {
  let [now, peak] = [0, 0];
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    now += buffer.size;
    peak = Math.max(peak, now);
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {
      now -= buffer.size;
      buffer.destroy = destroy;
      return destroy();
    };
    return buffer;
  };
  return () => peak;
}

/** Takes one step and waits for it. At small sizes this measures the cost of a submit. */
export async function gpuStep(name: OptimizerName, stepOptions?: StepOptions): Promise<System> {
  const { device, ...info } = await openGpu(name);
  const { algorithm, options } = optimizers[name];
  return {
    ...info,
    // Few parameters are enough, since buffers are counted exactly.
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
          if (stepOptions) optimizer.step(optimizer.grads, stepOptions);
          else optimizer.step();
          return device.queue.onSubmittedWorkDone();
        },
        read: () => optimizer.read('w'),
        peak,
        close: () => optimizer.dispose(),
      };
    },
  };
}
