// backend: 'fastest'. Which backend is that depends on the machine, on the sizes, and on where the data are: so it is
// tried, with gradients handed over and parameters taken back, as a caller does whose data are in CPU memory.

import type { Section } from './section.js';
import type { Tensor } from './layout.js';
import type { ArrayOf, Backend, BackendName, Request } from './backend.js';
import { SectionPlan, type Plan } from './plan.js';

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

/** Milliseconds that all may take, with some to spare. Loading code and asking for a GPU device are not counted. */
const BUDGET = 50;
/** Parameters of a first look, and the most that are tried: beyond, time grows with the number. */
const FEW = 2 ** 14;
const MANY = 2 ** 20;
/** The most tensors of a section that are tried, and the ratio that no pattern among them follows. */
const TENSORS = 512;
const GOLDEN = (Math.sqrt(5) - 1) / 2;
/** Scalars as a step has them that has become routine; any number will do for the others. */
const routine: Readonly<Record<string, number>> = { grad_scale: 1, l2: 0, z_from_y: 0, z_decay: 0, root_scale: 1 };

const rankings = new Map<string, Promise<Ranking>>();
const numbers = new WeakMap<object, number>();
let latest = 0;

/** The ranking for such a request. It is measured once, as long as the process lives. */
export function rank(request: Request, candidates: readonly Candidate[]): Promise<Ranking> {
  const { device, wasm, sections, threads, keepGrads } = request;
  const sizes = sections.map(({ rule, tensors }) => [rule.name, ...tensors.map(({ length }) => length)]);
  const key = JSON.stringify([sizes, threads, keepGrads, numberOf(device), numberOf(wasm)]);
  let ranking = rankings.get(key);
  if (ranking === undefined) {
    ranking = measureAll(request, candidates);
    rankings.set(key, ranking);
    ranking.catch(() => rankings.delete(key));
  }
  return ranking;
}

/** Tells objects apart. */
function numberOf(object: object | undefined): number | undefined {
  if (object !== undefined && !numbers.has(object)) numbers.set(object, ++latest);
  return object && numbers.get(object);
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
      // A mistake of the caller's; whatever else it is, another one may serve.
      if (error instanceof TypeError) throw error;
      obstacles.push(`${candidate.title}: ${String((error as Error).message).replace(/\.$/, '')}`);
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
interface Result {
  readonly milliseconds: number;
  readonly spent: number;
  /** Whether the step was one of fewer parameters. */
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
    const least = await few.time(budget / 4);
    // As many as a few steps of them are likely to leave time for.
    const affordable = (few.size * budget) / (8 * least);
    const size = Math.min(most, MANY, affordable);
    if (size <= few.size) return result((least * total) / Math.max(few.size, 1), few.size);
    const many = await Trial.open({ ...picked, device: device ?? request.device }, open, size);
    try {
      const more = await many.time(budget - (performance.now() - begun));
      const rate = more > least ? (more - least) / (many.size - few.size) : more / many.size;
      return result(more + rate * Math.max(0, total - many.size), many.size);
    } finally {
      many.backend.dispose();
    }
  } finally {
    few.backend.dispose();
  }
}

const count = ({ sections }: Pick<Request, 'sections'>): number =>
  sections.reduce((sum, { tensors }) => tensors.reduce((of, { length }) => of + length, sum), 0);

/** The request for some of its tensors: of many in a section, those at unequal distances, since layers repeat themselves. */
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

/** A backend over tensors as those that are asked for, but smaller ones. */
class Trial {
  readonly backend: Backend;
  /** How many elements there are. */
  readonly size: number;
  /** One for each section, of one run. */
  readonly #plans: readonly Plan[];
  readonly #params: readonly ArrayOf[];

  /** Over `most` elements in all. */
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
      for (const [k, name] of rule.scalars.entries()) plan.runs[0].scalars[k] = routine[name] ?? 1e-3;
      return { rule, sections: [plan] };
    });
    this.#params = filled.flatMap(({ index, tensors }) =>
      tensors.map((tensor) => ({ section: index, tensor, array: 'param' })),
    );
  }

  /** Milliseconds of a step, the fastest of those that the budget has room for. */
  async time(budget: number): Promise<number> {
    // What is compiled at first use, and memory that is not there before.
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
    // On the CPU the parameters are where their reader is.
    if (backend.device === undefined) return;
    try {
      await backend.read(this.#params);
    } catch (error) {
      throw backend.failed?.cause ?? error;
    }
  }
}

/** The tensors, scaled so that there are `most` elements in all, and a gradient for each. */
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
