// twinstep/kernels where twinstep is default.ts.

import './default.js';

export * from '../kernels/index.js';
