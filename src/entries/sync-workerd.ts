// The entry twinstep/sync of the runtimes that load workerd.ts.

import core from './core.wasm';
import { provideCore } from '../backends/cpu/now.js';
import './edge.js';

provideCore(core);

export * from '../sync.js';
