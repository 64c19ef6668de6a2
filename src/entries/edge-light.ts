// The entry of edge-light (Vercel, Next.js), whose bundlers must be told that a file is a module of WebAssembly.

import core from './core.wasm?module';
import { provideKernels } from '../backends/cpu/module.js';

provideKernels(() => core);

export * from './edge.js';
