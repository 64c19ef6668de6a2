// twinstep/kernels where twinstep is workerd.ts.

import './workerd.js';

export * from '../kernels/index.js';
