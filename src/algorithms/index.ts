// One line a file.
export { adam, adamw, type AdamOptions } from './adam.js';
