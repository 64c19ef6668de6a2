// The updates of all rules, one line per file.
export { adam } from './adam.js';
export { adam_amsgrad } from './adam_amsgrad.js';
export { ema } from './ema.js';
export { extrapolate } from './extrapolate.js';
export { nadam } from './nadam.js';
export { schedulefree_adamw } from './schedulefree_adamw.js';
export { schedulefree_adamw_inner } from './schedulefree_adamw_inner.js';
export { schedulefree_sgd } from './schedulefree_sgd.js';
