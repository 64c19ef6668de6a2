// backend: 'fastest'. Which backend is that depends on the machine, on the sizes, and on where the data are: so it is
// tried, with gradients handed over and parameters taken back, as a caller does whose data are in CPU memory.

import type { Tensor } from '../layout.js';
import type { Backend, BackendName, Request } from './backend.js';

export interface Candidate {
  readonly name: BackendName;
  readonly title: string;
  open(request: Request): Promise<Backend>;
}

/** Candidates that can serve, the fastest first, why the first is first, and why the others cannot. */
export interface Ranking {
  readonly order: readonly Candidate[];
  readonly cause: string;
  readonly obstacles: readonly string[];
}

/** Milliseconds that all may take, with some to spare; asking for a GPU device, and compiling for it, are not counted. */
const BUDGET = 70;
/** Parameters of a first look, and the most that are tried: beyond, time grows with the number. */
const FEW = 2 ** 14;
const MANY = 2 ** 20;

const rankings = new Map<string, Promise<Ranking>>();
const devices = new WeakMap<object, number>();
let deviceCount = 0;

/** The ranking for such a request. It is measured once, as long as the process lives. */
export function rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> {
  const { device, sections, threads, keepGrads } = request;
  if (device !== undefined && !devices.has(device)) devices.set(device, ++deviceCount);
  const sizes = sections.map(({ rule, tensors }) => [rule.name, ...tensors.map(({ length }) => length)]);
  const key = JSON.stringify([sizes, threads, keepGrads, device && devices.get(device)]);
  let ranking = rankings.get(key);
  if (ranking === undefined) rankings.set(key, (ranking = measureAll(request, candidates)));
  return ranking;
}

async function measureAll(request: Request, candidates: readonly Candidate[]): Promise<Ranking> {
  const obstacles: string[] = [];
  const results: (Trial & { readonly candidate: Candidate })[] = [];
  let left = BUDGET;
  for (const [i, candidate] of candidates.entries()) {
    try {
      const trial = await measure(request, candidate, left / (candidates.length - i));
      results.push({ candidate, ...trial });
      left -= trial.spent;
    } catch (error) {
      // Whatever it is, another one may serve.
      obstacles.push(`${candidate.title}: ${error instanceof Error ? error.message : error}`);
    }
  }
  results.sort((a, b) => a.milliseconds - b.milliseconds);
  const times = results.map(({ candidate, milliseconds, isEstimate }, i) => {
    const name = i === 0 ? '' : `${candidate.title} `;
    return `${name}${isEstimate ? 'about ' : ''}${Number(milliseconds.toPrecision(2))} ms`;
  });
  const step = `a step of ${count(request)} parameters, gradients in and parameters out`;
  const cause = `the fastest here: ${times.join(', ')} for ${step}, found in ${Math.round(BUDGET - left)} ms`;
  return { order: results.map(({ candidate }) => candidate), cause, obstacles };
}

/** Milliseconds of a step on a candidate, and those that it took to find out. */
interface Trial {
  readonly milliseconds: number;
  readonly spent: number;
  /** Whether the step was one of fewer parameters. */
  readonly isEstimate: boolean;
}

async function measure(request: Request, { open }: Candidate, budget: number): Promise<Trial> {
  const total = count(request);
  const few = await makeTrial(request, open, Math.min(FEW, total));
  const { device } = few.backend;
  const begun = performance.now();
  const trial = (milliseconds: number, size: number): Trial => {
    return { milliseconds, spent: performance.now() - begun, isEstimate: size < total };
  };
  try {
    const least = await few.time(budget / 4);
    // As many as a few steps of them are likely to leave time for.
    const affordable = (few.size * budget) / (8 * least);
    const size = Math.min(total, MANY, affordable);
    if (size <= few.size) return trial((least * total) / few.size, few.size);
    const many = await makeTrial({ ...request, device: device ?? request.device }, open, size);
    try {
      const more = await many.time(budget - (performance.now() - begun));
      const rate = more > least ? (more - least) / (many.size - few.size) : more / many.size;
      return trial(more + rate * Math.max(0, total - many.size), many.size);
    } finally {
      many.backend.dispose();
    }
  } finally {
    few.backend.dispose();
  }
}

const count = ({ sections }: Request): number =>
  sections.reduce((sum, { tensors }) => tensors.reduce((of, { length }) => of + length, sum), 0);

/** A backend over as many tensors as are asked for, but of `most` elements in all. */
async function makeTrial(request: Request, open: Candidate['open'], most: number) {
  const scale = most / Math.max(count(request), 1);
  const grads = new Map<Tensor, Float32Array>();
  const sections = request.sections.map((section) => ({
    ...section,
    tensors: section.tensors.map((tensor) => {
      const scaled = { ...tensor, length: Math.ceil(scale * tensor.length) };
      grads.set(scaled, new Float32Array(scaled.length).fill(0.5));
      return scaled;
    }),
  }));
  const backend = await open({ ...request, sections, sources: grads });
  const scalars = sections.map(({ index }) => backend.scalars(index, 0).fill(1e-3));
  const params = sections.flatMap(({ index, tensors }) =>
    tensors.map((tensor) => ({ section: index, tensor, array: 'param' })),
  );

  const step = async (): Promise<void> => {
    backend.begin(undefined);
    for (const { section, tensor } of params) backend.accept(section, tensor, grads.get(tensor));
    for (const [i, { index, rule, tensors }] of sections.entries()) {
      if (tensors.length > 0) backend.update(index, rule, { first: 0, last: tensors.length - 1, scalars: scalars[i] });
    }
    await backend.end();
    // On the CPU the parameters are where their reader is.
    if (backend.device !== undefined) await backend.read(params);
  };
  const time = async (budget: number): Promise<number> => {
    // What is compiled at first use, and memory that is not there before.
    for (let warmUp = 0; warmUp < 2; warmUp++) await step();
    const times: number[] = [];
    for (const end = performance.now() + budget; times.length < 2 || (performance.now() < end && times.length < 50);) {
      const begun = performance.now();
      await step();
      times.push(performance.now() - begun);
    }
    return Math.min(...times);
  };
  return { backend, size: count({ ...request, sections }), time };
}
