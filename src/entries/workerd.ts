// The entry of workerd (Cloudflare Workers), which compiles modules when a Worker is uploaded, and none from bytes.

import core from './core.wasm';
import { provideCore } from '../backends/cpu/module.js';

provideCore(() => core);

export * from '../index.js';
