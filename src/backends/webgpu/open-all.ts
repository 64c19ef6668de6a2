// Opens a WebGPU backend that has the kernels of all rules.

import type { Backend, Request } from '../backend.js';
import { openWebGPU as open } from './open.js';
import { ruleShaders } from './rule-shaders.js';

export const openWebGPU = (request: Request): Promise<Backend> => open(request, (rule) => ruleShaders[rule]);
