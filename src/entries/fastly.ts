// The entry of Fastly Compute, which cannot compile WebAssembly: the reference runs there.

import './edge.js';

export * from '../index.js';
