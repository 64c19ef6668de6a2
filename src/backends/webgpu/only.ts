// Opens WebGPU as the only backend. Loads some shaders late. Used by `twinstep/webgpu`.

import { Unavailable, type Chosen, type Request } from '../backend.js';
import { loaded, type Lazy } from '../lazy.js';
import { openWebGPU } from './open.js';

/** The WGSL files of rules, by name. */
export type Shaders = Readonly<Record<string, Lazy<{ readonly default: string }>>>;

/** Opens WebGPU. Rejects with an Error if it cannot run. */
export async function openOnly(request: Request, shaders: Shaders): Promise<Chosen> {
  try {
    const backend = await openWebGPU(request, async (rule) => (await loaded(shaders[rule])).default);
    return { backend, choice: { name: 'webgpu', reason: 'WebGPU, the only backend of twinstep/webgpu.' } };
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    throw new Error(`twinstep/webgpu cannot run: ${error.message}. \`twinstep\` also runs on the CPU.`, {
      cause: error,
    });
  }
}
