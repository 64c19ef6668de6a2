// The entry twinstep/sync. Loads code that few programs need when it is first used, except what creation needs.

import { lateShapes } from '../inputs/groups.js';
import * as shapes from '../inputs/shapes.js';
import { lateState } from '../state/lazy.js';

lateShapes.code = shapes;
lateState.load = () => import('../state/late.js');

export * from '../sync.js';
