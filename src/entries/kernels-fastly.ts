// twinstep/kernels where twinstep is fastly.ts.

export * from '../kernels/index.js';
