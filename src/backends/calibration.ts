// Measures the backends for `backend: 'fastest'`. The result depends on the machine, the sizes and where the data are.
// Each trial step uploads gradients and reads parameters back, as a caller with data in CPU memory does.

import type { Section } from './section.js';
import type { Tensor } from './layout.js';
import { reasonOf, type ArrayOf, type Backend, type BackendName, type Request } from './backend.js';
import { SectionPlan, type Plan } from './plan.js';

export interface Candidate {
  readonly name: BackendName;
  readonly title: string;
  open(request: Request): Promise<Backend>;
}

/** The candidates that work, fastest first; the reason for this order; and why the others do not work. */
export interface Ranking {
  readonly order: readonly Candidate[];
  readonly cause: string;
  readonly obstacles: readonly string[];
}

/** The milliseconds for all measurements. Loading code and requesting a GPU device are not counted. */
const BUDGET = 50;
/** The number of parameters in the first trial, and the most in any. For more, the time is extrapolated linearly. */
const FEW = 2 ** 14;
const MANY = 2 ** 20;
/** The most tensors of a section in a trial. */
const TENSORS = 512;
/** The golden ratio: multiples of it modulo 1 are spread evenly and have no period. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;
/** Typical values of scalars that kernels branch on. The values of the others do not affect the time. */
const typical: Readonly<Record<string, number>> = {
  grad_scale: 1,
  max_value: 0,
  l2: 0,
  z_from_y: 0,
  z_decay: 0,
  root_scale: 1,
};

const rankings = new Map<string, Promise<Ranking>>();
const ids = new WeakMap<object, number>();
let lastId = 0;

/** Resolves to the ranking for a request. The process measures each kind of request once. */
export function rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> {
  const { device, wasm, sections, threads, keepGrads } = request;
  const sizes = sections.map(({ rule, tensors }) => [rule.name, ...tensors.map(({ length }) => length)]);
  const key = JSON.stringify([sizes, threads, keepGrads, idOf(device), idOf(wasm)]);
  let ranking = rankings.get(key);
  if (ranking === undefined) {
    ranking = measureAll(request, candidates);
    rankings.set(key, ranking);
    ranking.catch(() => rankings.delete(key));
  }
  return ranking;
}

/** Returns a number that identifies the object. */
function idOf(object: object | undefined): number | undefined {
  if (object !== undefined && !ids.has(object)) ids.set(object, ++lastId);
  return object && ids.get(object);
}

async function measureAll(request: Request, candidates: readonly Candidate[]): Promise<Ranking> {
  const obstacles: string[] = [];
  const results: (Result & { readonly candidate: Candidate })[] = [];
  let left = BUDGET;
  for (const [i, candidate] of candidates.entries()) {
    try {
      const result = await measure(request, candidate, left / (candidates.length - i));
      results.push({ candidate, ...result });
      left -= result.spent;
    } catch (error) {
      // A TypeError is the caller's mistake. After other errors, another candidate may work.
      if (error instanceof TypeError) throw error;
      obstacles.push(`${candidate.title}: ${reasonOf(error)}`);
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

/** The result of measuring a candidate. */
interface Result {
  /** The time of a step. */
  readonly milliseconds: number;
  /** The time of the measurement, in milliseconds. */
  readonly spent: number;
  /** Whether fewer parameters were measured, and the time was extrapolated. */
  readonly isEstimate: boolean;
}

async function measure(request: Request, { open }: Candidate, budget: number): Promise<Result> {
  const total = count(request);
  const picked = pick(request);
  const most = count(picked);
  const few = await Trial.open(picked, open, Math.min(FEW, most));
  const { device } = few.backend;
  const begun = performance.now();
  const result = (milliseconds: number, size: number): Result => {
    return { milliseconds, spent: performance.now() - begun, isEstimate: size < total };
  };
  try {
    const fewTime = await few.time(budget / 4);
    // Eight steps of this size are likely to take the budget.
    const affordable = (few.size * budget) / (8 * fewTime);
    const size = Math.min(most, MANY, affordable);
    if (size <= few.size) return result((fewTime * total) / Math.max(few.size, 1), few.size);
    const many = await Trial.open({ ...picked, device: device ?? request.device }, open, size);
    try {
      const manyTime = await many.time(budget - (performance.now() - begun));
      const isSlower = manyTime > fewTime;
      const rate = isSlower ? (manyTime - fewTime) / (many.size - few.size) : manyTime / many.size;
      return result(manyTime + rate * Math.max(0, total - many.size), many.size);
    } finally {
      many.backend.dispose();
    }
  } finally {
    few.backend.dispose();
  }
}

/** Returns the number of parameters. */
const count = ({ sections }: Pick<Request, 'sections'>): number =>
  sections.reduce((sum, { tensors }) => tensors.reduce((part, { length }) => part + length, sum), 0);

/** Reduces each section to at most `TENSORS` tensors. Their distances vary, since layers repeat with a fixed period. */
function pick(request: Request): Request {
  const sections = request.sections.map((section) => {
    const { tensors } = section;
    if (tensors.length <= TENSORS) return section;
    const some = Array.from({ length: TENSORS }, (_, i) => {
      return tensors[Math.floor(((i + ((i * GOLDEN) % 1)) * tensors.length) / TENSORS)];
    });
    return { ...section, tensors: some };
  });
  return { ...request, sections };
}

const always = (): boolean => true;

/** A backend with smaller tensors than the request's. */
class Trial {
  readonly backend: Backend;
  /** The number of parameters. */
  readonly size: number;
  /** One plan per section, of one run. */
  readonly #plans: readonly Plan[];
  readonly #params: readonly ArrayOf[];

  /** Opens a backend with about `most` parameters. */
  static async open(request: Request, open: Candidate['open'], most: number): Promise<Trial> {
    const { sections, grads } = shrink(request, most);
    return new Trial(await open({ ...request, sections, sources: grads }), sections, grads);
  }

  private constructor(backend: Backend, sections: readonly Section[], grads: ReadonlyMap<Tensor, Float32Array>) {
    this.backend = backend;
    this.size = count({ sections });
    const filled = sections.filter(({ tensors }) => tensors.length > 0);
    this.#plans = filled.map((section, group) => {
      const { index, rule } = section;
      const plan = new SectionPlan(group, section, (k) => backend.scalars(index, k));
      for (const entry of plan.entries) entry.grad = grads.get(entry.tensor);
      plan.find(always, always);
      for (const [k, name] of rule.scalars.entries()) plan.runs[0].scalars[k] = typical[name] ?? 1e-3;
      return { rule, sections: [plan], corrections: undefined };
    });
    this.#params = filled.flatMap(({ index, tensors }) =>
      tensors.map((tensor) => ({ section: index, tensor, array: 'param' })),
    );
  }

  /** Resolves to the milliseconds of the fastest step. Runs steps for `budget` milliseconds, from 2 to 50 of them. */
  async time(budget: number): Promise<number> {
    // The first steps compile code and touch memory for the first time.
    for (let warmUp = 0; warmUp < 2; warmUp++) await this.#step();
    const times: number[] = [];
    for (const end = performance.now() + budget; times.length < 2 || (performance.now() < end && times.length < 50);) {
      const begun = performance.now();
      await this.#step();
      times.push(performance.now() - begun);
    }
    return Math.min(...times);
  }

  async #step(): Promise<void> {
    const { backend } = this;
    backend.run(this.#plans, undefined);
    // On the CPU, the caller reads parameters in place.
    if (backend.device === undefined) return;
    try {
      await backend.read(this.#params);
    } catch (error) {
      throw backend.failed?.cause ?? error;
    }
  }
}

/** Scales the tensors to about `most` parameters. Returns them with a gradient for each. */
function shrink(request: Request, most: number): { sections: Section[]; grads: Map<Tensor, Float32Array> } {
  const scale = Math.min(1, most / Math.max(count(request), 1));
  const grads = new Map<Tensor, Float32Array>();
  const sections = request.sections.map((section) => ({
    ...section,
    tensors: section.tensors.map((tensor) => {
      const scaled = { ...tensor, length: Math.ceil(scale * tensor.length) };
      grads.set(scaled, new Float32Array(scaled.length).fill(0.5));
      return scaled;
    }),
  }));
  return { sections, grads };
}
