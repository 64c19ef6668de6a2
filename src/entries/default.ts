// The entry of Node, Deno, Bun, browsers and bundlers. Loads each file of CPU kernels, and code that few programs need,
// when it is first used.

import { hex } from '../../assembly?late';
import { bytesOfHex, provideKernels } from '../backends/cpu/module.js';
import { calibration, gpuMemory, reference, threads, webgpu } from '../backends/lazy.js';
import { lateLookahead } from '../averages/lazy.js';
import { lateShapes } from '../inputs/groups.js';
import { lateState } from '../state/lazy.js';

provideKernels(async (kernel) => bytesOfHex((await hex[kernel]()).hex));
reference.load = () => import('../backends/cpu/reference.js');
gpuMemory.load = () => import('../backends/webgpu/locate.js');
webgpu.load = () => import('../backends/webgpu/open-all.js');
threads.load = () => import('../backends/cpu/threads/open.js');
calibration.load = () => import('../backends/calibration.js');
lateLookahead.load = () => import('../averages/lookahead-state.js');
lateShapes.load = () => import('../inputs/shapes.js');
lateState.load = () => import('../state/late.js');

export * from '../index.js';
