// The entry of Fastly's Compute, which has no WebAssembly to compile: the plain reference runs there.

export * from './edge.js';
