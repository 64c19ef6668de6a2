// twinstep/kernels where twinstep is edge-light.ts.

import core from './core.wasm?module';
import { provideCore } from '../backends/cpu/module.js';

provideCore(() => core);

export * from '../kernels/index.js';
