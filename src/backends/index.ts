// The backends, best first, and the choice between them.

import { Unavailable, type Backend, type BackendName, type Request } from './backend.js';
import type { Candidate, Ranking } from './calibration.js';
import { calibration, loaded, reference, webgpu } from './lazy.js';
import { openWasm } from './cpu/wasm.js';

const backends: readonly Candidate[] = [
  { name: 'webgpu', title: 'WebGPU', open: async (request) => (await loaded(webgpu)).openWebGPU(request) },
  { name: 'wasm', title: 'WebAssembly SIMD', open: openWasm },
  {
    name: 'reference',
    title: 'Plain JavaScript',
    open: async (request) => (await loaded(reference)).openReference(request),
  },
];

/** Where to run: a backend by name, the best in order, or the fastest as it is measured. */
export type Wanted = BackendName | 'auto' | 'fastest';

export const backendNames: readonly string[] = ['auto', 'fastest', ...backends.map(({ name }) => name)];

/** Which backend runs an optimizer, and why, in plain words. */
export interface Choice {
  readonly name: BackendName;
  readonly reason: string;
}

/** Those to be tried, in order. */
async function candidatesFor(request: Request, wanted: Wanted): Promise<Ranking> {
  const { memory } = request;
  if (wanted !== 'auto' && wanted !== 'fastest') {
    return { order: backends.filter(({ name }) => name === wanted), cause: 'asked for by name', obstacles: [] };
  }
  const cause = `for parameters in ${memory} memory`;
  if (memory === 'GPU') return { order: backends, cause, obstacles: [] };
  const obstacles: string[] = [];
  if (wanted === 'fastest') {
    try {
      return await (await loaded(calibration)).rank(request, backends);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      obstacles.push(`by measurement: ${error.message}`);
    }
  }
  obstacles.push('WebGPU: parameters in CPU memory are stepped there, unless it is asked for by name');
  return { order: backends.filter(({ name }) => name !== 'webgpu'), cause, obstacles };
}

/** Opens the backend asked for; with 'auto' the best one that can step the parameters where they are. */
export async function choose(request: Request, wanted: Wanted): Promise<{ backend: Backend; choice: Choice }> {
  const { order, cause, obstacles: before } = await candidatesFor(request, wanted);
  const obstacles = [...before];
  for (const { name, title, open } of order) {
    try {
      const backend = await open(request);
      const { threads = 1, remark = [] } = backend;
      const manner = threads > 1 ? `${title} on ${threads} threads` : title;
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
