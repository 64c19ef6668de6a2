// What is loaded when a Lookahead is made.

import type { Lazy } from '../backends/lazy.js';

export const lateLookahead: Lazy<typeof import('./lookahead-state.js')> = {};
