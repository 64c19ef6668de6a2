// The code that is loaded when a Lookahead is created.

import type { Lazy } from '../backends/lazy.js';

export const lateLookahead: Lazy<typeof import('./lookahead-state.js')> = { code: undefined, load: undefined };
