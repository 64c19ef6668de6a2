// The entry of Fastly Compute, which cannot compile WebAssembly: the reference runs there.

export * from './edge.js';
