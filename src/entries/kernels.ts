// twinstep/kernels where twinstep is default.ts.

import { provideCore } from '../backends/core.js';
import { bytes } from './hex.js';

provideCore(bytes);

export * from '../kernels/index.js';
