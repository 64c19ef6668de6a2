// twinstep/kernels where twinstep is fastly.ts.

import './fastly.js';

export * from '../kernels/index.js';
