// The entry twinstep/kernels of the runtimes that load fastly.ts.

export * from '../kernels/index.js';
