// The entry twinstep/sync of the runtimes that load edge-light.ts.

import core from './core.wasm?module';
import { provideCore } from '../backends/cpu/now.js';
import './edge.js';

provideCore(core);

export * from '../sync.js';
