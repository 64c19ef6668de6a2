// Code that is loaded late.

import type { Lazy } from '../backends/lazy.js';

export const lateState: Lazy<typeof import('./late.js')> = { code: undefined, load: undefined };
