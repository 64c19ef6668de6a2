// twinstep/kernels where twinstep is default.ts.

import { provideCore } from '../backends/cpu/module.js';
import { bytes } from './hex.js';

provideCore(bytes);

export * from '../kernels/index.js';
