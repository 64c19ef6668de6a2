// The entry of workerd (Cloudflare Workers), which compiles modules when a Worker is uploaded, and none from bytes.

import core from './core.wasm';
import { provideKernels } from '../backends/cpu/module.js';
import { apply, openReference } from '../backends/cpu/reference.js';
import { provideLate } from '../backends/lazy.js';
import * as state from '../state/late.js';
import { provideState } from '../state/lazy.js';

provideKernels(() => core);
provideLate({ reference: async () => ({ apply, openReference }) });
provideState(state);

export * from '../index.js';
