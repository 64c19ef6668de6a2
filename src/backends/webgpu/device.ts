// Devices: asking for one, its errors, and its loss.

import { pack } from '../layout.js';
import { Unavailable, type Request } from '../backend.js';

/** A device of `navigator.gpu`, with limits that let each section lie in one arena as far as the adapter can. */
export async function requestDevice({ sections }: Request): Promise<GPUDevice> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  if (gpu === undefined) throw new Unavailable('there is no navigator.gpu; pass a GPUDevice as the option device');
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Unavailable('navigator.gpu has no adapter');
  const sizes = sections.map(({ tensors }) => pack(tensors)[0]?.bytes ?? 0);
  const needed = sizes.reduce((most, bytes) => Math.max(most, bytes), 0);
  // What every device has unasked; asking for more than is needed may cost speed.
  const guaranteed = { maxStorageBufferBindingSize: 128 * 2 ** 20, maxBufferSize: 256 * 2 ** 20 } as const;
  const requiredLimits: Record<string, number> = {};
  for (const [limit, size] of Object.entries(guaranteed)) {
    if (needed > size) requiredLimits[limit] = Math.min(needed, adapter.limits[limit as keyof typeof guaranteed]);
  }
  return adapter.requestDevice({ requiredLimits });
}

/** Pushes error scopes around the calls that follow: both of them, or none. */
export function pushErrorScopes(device: GPUDevice): void {
  device.pushErrorScope('out-of-memory');
  try {
    device.pushErrorScope('validation');
  } catch (error) {
    pop(device).catch(() => {});
    throw error;
  }
}

/** Pops the scopes that `pushErrorScopes` pushed. Resolves to the first error message or undefined, and never rejects. */
export async function popErrorScopes(device: GPUDevice): Promise<string | undefined> {
  const scopes = [pop(device), pop(device)];
  try {
    return (await Promise.all(scopes)).find((error) => error !== null)?.message;
  } catch (error) {
    // A device that is lost may have no answer.
    return String(error);
  }
}

/** Rejects if popErrorScope itself throws, so that the other scope is popped, too. */
const pop = async (device: GPUDevice): Promise<GPUError | null> => device.popErrorScope();

/** Runs `make` in error scopes. Resolves to the first error message or undefined. */
export function inErrorScopes(device: GPUDevice, make: () => void): Promise<string | undefined> {
  pushErrorScopes(device);
  try {
    make();
  } catch (error) {
    void popErrorScopes(device);
    throw error;
  }
  return popErrorScopes(device);
}
