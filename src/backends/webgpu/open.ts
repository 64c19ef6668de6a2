// Opens a WebGPU backend: checks buffers, compiles kernels and allocates memory.

import type { NewTensors } from '../section.js';
import { ALIGNMENT, alignDown, FLOAT, pack, type Tensor } from '../layout.js';
import { isFloat32Array } from '../memory.js';
import { makeBindGroup, checkBindable, checkUsage } from './buffers.js';
import type { Rule } from '../../rules/rule.js';
import { ownOf, show } from '../../errors.js';
import { Unavailable, type Backend, type Request } from '../backend.js';
import { WebGPU } from './backend.js';
import { inErrorScopes, requestDevice } from './device.js';
import { Dispatches } from './dispatches.js';
import { Kernels, type Kernel, type SourceOf } from './kernels.js';
import { SectionMemory } from './section-memory.js';
import type { GpuSection } from './recording.js';

/** Opens WebGPU on the caller's device, or on one that it requests. `sourceOf` returns the WGSL file of a rule. */
export async function openWebGPU(request: Request, sourceOf: SourceOf): Promise<Backend> {
  if (request.device !== undefined) return open(request, request.device, false, sourceOf);
  if (request.memory === 'GPU') {
    throw new TypeError("Expected the GPUDevice of the parameters' buffers as the option device, got undefined.");
  }
  const device = await requestDevice(request);
  try {
    return await open(request, device, true, sourceOf);
  } catch (error) {
    device.destroy();
    throw error;
  }
}

async function open(request: Request, device: GPUDevice, ownsDevice: boolean, sourceOf: SourceOf): Promise<Backend> {
  const backend = new WebGPU(device, ownsDevice, request.keepGrads, (added, own) =>
    place(added, device, own, sourceOf),
  );
  try {
    // A device lost earlier resolves `lost` only now.
    await Promise.race([device.lost, undefined]);
    backend.checkAlive();
    (await backend.extend(request)).take();
    return backend;
  } catch (error) {
    backend.dispose();
    throw error;
  }
}

/** Allocates memory and makes dispatches for new sections. If the device refuses, frees everything and rejects. */
async function place(
  added: NewTensors,
  device: GPUDevice,
  own: WeakSet<object>,
  sourceOf: SourceOf,
): Promise<GpuSection[]> {
  const { sections, sources } = added;
  if (added.memory === 'GPU') {
    for (const [{ name }, { buffer }] of sources) checkBindable(buffer as GPUBuffer, 'parameter', name);
  }
  const arenas = packAll(added, device.limits);
  checkCopies(added);
  if (added.memory === 'GPU') await checkBuffers(added, device);
  const kernelOf = await kernelsOf(added, device, sourceOf);

  const memories: SectionMemory[] = [];
  try {
    const message = await inErrorScopes(device, () => {
      for (const [i, section] of sections.entries()) {
        memories.push(new SectionMemory(device, section, arenas[i], sources, own));
        memories[i].fill(sources);
      }
    });
    if (message !== undefined) throw new Error(`The GPU device cannot allocate memory for the optimizer: ${message}`);
    return sections.map((section, i) => {
      const memory = memories[i];
      const make = (rule: Rule) => new Dispatches(device, rule, kernelOf.get(rule)!, memory, section.tensors);
      return { section, memory, dispatches: new Map(section.rules.map((rule) => [rule, make(rule)])) };
    });
  } catch (error) {
    for (const memory of memories) memory.destroy();
    throw error;
  }
}

/** Compiles the kernels of all rules. */
async function kernelsOf(
  { sections }: NewTensors,
  device: GPUDevice,
  sourceOf: SourceOf,
): Promise<ReadonlyMap<Rule, Kernel>> {
  const rules = [...new Set(sections.flatMap((section) => section.rules))];
  const kernels = await Promise.all(rules.map((rule) => Kernels.of(device).get(rule, sourceOf)));
  return new Map(rules.map((rule, i) => [rule, kernels[i]]));
}

/** Packs tensors into arenas that fit into one binding, so that each is one dispatch. */
function packAll({ sections, memory }: NewTensors, { maxBufferSize, maxStorageBufferBindingSize }: GPUSupportedLimits) {
  const arenas = sections.map(({ tensors }) =>
    pack(tensors, alignDown(Math.min(maxBufferSize, maxStorageBufferBindingSize))),
  );
  for (const { tensors, bytes } of arenas.flat()) {
    if (memory === 'GPU' || bytes <= maxBufferSize) continue;
    const { name } = tensors[0];
    throw new Unavailable(`${show(name)} needs ${bytes} bytes, the device's buffers have at most ${maxBufferSize}`);
  }
  return arenas;
}

/** Throws if a slot starts as a copy of a parameter whose buffer cannot be copied from. */
function checkCopies({ sections, sources }: NewTensors): void {
  for (const { rule, tensors } of sections) {
    for (const slot of rule.fromParam) {
      for (const tensor of tensors) {
        const source = sources.get(tensor)!;
        if (isFloat32Array(source) || tensor.length === 0) continue;
        const what = `${slot} of ${show(tensor.name)} starts as a copy of the parameter, which`;
        checkUsage(source.buffer as GPUBuffer, 'COPY_SRC', what);
      }
    }
  }
}

/** Throws for buffers of another device. Binding is the only way to find out. */
async function checkBuffers({ sources }: NewTensors, device: GPUDevice): Promise<void> {
  const entry = ownOf({ binding: 0, visibility: 0, buffer: ownOf({ type: 'storage' as const }) });
  const layout = device.createBindGroupLayout(ownOf({ entries: [entry] }));
  const tensorOf = new Map<GPUBuffer, Tensor>();
  for (const [tensor, source] of sources) {
    if (tensor.length > 0) tensorOf.set(source.buffer as GPUBuffer, tensor);
  }
  await Promise.all(
    [...tensorOf].map(async ([buffer, { name, length }]) => {
      const resource = { buffer, size: Math.min(length * FLOAT, ALIGNMENT) };
      const message = await inErrorScopes(device, () => {
        makeBindGroup(device, layout, [resource]);
      });
      if (message === undefined) return;
      const question = 'does it belong to another device?';
      throw new TypeError(`The device cannot use the GPUBuffer of parameter ${show(name)}; ${question} ${message}`);
    }),
  );
}
