// The entry of workerd (Cloudflare Workers), which compiles modules when a Worker is uploaded, and cannot compile
// bytes.

import core from './core.wasm';
import { provideKernels } from '../backends/cpu/module.js';
import './edge.js';

provideKernels(() => core);

export * from '../index.js';
