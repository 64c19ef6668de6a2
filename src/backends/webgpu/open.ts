// Making a WebGPU backend: all that has to be asked of the device before the first step.

import { ALIGNMENT, alignDown, FLOAT, pack, type Tensor } from '../../layout.js';
import { isGpuMemory, locate } from '../../memory.js';
import { show } from '../../sentences.js';
import { Unavailable, type Backend, type Request } from '../backend.js';
import { WebGPU } from '../webgpu.js';
import { complaint, deviceLost, requestDevice, unusable } from './device.js';
import { Dispatches } from './dispatches.js';
import { Kernels } from './kernel.js';
import { GroupMemory } from './memory.js';

export async function openWebGPU(request: Request): Promise<Backend> {
  const { groups, memory, device: given } = request;
  if (memory === 'gpu' && given === undefined) {
    throw new TypeError("Expected the GPUDevice of the parameters' buffers as the option device, got undefined.");
  }
  const device = given ?? (await requestDevice(request));
  const lost = await Promise.race([device.lost, undefined]);
  if (lost !== undefined) throw new Error(deviceLost(lost));
  const kernels = Kernels.of(device);
  const kernelOfGroup = await Promise.all(groups.map(({ rule }) => kernels.get(rule)));
  const arenas = packAll(request, device.limits);
  await Promise.all(groups.flatMap(({ tensors }) => tensors.map((tensor) => checkDevice(device, tensor))));

  let memories: GroupMemory[] = [];
  const trouble = await complaint(device, () => {
    memories = groups.map((group, g) => new GroupMemory(device, group, arenas[g]));
  });
  if (trouble !== undefined) {
    memories.forEach((each) => each.destroy());
    throw new Error(`The GPU device gives no memory for the optimizer: ${trouble}`);
  }
  const dispatches = groups.map(({ tensors }, g) => new Dispatches(device, kernelOfGroup[g], memories[g], tensors));
  return new WebGPU(device, given === undefined, groups, memories, dispatches);
}

/** Arenas of what one binding may hold, so that each is one dispatch. */
function packAll({ groups, memory }: Request, { maxBufferSize, maxStorageBufferBindingSize }: GPUSupportedLimits) {
  const arenas = groups.map(({ tensors }) =>
    pack(tensors, alignDown(Math.min(maxBufferSize, maxStorageBufferBindingSize))),
  );
  for (const { tensors, bytes } of arenas.flat()) {
    if (memory === 'gpu' || bytes <= maxBufferSize) continue;
    throw new Unavailable(
      `${show(tensors[0].name)} takes ${bytes} bytes, the device's buffers at most ${maxBufferSize}`,
    );
  }
  return arenas;
}

/** Throws for a parameter in a buffer of another device. A buffer does not tell: binding it is the only way to ask. */
async function checkDevice(device: GPUDevice, { name, memory, length }: Tensor): Promise<void> {
  if (!isGpuMemory(memory) || length === 0) return;
  const { buffer } = locate(memory, 'parameter', name);
  const entry = { binding: 0, visibility: 0, buffer: { type: 'storage' } } as const;
  const resource = { buffer: buffer as GPUBuffer, size: Math.min(length * FLOAT, ALIGNMENT) };
  const trouble = await complaint(device, () => {
    const layout = device.createBindGroupLayout({ entries: [entry] });
    device.createBindGroup({ layout, entries: [{ binding: 0, resource }] });
  });
  if (trouble !== undefined) throw new TypeError(unusable(`parameter ${show(name)}`, trouble));
}
