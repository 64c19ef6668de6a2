// The entry of edge-light (Vercel, Next.js), whose bundlers want to be told that a file is a module of WebAssembly.

import core from './core.wasm?module';
import { provideKernels } from '../backends/cpu/module.js';
import { apply, openReference } from '../backends/cpu/reference.js';
import { provideLate } from '../backends/lazy.js';
import * as state from '../state/late.js';
import { provideState } from '../state/lazy.js';

provideKernels(() => core);
provideLate({ reference: async () => ({ apply, openReference }) });
provideState(state);

export * from '../index.js';
