// WebGPU in Node, from npm `webgpu` (Dawn). Start the process with tools/vulkan.mjs.

import { create } from 'webgpu';

// Keep this object: Dawn may abort the process after it is garbage collected.
let gpu: GPU | undefined;

export interface Opened {
  readonly device: GPUDevice;
  /** The name of the adapter. */
  readonly adapter: string;
}

/** Returns a device with the limits of the adapter or those guaranteed everywhere, or the reason why there is none. */
export async function openDevice(limits: 'adapter' | 'guaranteed' = 'guaranteed'): Promise<Opened | string> {
  try {
    gpu ??= create([]);
    const adapter = await gpu.requestAdapter();
    if (adapter === null) return 'Dawn found no adapter';
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const requiredLimits = limits === 'adapter' ? { maxBufferSize, maxStorageBufferBindingSize } : {};
    const { description, vendor, architecture } = adapter.info;
    const name = description || `${vendor} ${architecture}`;
    return { device: await adapter.requestDevice({ requiredLimits }), adapter: name };
  } catch (error) {
    return `Dawn failed to start: ${error}`;
  }
}

let nullGpu: GPU | undefined;

/** Returns a device that validates everything and computes nothing: compiles shaders on any machine. */
export async function openNullDevice(): Promise<GPUDevice> {
  nullGpu ??= create(['backend=null']);
  const adapter = await nullGpu.requestAdapter();
  return adapter!.requestDevice();
}
