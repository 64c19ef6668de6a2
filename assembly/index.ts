// The exports of core.wasm, one line per file.
export { adam, adam_amsgrad } from './adam';
export { ema } from './ema';
export { extrapolate } from './extrapolate';
export { nadam } from './nadam';
export { schedulefree_adamw, schedulefree_adamw_inner } from './schedulefree_adamw';
export { schedulefree_sgd } from './schedulefree_sgd';
