// The entry twinstep/kernels of the runtimes that load default.ts. Has all kernels, since `wasmKernels` is synchronous.

import { hex } from '../../assembly?hex';
import { provideKernelsNow } from '../kernels/wasm-kernels.js';
import { bytesOfHex } from '../backends/cpu/module.js';

provideKernelsNow((rule) => bytesOfHex(hex[rule]));

export * from '../kernels/index.js';
