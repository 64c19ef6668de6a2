// The entry of Fastly's Compute, which has no WebAssembly to compile: the plain reference runs there.

import { apply, openReference } from '../backends/cpu/reference.js';
import { provideLate } from '../backends/lazy.js';
import * as state from '../state/late.js';
import { provideState } from '../state/lazy.js';

provideLate({ reference: async () => ({ apply, openReference }) });
provideState(state);

export * from '../index.js';
