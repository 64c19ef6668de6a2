// Code that is loaded late: loads state dicts, adds and removes tensors.

export { loadStateDict } from './load.js';
export { addGroup, addTensors, removeParams } from './grow.js';
