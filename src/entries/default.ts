// The entry of Node, Deno, Bun, browsers and bundlers: what not everybody needs is loaded when it is asked for, and so are
// the kernels of the CPU, file by file.

import { hex } from '../../assembly?late';
import { bytesOfHex, provideKernels } from '../backends/cpu/module.js';
import { provideLate } from '../backends/lazy.js';
import { provideState } from '../state/lazy.js';

provideKernels(async (file) => bytesOfHex((await hex[file]()).hex));
provideLate({
  reference: () => import('../backends/cpu/reference.js'),
  webgpu: () => import('../backends/webgpu/open.js'),
  threads: () => import('../backends/cpu/threads/open.js'),
  calibration: () => import('../backends/calibration.js'),
});
provideState(() => import('../state/late.js'));

export * from '../index.js';
