// One line a file: the table.
export { adam, adam_amsgrad } from './adam.js';
