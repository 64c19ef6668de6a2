// twinstep/kernels where twinstep is edge-light.ts.

import './edge-light.js';

export * from '../kernels/index.js';
