// The entry of edge-light (Vercel, Next.js). Its bundlers compile WebAssembly that is imported with `?module`.

import core from './core.wasm?module';
import { provideKernels } from '../backends/cpu/module.js';
import './edge.js';

provideKernels(() => core);

export * from '../index.js';
