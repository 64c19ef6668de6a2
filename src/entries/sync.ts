// The entry twinstep/sync. Loads code that few programs need when it is first used.

import { lateState } from '../state/lazy.js';

lateState.load = () => import('../state/late.js');

export * from '../sync.js';
