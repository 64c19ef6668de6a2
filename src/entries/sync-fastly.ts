// The entry twinstep/sync of the runtimes that load fastly.ts.

import './edge.js';

export * from '../sync.js';
