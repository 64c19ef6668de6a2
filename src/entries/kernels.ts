// twinstep/kernels where twinstep is default.ts: all kernels at once, since `wasmKernels` is synchronous.

import { hex } from '../../assembly?hex';
import { provideKernelsNow } from '../kernels/wasm-kernels.js';
import { bytesOfHex } from '../backends/cpu/module.js';

provideKernelsNow((rule) => bytesOfHex(hex[rule]));

export * from '../kernels/index.js';
