// Tests schedules in an optimizer: betas as a function, schedule state in state dicts, and a PyTorch training run.

import { readFileSync } from 'node:fs';
import { adam, adamw, adamwScheduleFree, nadam, radam, radamScheduleFree } from 'twinstep';
import { chained, constant, linearWarmup, oneCycle, reduceOnPlateau, type ReduceOnPlateau } from 'twinstep/schedules';
import { describe, expect, test } from 'vitest';
import { backends, type Options } from './support/backends.js';
import { difference, largest, tensors } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';
import { GOLDEN, ROUNDING } from './support/tolerances.js';

const lengths = [1, 3, 64];
const STEPS = 12;
type Create = typeof adamw;
const withFunctions: [string, Create][] = [
  ['adam', adam],
  ['adamw', adamw],
  ['radam', radam as unknown as Create],
];
const grads = (t: number): Tensors => tensors(lengths, 10 + t);

interface Training {
  readonly init: number[];
  readonly grads: number[][];
  readonly params: Record<number, number[]>;
  readonly params64: Record<number, number[]>;
}
const { training } = JSON.parse(readFileSync(new URL('golden/schedules.json', import.meta.url), 'utf8')) as {
  training: Training;
};

describe.each(backends)('%s', (...[, backend]) => {
  describe('schedules count the steps of the optimizer:', () => {
    const schedule = (completed: number): number => 2 ** -completed;
    const options = { ...backend, lr: 1, schedule, weightDecay: 0 };
    const movedBy = async (optimizer: Awaited<ReturnType<Create>>, name: string, step: () => void): Promise<number> => {
      const [before] = await optimizer.read(name);
      step();
      return before - (await optimizer.read(name))[0];
    };
    // Adam's first step moves by lr for any gradient.
    const ones = (length: number): Float32Array => new Float32Array(length).fill(1);

    test('a tensor that was frozen, without gradient or added has the same lr, and bias correction by its own steps', async () => {
      const params: Tensors = { a: ones(1), b: ones(1), c: ones(1) };
      const optimizer = await adamw(params, options as object);
      optimizer.freeze('b');
      for (let t = 0; t < 3; t++) optimizer.step({ a: ones(1), b: ones(1) });
      optimizer.unfreeze('b');
      await optimizer.addParamGroup({ params: { d: ones(1) } });
      expect(optimizer.completedSteps).toBe(3);
      const step = (): void => optimizer.step({ a: ones(1), b: ones(1), c: ones(1), d: ones(1) });
      expect(await movedBy(optimizer, 'b', step)).toBeCloseTo(2 ** -3, 6);
      expect(['a', 'b', 'c', 'd'].map((name) => optimizer.stepOf(name))).toEqual([4, 1, 1, 1]);
      expect(optimizer.groups.map(({ scheduledLr }) => scheduledLr)).toEqual([2 ** -3, 2 ** -3]);
    });

    test('calls with more: true and the call after them are one step', async () => {
      const optimizer = await adamw({ a: ones(1), b: ones(1) }, options as object);
      for (let t = 0; t < 3; t++) {
        optimizer.step({ b: ones(1) }, { more: true });
        optimizer.step({ a: ones(1) });
      }
      expect(optimizer.completedSteps).toBe(3);
      expect(await movedBy(optimizer, 'a', () => optimizer.step({ a: ones(1) }))).toBeCloseTo(2 ** -3, 6);
    });

    test('a state dict has completed_steps; without it, as in PyTorch, the largest step count is used', async () => {
      const optimizer = await adamw({ a: ones(1), b: ones(1) }, options as object);
      for (let t = 0; t < 3; t++) optimizer.step({ a: ones(1) });
      const dict = await optimizer.stateDict();
      expect(dict.param_groups[0].completed_steps).toBe(3);
      const { completed_steps: _, ...group } = dict.param_groups[0];
      const stepped = async (each: typeof optimizer): Promise<number> =>
        movedBy(each, 'b', () => each.step({ b: ones(1) }));
      const resumed = async (loaded: unknown): Promise<typeof optimizer> => {
        const other = await adamw({ a: ones(1), b: ones(1) }, options as object);
        await other.loadStateDict(loaded as typeof dict);
        expect(other.completedSteps).toBe(3);
        return other;
      };
      await optimizer.loadStateDict(dict);
      expect(optimizer.groups[0].scheduledLr).toBe(0);
      const [ours, theirs] = [await resumed(dict), await resumed({ ...dict, param_groups: [group] })];
      expect(await stepped(ours)).toBe(await stepped(optimizer));
      expect(ours.completedSteps).toBe(4);
      expect(await stepped(theirs)).toBeCloseTo(2 ** -3, 6);
      // Dicts of the previous version list the tensors that did not take the latest step.
      await resumed({ ...dict, param_groups: [{ ...dict.param_groups[0], left_out: ['b'] }] });
    });

    test('every call without `more` is a step, also without gradients or with frozen tensors only', async () => {
      const optimizer = await adamw({ a: ones(1), b: ones(1) }, options as object);
      optimizer.step({ a: ones(1), b: ones(1) });
      optimizer.freeze('b');
      optimizer.step({ b: ones(1) }, { more: true });
      optimizer.step({});
      optimizer.step({ b: ones(1) });
      const resumed = await adamw({ a: ones(1), b: ones(1) }, options as object);
      await resumed.loadStateDict(await optimizer.stateDict());
      for (const each of [optimizer, resumed]) each.step({ a: ones(1) });
      expect([resumed.completedSteps, optimizer.completedSteps]).toEqual([4, 4]);
      expect([optimizer.stepOf('a'), optimizer.stepOf('b')]).toEqual([2, 1]);
      expect(await resumed.stateDict()).toEqual(await optimizer.stateDict());
    });

    test('a step in parts equals one call, in any order of parts', async () => {
      const whole = await adamw({ a: ones(1), b: ones(1) }, options as object);
      const parts = await adamw({ a: ones(1), b: ones(1) }, options as object);
      for (const each of [whole, parts]) each.step({ a: ones(1) });
      whole.step({ a: ones(1), b: ones(1) });
      parts.step({ b: ones(1) }, { more: true });
      parts.step({ a: ones(1) });
      same(await readAll(parts, { a: 0, b: 0 }), await readAll(whole, { a: 0, b: 0 }));
      expect(parts.completedSteps).toBe(2);
    });
  });

  test('a state dict saved with functions needs them, and a loaded number does not replace a function', async () => {
    const functions = { weightDecay: () => 0.5, betas: (): [number, number] => [0.5, 0.5], schedule: () => 0.5 };
    const [saved, plain] = await Promise.all([
      adamw(tensors(lengths, 1), { ...functions, ...backend }),
      adamw(tensors(lengths, 1), { schedule: () => 0.5, ...backend }),
    ]);
    const dict = await saved.stateDict();
    expect(dict.param_groups[0]).toMatchObject({ weight_decay: 0.5, betas: [0.5, 0.5] });
    await expect(plain.loadStateDict(dict)).rejects.toThrow(
      'The state dict was saved with functions as "weight_decay", "betas" in param_groups[0]: functions are not saved, so pass them when you create the optimizer.',
    );
    await saved.loadStateDict({
      ...dict,
      param_groups: [{ ...dict.param_groups[0], functions: [], weight_decay: 0.1 }],
    });
    expect(saved.groups[0].weightDecay).toBe(functions.weightDecay);
  });

  describe.each(withFunctions)('%s', (...[, create]) => {
    async function train(options: Options): Promise<Tensors> {
      const optimizer = await create(tensors(lengths, 1), { ...options, ...backend });
      for (let t = 0; t < STEPS; t++) optimizer.step(grads(t));
      return readAll(optimizer, tensors(lengths, 1));
    }

    test('betas as a constant function equal the pair', async () => {
      same(await train({ betas: () => [0.8, 0.95] }), await train({ betas: [0.8, 0.95] }));
    });

    test('betas as a function equal betas assigned before each step', async () => {
      const { betas } = { betas: oneCycle({ totalSteps: STEPS }).betas(0.98) };
      const scheduled = await train({ betas });
      const optimizer = await create(tensors(lengths, 1), backend);
      for (let t = 0; t < STEPS; t++) {
        optimizer.groups[0].betas = betas(t);
        optimizer.step(grads(t));
      }
      same(await readAll(optimizer, scheduled), scheduled);
    });
  });

  test('AdamW with one cycle of lr and beta1 matches PyTorch', async () => {
    const cycle = oneCycle({ totalSteps: 50 });
    const options: Options = { lr: 0.05, weightDecay: 0.1, schedule: cycle, betas: cycle.betas(0.99) };
    const optimizer = await adamw({ w: Float32Array.from(training.init) }, { ...options, ...backend });
    for (const [i, grad] of training.grads.entries()) {
      optimizer.step({ w: Float32Array.from(grad) });
      const exact = training.params64[i + 1];
      if (exact === undefined) continue;
      const ours = await optimizer.read('w');
      const theirs = largest(exact.map((x, k) => x - training.params[i + 1][k]));
      const bound = Math.max(GOLDEN.ofReference * theirs, GOLDEN.roundings * ROUNDING * largest(exact));
      expect(largest(exact.map((x, k) => x - ours[k])), `step ${i + 1}`).toBeLessThanOrEqual(bound);
    }
  });

  describe('a schedule with state', () => {
    const metrics = [3, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1];

    /** Two groups, the second with its own schedule. */
    async function open(plateau: ReduceOnPlateau) {
      const { w1, ...others } = tensors(lengths, 1);
      const schedule = chained(linearWarmup({ totalIters: 3 }), plateau);
      const groups = [{ params: { w1 } }, { params: others, schedule }];
      return adamw(groups, { lr: 0.1, schedule: plateau, ...backend });
    }
    const make = (): ReduceOnPlateau => reduceOnPlateau({ patience: 1, factor: 0.5 });

    test('resumes like an uninterrupted run', async () => {
      const [plateau, other] = [make(), make()];
      const unbroken = await open(plateau);
      const step = (optimizer: typeof unbroken, of: ReduceOnPlateau, t: number): void => {
        optimizer.step(grads(t));
        of.step(metrics[t]);
      };
      for (let t = 0; t < 6; t++) step(unbroken, plateau, t);
      const dict = JSON.parse(JSON.stringify((await unbroken.stateDict()).param_groups)) as object[];
      expect(dict[0]).toMatchObject({ schedule: plateau.stateDict() });
      expect(dict[1]).toMatchObject({ schedule: { schedules: [null, plateau.stateDict()] } });

      const resumed = await open(other);
      for (const [name, value] of Object.entries(await readAll(unbroken, tensors(lengths, 1)))) {
        if (ArrayBuffer.isView(resumed.params[name])) (resumed.params[name] as Float32Array).set(value);
      }
      await resumed.loadStateDict(structuredClone(await unbroken.stateDict()));
      expect(other.stateDict()).toEqual(plateau.stateDict());
      for (let t = 6; t < STEPS; t++) {
        step(unbroken, plateau, t);
        step(resumed, other, t);
        expect(resumed.groups[1].scheduledLr).toBe(unbroken.groups[1].scheduledLr);
      }
      expect(plateau(0)).toBeLessThan(0.5);
      expect(await resumed.stateDict()).toEqual(await unbroken.stateDict());
    });

    test('that is bad in one group changes nothing in any group', async () => {
      const plateau = make();
      const optimizer = await open(plateau);
      const dict = structuredClone(await optimizer.stateDict());
      optimizer.step(grads(0));
      for (const metric of metrics) plateau.step(metric);
      const [before, memory] = [await optimizer.stateDict(), plateau.stateDict()];

      const inner = { ...make().stateDict(), num_bad_epochs: -1 };
      dict.param_groups[1].schedule = { schedules: [null, inner] };
      await expect(optimizer.loadStateDict(dict)).rejects.toThrow(
        'Cannot load the schedule in param_groups[1]: Expected num_bad_epochs in the state of reduceOnPlateau to be a whole number of at least 0, less than 2^53 - 1, got -1.',
      );
      dict.param_groups[1].schedule = { schedules: [null, make().stateDict()] };
      dict.state[1] = { step: -1 };
      await expect(optimizer.loadStateDict(dict)).rejects.toThrow('Expected step in the state of "w3"');
      expect(plateau.stateDict()).toEqual(memory);
      expect(await optimizer.stateDict()).toEqual(before);
    });

    test('is not changed by a dict without schedule state', async () => {
      const plateau = make();
      const optimizer = await open(plateau);
      for (const metric of metrics) plateau.step(metric);
      const memory = plateau.stateDict();
      const without = await adamw([{ params: { w1: tensors([1], 1).w1 } }, { params: tensors([3, 64], 1) }]);
      await optimizer.loadStateDict(await without.stateDict());
      expect(plateau.stateDict()).toEqual(memory);
      await expect(without.loadStateDict(await optimizer.stateDict())).rejects.toThrow(
        'The state dict was saved with functions as "schedule" in param_groups[0]: functions are not saved, so pass them when you create the optimizer.',
      );
    });

    test('may be written by the caller', async () => {
      const own = Object.assign((): number => own.level, {
        level: 1,
        stateDict: () => ({ level: own.level }),
        loadStateDict: (dict: unknown) => void (own.level = (dict as { level: number }).level),
      });
      const optimizer = await adam(tensors(lengths, 1), { schedule: own, ...backend });
      const dict = await optimizer.stateDict();
      own.level = 0.5;
      await optimizer.loadStateDict(dict);
      expect(own.level).toBe(1);
    });
  });

  test('betas returned by a function are checked before anything changes', async () => {
    const { w1, ...others } = tensors(lengths, 1);
    let answer: unknown = [0.9, 0.99];
    const betas = (): never => answer as never;
    const optimizer = await adamw([{ params: { w1 } }, { params: others, betas }], backend as object);
    optimizer.step(grads(0));
    const before = await optimizer.stateDict();
    for (const [bad, shown] of [
      [[0.9, 1], '[0.9, 1]'],
      [[0.9], '[0.9]'],
      [undefined, 'undefined'],
      [[NaN, 0.9], '[NaN, 0.9]'],
      [betas, 'a function'],
    ] as const) {
      answer = bad;
      expect(() => optimizer.step(grads(1))).toThrow(
        `Expected betas(1) of group 1 to be two numbers of at least 0 and less than 1, got ${shown}.`,
      );
    }
    answer = [0.9, 0.99];
    expect(await optimizer.stateDict()).toEqual(before);
    expect(before.param_groups[1]).toMatchObject({ betas: [0.9, 0.99], functions: ['betas'] });
    expect(optimizer.groups[1].betas).toBe(betas);
  });
});

test.each([
  ['nadam', nadam, 'NAdam uses the product of the momenta of all steps'],
  ['adamwScheduleFree', adamwScheduleFree, 'Schedule-Free needs the same beta1 at every step'],
  ['radamScheduleFree', radamScheduleFree, 'Schedule-Free needs the same beta1 at every step'],
] as const)('%s refuses betas that are a function, at creation and by assignment', async (...[, create, why]) => {
  const make = create as unknown as typeof adamw;
  const betas = oneCycle({ totalSteps: 5 }).betas(0.9);
  const message = `${why}, so betas must be two numbers, got a function.`;
  await expect(make(tensors(lengths, 1), { betas })).rejects.toThrow(`Cannot combine the options: ${message}`);
  const optimizer = await make(tensors(lengths, 1));
  expect(() => (optimizer.groups[0].betas = betas)).toThrow(message);
  expect(optimizer.groups[0].betas).toEqual([0.9, 0.999]);
});

test('groups may have different schedules, which can be assigned', async () => {
  const { w1, ...others } = tensors(lengths, 1);
  const schedule = constant({ factor: 0.5, totalIters: 1 });
  const optimizer = await adam([{ params: { w1 } }, { params: others, schedule }], { lr: 0.1 });
  const rates: number[][] = [];
  for (let t = 0; t < 3; t++) {
    if (t === 2) optimizer.groups[0].schedule = linearWarmup({ totalIters: 4 });
    optimizer.step(grads(t));
    rates.push(optimizer.groups.map(({ scheduledLr }) => scheduledLr));
  }
  expect(rates).toEqual([[0.1, 0.05], [0.1, 0.1], [0.05, 0.1]]); // prettier-ignore
  expect(difference(await optimizer.read('w1'), w1)).toBeDefined();
});
