// The entry of Node, Deno, Bun, browsers and bundlers: the kernels of the CPU are in the file, and compiled at first use;
// those of WebGPU, and threads, are loaded when they are asked for.

import { provideCore } from '../backends/core.js';
import { provideWebGPU } from '../backends/index.js';
import { provideThreads } from '../backends/wasm.js';
import { bytes } from './base64.js';

provideCore(bytes);
provideWebGPU(() => import('../backends/webgpu/open.js'));
provideThreads(() => import('../threads/open.js'));

export * from '../index.js';
