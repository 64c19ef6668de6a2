// The three backends as the tests ask for them.

import { afterAll, expect } from 'vitest';
import { openDevice } from '../../tools/dawn.js';

const opened = await openDevice();

/** Where there is no WebGPU, test/support/gpu.ts fails and says so; the tests of the other backends still run. */
export const webgpu = typeof opened === 'string' ? undefined : opened;
export const whyNoWebGPU = typeof opened === 'string' ? opened : undefined;

export type Options = Record<string, unknown>;

/** One entry a backend: its name, and the options that force it. */
export const backends: [string, Options][] = [
  ['reference', { backend: 'reference' }],
  ['wasm', { backend: 'wasm' }],
];
if (webgpu !== undefined) backends.push(['webgpu', { backend: 'webgpu', device: webgpu.device }]);

// An error that no test asked for is a failure of ours: a device reports it to nobody else.
const uncaptured: string[] = [];
webgpu?.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));

afterAll(async () => {
  await webgpu?.device.queue.onSubmittedWorkDone();
  expect(uncaptured).toEqual([]);
  webgpu?.device.destroy();
});
