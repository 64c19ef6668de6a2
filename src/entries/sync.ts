// The entry twinstep/sync. Loads code that few programs need when it is first used.

import { extrapolation } from '../backends/lazy.js';
import { lateState } from '../state/lazy.js';

extrapolation.load = () => import('../rules/extrapolate.js');
lateState.load = () => import('../state/late.js');

export * from '../sync.js';
