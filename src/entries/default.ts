// The entry of Node, Deno, Bun, browsers and bundlers: the kernels of the CPU are in the file, and compiled at first use;
// those of WebGPU are loaded when they are asked for.

import { base64 } from '../../assembly/core.wasm?base64';
import { provideCore } from '../backends/core.js';
import { provideWebGPU } from '../backends/index.js';

provideCore(() => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
provideWebGPU(() => import('../backends/webgpu/open.js'));

export * from '../index.js';
