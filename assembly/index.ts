// The exports of core.wasm, one line per file.
export { adam } from './adam';
export { adam_amsgrad } from './adam_amsgrad';
export { ema } from './ema';
export { extrapolate } from './extrapolate';
export { nadam } from './nadam';
export { schedulefree_adamw } from './schedulefree_adamw';
export { schedulefree_adamw_inner } from './schedulefree_adamw_inner';
export { schedulefree_sgd } from './schedulefree_sgd';
export { squares } from './squares';
