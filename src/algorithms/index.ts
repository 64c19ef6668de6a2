// All algorithms, one line per file.
export { adam, adamw, type AdamOptions } from './adam.js';
export { ema, type EmaOptions } from './ema.js';
export { nadam, radam, type NadamOptions, type RadamOptions } from './radam.js';
export {
  adamwScheduleFree,
  radamScheduleFree,
  sgdScheduleFree,
  type AdamwScheduleFreeOptions,
  type RadamScheduleFreeOptions,
  type SgdScheduleFreeOptions,
} from './schedulefree.js';
