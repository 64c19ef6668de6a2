// twinstep/kernels where twinstep is workerd.ts.

import core from './core.wasm';
import { provideCore } from '../backends/cpu/module.js';

provideCore(() => core);

export * from '../kernels/index.js';
