// The entry of Fastly's Compute, which has no WebAssembly to compile: the plain reference runs there.

import { apply, openReference } from '../backends/cpu/reference.js';
import { provideLate } from '../backends/lazy.js';

provideLate({ reference: async () => ({ apply, openReference }) });

export * from '../index.js';
