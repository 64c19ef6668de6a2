// WebGPU in Node, from npm `webgpu` (Dawn). Start the process through tools/vulkan.mjs.

import { create } from 'webgpu';

// Dawn aborts the process at random once this object is collected, so it is kept.
let gpu: GPU | undefined;

export interface Opened {
  readonly device: GPUDevice;
  /** What the adapter calls itself. */
  readonly adapter: string;
}

/** A device with the limits of the adapter (`'adapter'`) or those that every device has, or the reason for none. */
export async function openDevice(limits: 'adapter' | 'guaranteed' = 'guaranteed'): Promise<Opened | string> {
  try {
    gpu ??= create([]);
    const adapter = await gpu.requestAdapter();
    if (adapter === null) return 'Dawn finds no adapter';
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const requiredLimits = limits === 'adapter' ? { maxBufferSize, maxStorageBufferBindingSize } : {};
    const { description, vendor, architecture } = adapter.info;
    const name = description || `${vendor} ${architecture}`;
    return { device: await adapter.requestDevice({ requiredLimits }), adapter: name };
  } catch (error) {
    return `Dawn does not start: ${error}`;
  }
}

let nullGpu: GPU | undefined;

/** A device that checks everything and computes nothing, for compiling shaders on any machine. */
export async function openNullDevice(): Promise<GPUDevice> {
  nullGpu ??= create(['backend=null']);
  const adapter = await nullGpu.requestAdapter();
  return adapter!.requestDevice();
}
