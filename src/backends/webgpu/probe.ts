// Checks that all buffers can be written before writing any: a device may do some writes and refuse others.

import { ownOf, show } from '../../errors.js';
import { inErrorScopes } from './device.js';

/** Rejects with an Error that names the first buffer that is destroyed or mapped. Writes nothing. */
export async function checkWritable(device: GPUDevice, named: ReadonlyMap<GPUBuffer, string>): Promise<void> {
  if ((await probe(device, named.keys())) === undefined) return;
  for (const [buffer, name] of named) {
    const message = await probe(device, [buffer]);
    if (message !== undefined) throw new Error(`The GPU device cannot write ${show(name)}: ${message}`);
  }
}

/** Clears 0 bytes of each buffer: submitting makes the device check that it can be written. */
function probe(device: GPUDevice, buffers: Iterable<GPUBuffer>): Promise<string | undefined> {
  return inErrorScopes(device, () => {
    const encoder = device.createCommandEncoder(ownOf({ label: 'twinstep probe' }));
    for (const buffer of buffers) encoder.clearBuffer(buffer, 0, 0);
    device.queue.submit([encoder.finish()]);
  });
}
