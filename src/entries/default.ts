// The entry of Node, Deno, Bun, browsers and bundlers: the kernels of the CPU are in the file, and compiled at first use;
// what not everybody needs is loaded when it is asked for.

import { provideCore } from '../backends/cpu/module.js';
import { provideLate } from '../backends/lazy.js';
import { bytes } from './hex.js';

provideCore(bytes);
provideLate({
  reference: () => import('../backends/cpu/reference.js'),
  webgpu: () => import('../backends/webgpu/open.js'),
  threads: () => import('../backends/cpu/threads/open.js'),
  calibration: () => import('../backends/calibration.js'),
});

export * from '../index.js';
