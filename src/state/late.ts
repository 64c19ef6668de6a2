// Code that is loaded when first needed: loads state dicts, adds and removes tensors, reads their shapes.

import { lateShapes } from '../inputs/groups.js';
import * as shapes from '../inputs/shapes.js';

export { loadStateDict } from './load.js';
export { addGroup, addTensors, removeParams } from './grow.js';

lateShapes.code = shapes;
