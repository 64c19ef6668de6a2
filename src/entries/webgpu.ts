// The entry twinstep/webgpu. Loads code that few programs need when it is first used.

import { lateLookahead } from '../averages/lazy.js';
import { lateShapes } from '../inputs/groups.js';
import { lateState } from '../state/lazy.js';

lateLookahead.load = () => import('../averages/lookahead-state.js');
lateShapes.load = () => import('../inputs/shapes.js');
lateState.load = () => import('../state/late.js');

export * from '../webgpu.js';
