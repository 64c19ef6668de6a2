// What is loaded late: taking over a state dict, and growing.

export { load, takeOver } from './load.js';
export { addGroup, addTensors, removeParams, removeTensors } from './grow.js';
