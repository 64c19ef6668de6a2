// The entry of Node, Deno, Bun, browsers and bundlers: the kernels of the CPU are in the file, and compiled at first use;
// those of WebGPU are loaded when they are asked for.

import { provideCore } from '../backends/core.js';
import { provideWebGPU } from '../backends/index.js';
import { bytes } from './base64.js';

provideCore(bytes);
provideWebGPU(() => import('../backends/webgpu/open.js'));

export * from '../index.js';
