// The backends, best first, and the choice between them.

import {
  BY_LIST,
  BY_NAME,
  noneCanRun,
  reasonOf,
  Unavailable,
  type BackendName,
  type Chosen,
  type Request,
  type Wanted,
} from './backend.js';
import type { Candidate, Ranking } from './calibration.js';
import { calibration, loaded, reference, webgpu } from './lazy.js';
import { openWasm } from './cpu/wasm.js';
import { wantedReader } from './wanted.js';

const backends: readonly Candidate[] = [
  { name: 'webgpu', title: 'WebGPU', open: async (request) => (await loaded(webgpu)).openWebGPU(request) },
  { name: 'wasm', title: 'WebAssembly SIMD', open: openWasm },
  {
    name: 'reference',
    title: 'Plain JavaScript',
    open: async (request) => (await loaded(reference)).openReference(request),
  },
];

export const readWanted = /* @__PURE__ */ wantedReader(['auto', 'fastest'], ['webgpu', 'wasm', 'reference']);

/** Returns the backends to try, in order. */
async function candidatesFor(request: Request, wanted: Wanted): Promise<Ranking> {
  const { memory } = request;
  if (isList(wanted)) {
    const order = wanted.map((each) => backends.find(({ name }) => name === each)!);
    return { order, cause: BY_LIST, obstacles: [] };
  }
  if (wanted !== 'auto' && wanted !== 'fastest') {
    return { order: backends.filter(({ name }) => name === wanted), cause: BY_NAME, obstacles: [] };
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
  obstacles.push('WebGPU: parameters in CPU memory are updated on the CPU, unless WebGPU is asked for by name');
  return { order: backends.filter(({ name }) => name !== 'webgpu'), cause, obstacles };
}

/** Opens the first backend that works. Throws an Error with all reasons if none does. */
export async function choose(request: Request, wanted: Wanted): Promise<Chosen> {
  const { order, cause, obstacles: before } = await candidatesFor(request, wanted);
  const obstacles = [...before];
  for (const { name, title, open } of order) {
    try {
      const backend = await open(request);
      const { threads = 1, remark = [] } = backend;
      const how = threads > 1 ? `${title} on ${threads} threads` : title;
      const others = obstacles.map((obstacle) => `Not ${obstacle}.`);
      const ignored = request.threads > 1 && name !== 'wasm' ? 'Only WebAssembly uses threads.' : [];
      const reason = [`${how}, ${cause}.`, remark, ignored, ...others].flat().join(' ');
      return { backend, choice: { name, reason } };
    } catch (error) {
      if (!(error instanceof Unavailable || (isList(wanted) && isOfDevice(error)))) throw error;
      obstacles.push(`${title}: ${reasonOf(error)}`);
    }
  }
  throw noneCanRun(obstacles);
}

const isList = (wanted: Wanted): wanted is readonly BackendName[] => Array.isArray(wanted);

/** Returns whether an error is the device's: it was lost, or has no memory. Others are mistakes of the caller. */
const isOfDevice = (error: unknown): error is Error =>
  error instanceof Error && !(error instanceof TypeError || error instanceof RangeError);
