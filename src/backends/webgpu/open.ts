// Making a WebGPU backend: all that has to be asked of the device before the first step.

import { ALIGNMENT, alignDown, FLOAT, pack, type Tensor } from '../../layout.js';
import { show } from '../../sentences.js';
import { Unavailable, type Backend, type Request } from '../backend.js';
import { WebGPU } from '../webgpu.js';
import { complaint, requestDevice } from './device.js';
import { Dispatches } from './dispatches.js';
import { Kernels } from './kernel.js';
import { GroupMemory } from './memory.js';

export async function openWebGPU(request: Request): Promise<Backend> {
  if (request.device !== undefined) return open(request, request.device, false);
  if (request.memory === 'GPU') {
    throw new TypeError("Expected the GPUDevice of the parameters' buffers as the option device, got undefined.");
  }
  const device = await requestDevice(request);
  try {
    return await open(request, device, true);
  } catch (error) {
    device.destroy();
    throw error;
  }
}

async function open(request: Request, device: GPUDevice, ownsDevice: boolean): Promise<Backend> {
  const { groups, sources } = request;
  const kernels = Kernels.of(device);
  // By now a device that was lost before has said so.
  await Promise.race([device.lost, undefined]);
  kernels.checkAlive();
  const kernelOf = new Map(
    await Promise.all(
      groups.flatMap(({ rules }) => rules).map(async (rule) => [rule, await kernels.get(rule)] as const),
    ),
  );
  const arenas = packAll(request, device.limits);
  if (request.memory === 'GPU') await checkBuffers(request, device);

  let memories: GroupMemory[] = [];
  const trouble = await complaint(device, () => {
    memories = groups.map((group, g) => new GroupMemory(device, group, arenas[g], sources));
  });
  if (trouble !== undefined) {
    memories.forEach((memory) => memory.destroy());
    throw new Error(`The GPU device gives no memory for the optimizer: ${trouble}`);
  }
  const dispatches = groups.map(
    ({ rules, tensors }, g) =>
      new Map(rules.map((rule) => [rule, new Dispatches(device, rule, kernelOf.get(rule)!, memories[g], tensors)])),
  );
  return new WebGPU(device, ownsDevice, groups, memories, dispatches);
}

/** Arenas of what one binding may hold, so that each is one dispatch. */
function packAll({ groups, memory }: Request, { maxBufferSize, maxStorageBufferBindingSize }: GPUSupportedLimits) {
  const arenas = groups.map(({ tensors }) =>
    pack(tensors, alignDown(Math.min(maxBufferSize, maxStorageBufferBindingSize))),
  );
  for (const { tensors, bytes } of arenas.flat()) {
    if (memory === 'GPU' || bytes <= maxBufferSize) continue;
    const { name } = tensors[0];
    throw new Unavailable(`${show(name)} takes ${bytes} bytes, the device's buffers at most ${maxBufferSize}`);
  }
  return arenas;
}

/** Throws for parameters in buffers of another device. A buffer does not tell: binding it is the only way to ask. */
async function checkBuffers({ sources }: Request, device: GPUDevice): Promise<void> {
  const entry = { binding: 0, visibility: 0, buffer: { type: 'storage' } } as const;
  const layout = device.createBindGroupLayout({ entries: [entry] });
  const tensorOf = new Map<GPUBuffer, Tensor>();
  for (const [tensor, source] of sources) {
    if (tensor.length > 0) tensorOf.set(source.buffer as GPUBuffer, tensor);
  }
  await Promise.all(
    [...tensorOf].map(async ([buffer, { name, length }]) => {
      const resource = { buffer, size: Math.min(length * FLOAT, ALIGNMENT) };
      const trouble = await complaint(device, () => {
        device.createBindGroup({ layout, entries: [{ binding: 0, resource }] });
      });
      if (trouble === undefined) return;
      const question = 'does it belong to another device?';
      throw new TypeError(`The device cannot use the GPUBuffer of parameter ${show(name)}; ${question} ${trouble}`);
    }),
  );
}
