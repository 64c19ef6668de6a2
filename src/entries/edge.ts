// Imports statically what the default entry loads late, except WebGPU, threads and calibration, which edge runtimes lack.

import { lateLookahead } from '../averages/lazy.js';
import * as lookaheadState from '../averages/lookahead-state.js';
import { openReference } from '../backends/cpu/reference.js';
import { gpuMemory, reference } from '../backends/lazy.js';
import { locate } from '../backends/webgpu/locate.js';
import { lateState } from '../state/lazy.js';
import * as state from '../state/late.js';

reference.code = { openReference };
gpuMemory.code = { locate };
lateState.code = state;
lateLookahead.code = lookaheadState;
