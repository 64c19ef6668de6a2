// The entry twinstep/webgpu. Loads code that few programs need when it is first used.

import { lateLookahead } from '../averages/lazy.js';
import { lateState } from '../state/lazy.js';

lateLookahead.load = () => import('../averages/lookahead-state.js');
lateState.load = () => import('../state/late.js');

export * from '../webgpu.js';
