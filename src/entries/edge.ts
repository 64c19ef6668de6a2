// What the entries of edge runtimes share: what other entries load late is imported statically here.

import { lateLookahead } from '../averages/lazy.js';
import * as lookaheadState from '../averages/lookahead-state.js';
import { apply, openReference } from '../backends/cpu/reference.js';
import { reference } from '../backends/lazy.js';
import { lateState } from '../state/lazy.js';
import * as state from '../state/late.js';

reference.code = { apply, openReference };
lateState.code = state;
lateLookahead.code = lookaheadState;

export * from '../index.js';
