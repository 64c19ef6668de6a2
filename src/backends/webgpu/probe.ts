// Checks that buffers can be written before any is: a device may do some writes, refuse others, and report it late.

import { show } from '../../errors.js';
import { inErrorScopes } from './device.js';

/** Rejects with an Error for the first buffer, by name, that is destroyed or mapped. Nothing is written. */
export async function checkWritable(device: GPUDevice, named: ReadonlyMap<GPUBuffer, string>): Promise<void> {
  if ((await probe(device, named.keys())) === undefined) return;
  for (const [buffer, name] of named) {
    const message = await probe(device, [buffer]);
    if (message !== undefined) throw new Error(`The GPU device cannot write ${show(name)}: ${message}`);
  }
}

/** Clears 0 bytes of each buffer: at submit the device checks that it can be written. */
function probe(device: GPUDevice, buffers: Iterable<GPUBuffer>): Promise<string | undefined> {
  return inErrorScopes(device, () => {
    const encoder = device.createCommandEncoder({ label: 'twinstep probe' });
    for (const buffer of buffers) encoder.clearBuffer(buffer, 0, 0);
    device.queue.submit([encoder.finish()]);
  });
}
