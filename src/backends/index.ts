// The backends, best first, and the choice between them.

import { Unavailable, type Backend, type BackendName, type Request } from './backend.js';
import { openReference } from './reference.js';
import { openWasm } from './wasm.js';

type LoadWebGPU = () => Promise<{ openWebGPU(request: Request): Promise<Backend> }>;

let loadWebGPU: LoadWebGPU = () =>
  Promise.reject(new Unavailable('this build of twinstep, of an edge runtime, has none'));

/** Has `load` give the backend when it is asked for: whoever steps on the CPU does without WGSL. */
export function provideWebGPU(load: LoadWebGPU): void {
  loadWebGPU = load;
}

const backends: readonly { name: BackendName; title: string; open(request: Request): Promise<Backend> }[] = [
  { name: 'webgpu', title: 'WebGPU', open: async (request) => (await tryWebGPU()).openWebGPU(request) },
  { name: 'wasm', title: 'WebAssembly SIMD', open: openWasm },
  { name: 'reference', title: 'Plain JavaScript', open: openReference },
];

export const backendNames: readonly string[] = ['auto', ...backends.map(({ name }) => name)];

/** Which backend runs an optimizer, and why, in plain words. */
export interface Choice {
  readonly name: BackendName;
  readonly reason: string;
}

async function tryWebGPU(): ReturnType<LoadWebGPU> {
  try {
    return await loadWebGPU();
  } catch (error) {
    if (error instanceof Unavailable) throw error;
    throw new Unavailable(`its code cannot be loaded here (${error})`);
  }
}

/** Opens the backend asked for; with 'auto' the best one that can step the parameters where they are. */
export async function choose(
  request: Request,
  wanted: BackendName | 'auto',
): Promise<{ backend: Backend; choice: Choice }> {
  const auto = wanted === 'auto';
  const obstacles: string[] = [];
  const candidates = auto ? backends : backends.filter(({ name }) => name === wanted);
  for (const { name, title, open } of candidates) {
    try {
      if (auto && name === 'webgpu' && request.memory === 'CPU') {
        throw new Unavailable('Float32Arrays are stepped where they are, unless it is asked for by name');
      }
      const backend = await open(request);
      const { threads = 1, remark = [] } = backend;
      const manner = threads > 1 ? `${title} on ${threads} threads` : title;
      const cause = auto ? `for parameters in ${request.memory} memory` : 'asked for by name';
      const others = obstacles.map((obstacle) => `Not ${obstacle}.`);
      const ignored = request.threads > 1 && name !== 'wasm' ? 'Threads are for WebAssembly alone.' : [];
      const reason = [`${manner}, ${cause}.`, remark, ignored, ...others].flat().join(' ');
      return { backend, choice: { name, reason } };
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      obstacles.push(`${title}: ${error.message}`);
    }
  }
  throw new Error(`No backend can run this optimizer. ${obstacles.join('. ')}.`);
}
