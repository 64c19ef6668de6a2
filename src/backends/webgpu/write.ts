// Whether buffers can be written, asked before anything is: a device does part of what it is told, and tells it later.

import { show } from '../../sentences.js';
import { complaint } from './device.js';

/** Rejects with an Error for the first buffer, by name, that is destroyed or mapped. Nothing is written. */
export async function checkWritable(device: GPUDevice, named: ReadonlyMap<GPUBuffer, string>): Promise<void> {
  if ((await probe(device, named.keys())) === undefined) return;
  for (const [buffer, name] of named) {
    const trouble = await probe(device, [buffer]);
    if (trouble !== undefined) throw new Error(`The GPU device cannot write ${show(name)}: ${trouble}`);
  }
}

/** Clears no bytes of each: the device checks at submit whether it could. */
function probe(device: GPUDevice, buffers: Iterable<GPUBuffer>): Promise<string | undefined> {
  return complaint(device, () => {
    const encoder = device.createCommandEncoder({ label: 'twinstep probe' });
    for (const buffer of buffers) encoder.clearBuffer(buffer, 0, 0);
    device.queue.submit([encoder.finish()]);
  });
}
