// The three backends, as options for tests.

import { afterAll, expect } from 'vitest';
import { openDevice } from '../../tools/dawn.js';

const opened = await openDevice();

/** Without WebGPU, test/support/gpu.ts throws with the reason; tests of the other backends still run. */
export const webgpu = typeof opened === 'string' ? undefined : opened;
export const whyNoWebGPU = typeof opened === 'string' ? opened : undefined;

export type Options = Record<string, unknown>;

/** The name of each backend, and the options that force it. */
export const backends: [string, Options][] = [
  ['reference', { backend: 'reference' }],
  ['wasm', { backend: 'wasm' }],
];
if (webgpu !== undefined) backends.push(['webgpu', { backend: 'webgpu', device: webgpu.device }]);

// An uncaptured GPU error fails the test file: nothing else reports it.
const uncaptured: string[] = [];
webgpu?.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));

afterAll(async () => {
  await webgpu?.device.queue.onSubmittedWorkDone();
  expect(uncaptured).toEqual([]);
  webgpu?.device.destroy();
});
