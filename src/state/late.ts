// Code that is loaded when first needed: loads state dicts, adds and removes tensors.

export { loadStateDict } from './load.js';
export { addGroup, addTensors, removeParams } from './grow.js';
