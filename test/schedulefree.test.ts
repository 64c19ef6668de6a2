// Tests what only Schedule-Free has: two modes, an average readable in both, and counters of groups.

import { adam, adamwScheduleFree, debiasedDecay, radamScheduleFree, sgdScheduleFree } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { backends, webgpu, type Options } from './support/backends.js';
import { array, difference, largest, tensors } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';
import { ROUNDING } from './support/tolerances.js';

const lengths = [1, 3, 64, 130];
const algorithms: [string, typeof adamwScheduleFree, Options][] = [
  ['adamwScheduleFree', adamwScheduleFree, { lr: 0.01, weightDecay: 0.1, warmupSteps: 3 }],
  ['adamwScheduleFree with inner momentum', adamwScheduleFree, { lr: 0.01, innerMomentum: 0.9 }],
  ['radamScheduleFree', radamScheduleFree as unknown as typeof adamwScheduleFree, { lr: 0.01 }],
  ['sgdScheduleFree', sgdScheduleFree as unknown as typeof adamwScheduleFree, { lr: 0.1, weightDecay: 0.01 }],
];

type Optimizer = Awaited<ReturnType<typeof adamwScheduleFree>>;

const names = tensors(lengths, 1);

const run = (optimizer: Optimizer, from: number, to: number): void => {
  for (let t = from; t < to; t++) optimizer.step(tensors(lengths, 10 + t));
};

describe.each(backends)('%s', (...[backendName, backend]) => {
  describe.each(algorithms)('%s', (...[, create, own]) => {
    const make = (): Promise<Optimizer> => create(tensors(lengths, 1), { ...own, ...backend });

    test('in eval mode the parameters are the average that read() returns', async () => {
      const optimizer = await make();
      run(optimizer, 0, 12);
      const average = await readAll(optimizer, names, true);
      const y = await readAll(optimizer, names);
      expect(difference(average.w64, y.w64)).toBeDefined();
      optimizer.eval();
      const x = await readAll(optimizer, names);
      for (const name in x) {
        const bound = backendName === 'webgpu' ? 4 * ROUNDING * largest(x[name]) : 0;
        expect(largest(x[name].map((value, i) => value - average[name][i]))).toBeLessThanOrEqual(bound);
      }
      same(await readAll(optimizer, names, true), x);
    });

    test('reading the average changes nothing', async () => {
      const [optimizer, undisturbed] = await Promise.all([make(), make()]);
      for (const each of [optimizer, undisturbed]) run(each, 0, 8);
      for (let i = 0; i < 5; i++) await readAll(optimizer, names, true);
      for (const each of [optimizer, undisturbed]) run(each, 8, 12);
      same(await readAll(optimizer, names), await readAll(undisturbed, names));
    });

    test('train() and eval() are idempotent, and do nothing before the first step', async () => {
      const optimizer = await make();
      optimizer.eval();
      same(await readAll(optimizer, names), tensors(lengths, 1));
      same(await readAll(optimizer, names, true), tensors(lengths, 1));
      optimizer.train();
      run(optimizer, 0, 5);
      optimizer.eval();
      const x = await readAll(optimizer, names);
      optimizer.eval();
      same(await readAll(optimizer, names), x);
      optimizer.train();
      const y = await readAll(optimizer, names);
      optimizer.train();
      same(await readAll(optimizer, names), y);
    });

    test('1000 changes of mode move parameters only by rounding', async () => {
      const optimizer = await make();
      run(optimizer, 0, 20);
      const before = await readAll(optimizer, names);
      for (let i = 0; i < 1000; i++) {
        optimizer.eval();
        optimizer.train();
      }
      const after = await readAll(optimizer, names);
      for (const name in before) {
        const moved = largest(after[name].map((x, i) => x - before[name][i]));
        expect(moved).toBeLessThanOrEqual(4 * ROUNDING * largest(before[name]));
      }
    });

    test('refuses a step in eval mode, which changes nothing', async () => {
      const optimizer = await make();
      run(optimizer, 0, 3);
      optimizer.eval();
      const x = await readAll(optimizer, names);
      expect(() => run(optimizer, 3, 4)).toThrow('Cannot use gradients in eval mode');
      same(await readAll(optimizer, names), x);
      expect(optimizer.stepOf('w1')).toBe(3);
    });

    test('gradients of a refused step do not affect a change of mode', async () => {
      const [optimizer, undisturbed] = await Promise.all([make(), make()]);
      for (const each of [optimizer, undisturbed]) run(each, 0, 3);
      expect(() => optimizer.step({ ...tensors(lengths, 1), w130: array(1, 1) })).toThrow(
        'Expected 130 gradient values',
      );
      for (const each of [optimizer, undisturbed]) each.eval();
      same(await readAll(optimizer, names), await readAll(undisturbed, names));
      expect(await optimizer.stateDict()).toEqual(await undisturbed.stateDict());
    });

    test('stepClosure() calls its closure in train mode, and returns to eval mode', async () => {
      const [optimizer, plain] = await Promise.all([make(), make()]);
      optimizer.eval();
      for (let t = 0; t < 6; t++) {
        await optimizer.stepClosure(async () => {
          const y = await readAll(optimizer, names);
          const expected = await readAll(plain, names);
          for (const name in y) {
            const bound = 16 * ROUNDING * (largest(y[name]) + 1);
            expect(largest(y[name].map((value, i) => value - expected[name][i]))).toBeLessThanOrEqual(bound);
          }
          return tensors(lengths, 10 + t);
        });
        run(plain, t, t + 1);
      }
      const [x, average] = [await readAll(optimizer, names), await readAll(plain, names, true)];
      for (const name in x) {
        const bound = 16 * ROUNDING * (largest(x[name]) + 1);
        expect(largest(x[name].map((value, i) => value - average[name][i]))).toBeLessThanOrEqual(bound);
      }
      const error = new Error('no gradients');
      await expect(optimizer.stepClosure(() => Promise.reject(error))).rejects.toBe(error);
      expect(() => run(optimizer, 6, 7)).toThrow('eval mode');
      const incomplete = (): Promise<never> => {
        optimizer.step({ w3: array(3, 6) }, { more: true });
        return Promise.reject(error);
      };
      await expect(optimizer.stepClosure(incomplete)).rejects.toBe(error);
    });

    test.each(['train', 'eval'] as const)(
      'a run saved in %s mode and resumed equals an uninterrupted run',
      async (mode) => {
        const unbroken = await make();
        run(unbroken, 0, 7);
        if (mode === 'eval') unbroken.eval();
        const dict = structuredClone(await unbroken.stateDict());
        const params = await readAll(unbroken, names);
        const resumed = await create(params, { ...own, lr: 1, ...backend });
        await resumed.loadStateDict(dict);
        for (const each of [unbroken, resumed]) {
          each.train();
          run(each, 7, 12);
        }
        same(await readAll(resumed, names), await readAll(unbroken, names));
        same(await readAll(resumed, names, true), await readAll(unbroken, names, true));
        expect(await resumed.stateDict()).toEqual(await unbroken.stateDict());
      },
    );

    test('a tensor with a late first step begins with z at its y', async () => {
      const late = await make();
      const without = (t: number): Tensors => {
        const { w3: _, ...others } = tensors(lengths, t);
        return others;
      };
      for (let t = 0; t < 4; t++) late.step(without(t));
      const { w3: begin } = tensors(lengths, 1);
      same({ w3: await late.read('w3', { average: true }) }, { w3: begin });
      expect(Object.keys((await late.stateDict()).state)).not.toContain('1');
      late.step(tensors(lengths, 5));
      expect(late.stepOf('w3')).toBe(5);
      // y and z start at the same point. y moves a part of the way of z, the same part for all elements.
      const [y, z] = [await late.read('w3'), (await late.stateDict()).state[1].z as Float32Array];
      const parts = Array.from(begin, (at, i) => (y[i] - at) / (z[i] - at));
      for (const part of parts) expect(part).toBeCloseTo(parts[0], 2);
      expect(parts[0]).toBeGreaterThan(0);
      // The part is 1 while the average consists of z only.
      expect(parts[0]).toBeLessThan(1.001);
    });
  });

  test('z begins at the y of a tensor’s first step', async () => {
    const optimizer = await sgdScheduleFree({ a: array(3, 1), b: array(3, 2) }, { ...backend, lr: 0.5 });
    optimizer.step({ a: array(3, 3) });
    const { b } = optimizer.params as unknown as Record<string, Float32Array | GPUBufferBinding>;
    if (b instanceof Float32Array) b.fill(7);
    else webgpu!.device.queue.writeBuffer(b.buffer, b.offset!, new Float32Array(3).fill(7));
    optimizer.step({ a: array(3, 3), b: new Float32Array(3).fill(2) });
    const z = (await optimizer.stateDict()).state[1].z as Float32Array;
    expect([...z]).toEqual([6, 6, 6]);
  });

  test('reads the average of iterates whose difference exceeds f32', async () => {
    const optimizer = await sgdScheduleFree({ w: Float32Array.of(1.5e38) }, { ...backend, lr: 1, momentum: 0.5 });
    for (const g of [0, 3.3e38]) optimizer.step({ w: Float32Array.of(g) });
    const [y] = await optimizer.read('w');
    const z = ((await optimizer.stateDict()).state[0].z as Float32Array)[0];
    // Both weights are 1/2.
    expect(z).toBeCloseTo(-1.8e38, -32);
    expect([y, (await optimizer.read('w', { average: true }))[0]].every(Number.isFinite)).toBe(true);
  });

  test('z begins exactly at y, however different the initial parameter was', async () => {
    const w = Float32Array.of(1e8, 3e-5, -7, 0);
    const optimizer = await sgdScheduleFree({ w }, { ...backend, lr: 0 });
    await optimizer.loadStateDict(await optimizer.stateDict(), { params: { w: Float32Array.of(1, 1e6, 0.1, -0) } });
    const { w: param } = optimizer.params as unknown as Record<string, Float32Array | GPUBufferBinding>;
    const pretrained = Float32Array.of(1.1, 0.1, 3e7, -0);
    if (param instanceof Float32Array) param.set(pretrained);
    else webgpu!.device.queue.writeBuffer(param.buffer, param.offset!, pretrained);
    optimizer.step({ w: new Float32Array(4) });
    expect((await optimizer.stateDict()).state[0].z).toEqual(pretrained);
  });

  test('groups have the counters of upstream', async () => {
    const options = { lr: 0.5, warmupSteps: 4, ...backend };
    const optimizer = await adamwScheduleFree(
      [{ params: { a: array(3, 1) } }, { params: { b: array(3, 2) }, r: 1 }],
      options,
    );
    const { k, weightSum, lrMax, scheduledLr } = optimizer.groups[0];
    expect([k, weightSum, lrMax, scheduledLr]).toEqual([0, 0, -1, 0]);
    optimizer.step({ a: array(3, 3) });
    optimizer.step({ a: array(3, 3), b: array(3, 4) });
    const lrs = [0.125, 0.25];
    const [first, second] = optimizer.groups;
    expect([first.k, first.scheduledLr, first.lrMax]).toEqual([2, 0.25, 0.25]);
    expect(first.weightSum).toBe(lrs[0] ** 2 + lrs[1] ** 2);
    expect(second.weightSum).toBe(lrs[0] ** 2 + 2 * lrs[1] ** 2);
    const { param_groups } = await optimizer.stateDict();
    expect(param_groups[1]).toMatchObject({ k: 2, lr_max: 0.25, scheduled_lr: 0.25, r: 1, train_mode: true });
  });

  test.each([
    ['overflows', { r: 2000 }, 'step 2 in the average, 2^2000 * 0.5^2, to be more than 0, and finite', 2],
    ['overflows in the sum', { r: 1023.4 }, 'step 3', 3],
    ['underflows', { weightLrPower: 2000 }, 'step 1 in the average, 1^0 * 0.5^2000, to be more than 0', 1],
  ])('refuses a weight in the average that %s, which changes nothing', async (_, own, message, step) => {
    const optimizer = await adamwScheduleFree({ w: array(3, 1) }, { lr: 0.5, ...own, ...backend });
    for (let t = 1; t < step; t++) optimizer.step({ w: array(3, t) });
    const [dict, w] = [await optimizer.stateDict(), await optimizer.read('w')];
    expect(() => optimizer.step({ w: array(3, 9) })).toThrow(`Expected the weight of ${message}`);
    expect(await optimizer.stateDict()).toEqual(dict);
    expect(difference(await optimizer.read('w'), w)).toBeUndefined();
    optimizer.groups[0].r = 0;
    optimizer.groups[0].weightLrPower = 2;
    optimizer.step({ w: array(3, 9) });
    expect(optimizer.groups[0].k).toBe(step);
  });

  test('a step with lr = 0 has no weight, and is valid', async () => {
    const optimizer = await sgdScheduleFree(
      { w: array(3, 1) },
      { lr: 1, schedule: (t) => (t < 2 ? 0 : 1), ...backend },
    );
    for (let t = 0; t < 4; t++) optimizer.step({ w: array(3, t) });
    expect(optimizer.groups[0].weightSum).toBe(2);
  });

  test('one group changes its mode without the others', async () => {
    const options = { lr: 0.5, ...backend };
    const optimizer = await sgdScheduleFree([{ params: { a: array(3, 1) } }, { params: { b: array(3, 2) } }], options);
    for (let t = 0; t < 3; t++) optimizer.step({ a: array(3, t), b: array(3, t + 9) });
    const [a, b] = [await optimizer.read('a', { average: true }), await optimizer.read('b')];
    optimizer.eval(0);
    expect(optimizer.groups.map(({ trainMode }) => trainMode)).toEqual([false, true]);
    expect(difference(await optimizer.read('b'), b)).toBeUndefined();
    expect(largest((await optimizer.read('a')).map((x, i) => x - a[i]))).toBeLessThan(1e-6);
    expect(() => optimizer.step({ b: array(3, 1) })).toThrow('eval mode');
    expect(() => optimizer.train(2)).toThrow('Expected the group to be an index below 2, got 2.');
    optimizer.train();
    expect(optimizer.groups.map(({ trainMode }) => trainMode)).toEqual([true, true]);
  });

  test('a state dict without completed_steps continues from k', async () => {
    const [optimizer, resumed] = await Promise.all([1, 2].map(() => sgdScheduleFree({ w: array(3, 1) }, backend)));
    for (let t = 0; t < 9; t++) optimizer.step({ w: array(3, t) });
    const dict = await optimizer.stateDict();
    const { completed_steps: _, ...upstreams } = dict.param_groups[0];
    await resumed.loadStateDict({ ...dict, param_groups: [upstreams as (typeof dict.param_groups)[0]] });
    expect([resumed.completedSteps, resumed.groups[0].k, resumed.groups[0].scheduledLr]).toEqual([9, 9, 1]);
    expect(await resumed.stateDict()).toEqual(dict);
  });

  test('refuses a state dict of another algorithm or without counters', async () => {
    const optimizer = await adamwScheduleFree({ w: array(3, 1) }, backend);
    optimizer.step({ w: array(3, 2) });
    const dict = await optimizer.stateDict();
    const other = await adam({ w: array(3, 1) }, backend);
    await expect(other.loadStateDict(dict)).rejects.toThrow(
      'The state dict says algorithm = "adamwScheduleFree" in param_groups[0]; adam has "adam".',
    );
    other.step({ w: array(3, 2) });
    const { algorithm: _, ...unnamed } = dict.param_groups[0];
    const nameless = { state: dict.state, param_groups: [unnamed] } as typeof dict;
    await expect(other.loadStateDict(nameless)).rejects.toThrow('the state dict is of another algorithm.');
    const { k: __, ...withoutK } = dict.param_groups[0];
    const without = { state: dict.state, param_groups: [withoutK] } as typeof dict;
    await expect(optimizer.loadStateDict(without)).rejects.toThrow('Expected k in param_groups[0]');
    const broken = structuredClone(dict);
    broken.param_groups[0].weight_sum = -1;
    await expect(optimizer.loadStateDict(broken)).rejects.toThrow('Expected weight_sum in param_groups[0]');
    broken.param_groups[0].weight_sum = 1;
    broken.param_groups[0].train_mode = 1;
    await expect(optimizer.loadStateDict(broken)).rejects.toThrow('Expected train_mode in param_groups[0]');
    broken.param_groups[0].k = 2 ** 53;
    await expect(optimizer.loadStateDict(broken)).rejects.toThrow('Expected k in param_groups[0] to be a whole number');
    expect(await optimizer.stateDict()).toEqual(dict);
  });

  test('Adam steps in both modes, and has no average', async () => {
    const optimizer = await adam({ w: array(3, 1) }, backend);
    optimizer.eval();
    optimizer.step({ w: array(3, 2) });
    optimizer.train();
    await expect(optimizer.read('w', { average: true })).rejects.toThrow('adam keeps no average of "w".');
    expect(optimizer.stepOf('w')).toBe(1);
  });

  test('weightDecay may be a function of completed steps', async () => {
    const weightDecay = debiasedDecay(0.5, 0.9);
    expect(() => debiasedDecay(0.5, '0.9' as never)).toThrow(
      'Expected beta2 to be a number of at least 0 and less than',
    );
    expect([0, 1, 2].map(weightDecay)).toEqual([0, 0.5 * Math.sqrt(1 - 0.9), 0.5 * Math.sqrt(1 - 0.9 * 0.9)]);
    for (const create of [adam, adamwScheduleFree as unknown as typeof adam]) {
      const scheduled = await create(tensors(lengths, 1), { weightDecay, ...backend });
      const assigned = await create(tensors(lengths, 1), backend);
      for (let t = 0; t < 5; t++) {
        assigned.groups[0].weightDecay = weightDecay(t);
        for (const each of [scheduled, assigned]) each.step(tensors(lengths, 10 + t));
      }
      same(await readAll(scheduled, names), await readAll(assigned, names));
      scheduled.groups[0].weightDecay = () => NaN;
      expect(() => scheduled.step(tensors(lengths, 1))).toThrow('Expected weightDecay(5) to be a finite number');
    }
  });
});

const w = { w: array(2, 1) };
const refused: [string, () => Promise<unknown>, string][] = [
  [
    'beta1 of 0',
    () => adamwScheduleFree(w, { betas: [0, 0.9] }),
    'Schedule-Free divides by the first of betas, which is 0.',
  ],
  ['a momentum of 0', () => sgdScheduleFree(w, { momentum: 0 }), 'Expected momentum to be a number of more than 0'],
  [
    'a fractional number of warm-up steps',
    () => adamwScheduleFree(w, { warmupSteps: 0.5 }),
    'Expected warmupSteps to be a whole number',
  ],
  [
    'an unknown decayAt',
    () => adamwScheduleFree(w, { decayAt: 'x' as never }),
    'Expected decayAt to be "y" or "z", got "x".',
  ],
  ['amsgrad with nesterov', () => adam(w, { amsgrad: true, nesterov: true }), 'amsgrad excludes nesterov and epsRoot'],
  ['an inner momentum of 1', () => adamwScheduleFree(w, { innerMomentum: 1 }), 'Expected innerMomentum to be a number'],
  ['a negative r', () => adamwScheduleFree(w, { r: -1 }), 'Expected r to be a finite number of at least 0, got -1.'],
];
test.each(refused)('refuses %s', async (...[, create, message]) => {
  await expect(create()).rejects.toThrow(message);
});

test('refuses assigning innerMomentum, and a beta1 of 0 also by assignment', async () => {
  const optimizer = await adamwScheduleFree(w);
  expect(() => (optimizer.groups[0].innerMomentum = 0.9)).toThrow('innerMomentum is fixed at creation');
  expect(() => (optimizer.groups[0].betas = [0, 0.9])).toThrow('Schedule-Free divides by the first of betas');
  expect(optimizer.groups[0].betas).toEqual([0.9, 0.999]);
});
