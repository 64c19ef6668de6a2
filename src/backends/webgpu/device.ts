// Devices: asking for one, and hearing what it has to complain of.

import { pack } from '../../layout.js';
import { Unavailable, type Request } from '../backend.js';

// The specification's numbers: the globals GPUBufferUsage, GPUMapMode and GPUShaderStage are missing outside browsers.
export const MAP_READ = 0x01;
export const COPY_SRC = 0x04;
export const COPY_DST = 0x08;
export const UNIFORM = 0x40;
export const STORAGE = 0x80;
export const READ = 0x1;
export const COMPUTE = 0x4;

/** A device of `navigator.gpu`, with limits that let each group lie in one arena as far as the adapter can. */
export async function requestDevice({ groups }: Request): Promise<GPUDevice> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  if (gpu === undefined) throw new Unavailable('there is no navigator.gpu; pass a GPUDevice as the option device');
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Unavailable('navigator.gpu has no adapter');
  const needed = Math.max(...groups.map(({ tensors }) => pack(tensors)[0]?.bytes ?? 0));
  // What every device has unasked; asking for more than is needed may cost speed.
  const guaranteed = { maxStorageBufferBindingSize: 128 * 2 ** 20, maxBufferSize: 256 * 2 ** 20 } as const;
  const requiredLimits: Record<string, number> = {};
  for (const [limit, size] of Object.entries(guaranteed)) {
    if (needed > size) requiredLimits[limit] = Math.min(needed, adapter.limits[limit as keyof typeof guaranteed]);
  }
  return adapter.requestDevice({ requiredLimits });
}

/** Runs `make`, and gives what the device finds wrong with it: undefined, as a rule. */
export async function complaint(device: GPUDevice, make: () => void): Promise<string | undefined> {
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('validation');
  let scopes: Promise<GPUError | null>[] = [];
  try {
    make();
  } finally {
    scopes = [device.popErrorScope(), device.popErrorScope()];
  }
  const errors = await Promise.all(scopes);
  return errors.find((error) => error !== null)?.message;
}

/** A sentence for a buffer that the device has complained of. */
export const unusable = (what: string, trouble: string): string =>
  `The device cannot use the GPUBuffer of ${what}; does it belong to another device? ${trouble}`;

export const deviceLost = ({ message, reason }: GPUDeviceLostInfo): string =>
  `The GPU device was lost: ${message || reason}`;
