// What the entries of edge runtimes share: what other entries load late is imported statically here.

import { apply, openReference } from '../backends/cpu/reference.js';
import { reference } from '../backends/lazy.js';
import { lateState } from '../state/lazy.js';
import * as state from '../state/late.js';

reference.code = { apply, openReference };
lateState.code = state;

export * from '../index.js';
