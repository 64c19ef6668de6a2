// twinstep/kernels where twinstep is edge-light.ts.

import core from './core.wasm?module';
import { provideCore } from '../backends/core.js';

provideCore(() => core);

export * from '../kernels/index.js';
