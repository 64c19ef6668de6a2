// The entry twinstep/kernels of the runtimes that load edge-light.ts.

import core from './core.wasm?module';
import { provideKernelsNow } from '../kernels/wasm-kernels.js';

provideKernelsNow(() => core);

export * from '../kernels/index.js';
