// The entry of edge-light (Vercel, Next.js), whose bundlers want to be told that a file is a module of WebAssembly.

import core from './core.wasm?module';
import { provideCore } from '../backends/cpu/module.js';

provideCore(() => core);

export * from '../index.js';
