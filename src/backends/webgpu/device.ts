// Requests a device, and collects its errors.

import { pack } from '../layout.js';
import { Unavailable, type Request } from '../backend.js';
import { ownOf } from '../../errors.js';

/** Requests a device of `navigator.gpu`, with limits that fit each section into one arena if the adapter can. */
export async function requestDevice({ sections }: Request): Promise<GPUDevice> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu;
  if (gpu === undefined) throw new Unavailable('there is no navigator.gpu; pass a GPUDevice as the option device');
  const adapter = await answered(() => gpu.requestAdapter());
  if (adapter === null) throw new Unavailable('navigator.gpu has no adapter');
  const sizes = sections.map(({ tensors }) => pack(tensors)[0]?.bytes ?? 0);
  const needed = sizes.reduce((most, bytes) => Math.max(most, bytes), 0);
  // The default limits. Requesting more than needed may cost speed.
  const guaranteed = { maxStorageBufferBindingSize: 128 * 2 ** 20, maxBufferSize: 256 * 2 ** 20 } as const;
  const requiredLimits = ownOf<Record<string, number>>({});
  for (const [limit, size] of Object.entries(guaranteed)) {
    if (needed > size) requiredLimits[limit] = Math.min(needed, adapter.limits[limit as keyof typeof guaranteed]);
  }
  return answered(() => adapter.requestDevice(ownOf({ requiredLimits })));
}

/** Resolves to the result of a request. Rejects with Unavailable if it fails. */
async function answered<Result>(request: () => Promise<Result>): Promise<Result> {
  try {
    return await request();
  } catch (error) {
    throw new Unavailable(`the request for a device failed (${String(error).trim()})`);
  }
}

/** Pushes an out-of-memory and a validation scope: both, or neither if that throws. */
export function pushErrorScopes(device: GPUDevice): void {
  device.pushErrorScope('out-of-memory');
  try {
    device.pushErrorScope('validation');
  } catch (error) {
    pop(device).catch(() => {});
    throw error;
  }
}

/** Pops the scopes of `pushErrorScopes`. Resolves to the first error message or undefined; never rejects. */
export async function popErrorScopes(device: GPUDevice): Promise<string | undefined> {
  const scopes = [pop(device), pop(device)];
  try {
    const error = (await Promise.all(scopes)).find((each) => each !== null);
    return error && textOf(error);
  } catch (error) {
    // A lost device may reject.
    return textOf(error);
  }
}

/** Returns the text of an error of a device, which Dawn ends with a line break. It need not be an Error. */
export const textOf = (error: unknown): string =>
  String((error as { message?: unknown } | null | undefined)?.message ?? error).trim();

/** Async, so that it rejects if popErrorScope throws, and the other scope is still popped. */
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
