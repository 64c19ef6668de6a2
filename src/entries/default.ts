// The entry of Node, Deno, Bun, browsers and bundlers. Loads at their first use the kernels of the CPU, rule by rule, and
// code that few programs need.

import { hex } from '../../assembly?late';
import { bytesOfHex, provideKernels } from '../backends/cpu/module.js';
import { provideLate } from '../backends/lazy.js';
import { provideState } from '../state/lazy.js';

provideKernels(async (rule) => bytesOfHex((await hex[rule]()).hex));
provideLate({
  reference: () => import('../backends/cpu/reference.js'),
  webgpu: () => import('../backends/webgpu/open.js'),
  threads: () => import('../backends/cpu/threads/open.js'),
  calibration: () => import('../backends/calibration.js'),
});
provideState(() => import('../state/late.js'));

export * from '../index.js';
