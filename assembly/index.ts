// One line a rule: what core.wasm exports.
export { adam, adam_amsgrad } from './adam';
