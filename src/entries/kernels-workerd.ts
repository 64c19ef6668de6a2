// The entry twinstep/kernels of the runtimes that load workerd.ts.

import core from './core.wasm';
import { provideKernelsNow } from '../kernels/wasm-kernels.js';

provideKernelsNow(() => core);

export * from '../kernels/index.js';
