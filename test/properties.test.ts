// Tests properties of every optimizer with any numbers.

import * as twinstep from 'twinstep';
import { adam, adamw, type StateDict } from 'twinstep';
import { coefficients, kernels, type AlgorithmName } from 'twinstep/kernels';
import { describe, expect, test } from 'vitest';
import * as algorithms from '../src/algorithms/index.js';
import { LARGEST, LARGEST_ROOT } from '../src/math/f32.js';
import { backends, type Options } from './support/backends.js';
import { array, difference, largest, random, tensors } from './support/numbers.js';
import { map, readAll, same, type Tensors } from './support/tensors.js';
import { ROUNDING } from './support/tolerances.js';

const lengths = [1, 3, 64, 200];
const STEPS = 12;

type Params = Parameters<typeof adam>[0];

/** Every algorithm and every rule, with options that select each of its loops. */
const everyRule: [Exclude<AlgorithmName, 'ema'>, Options][] = [
  ['adam', {}],
  ['adam', { weightDecay: 0.1 }],
  ['adam', { amsgrad: true, maximize: true }],
  ['adam', { gradScale: 100 }],
  ['adam', { betas: [0, 0.999] }],
  ['adam', { lr: 50 }],
  ['adam', { lr: 50, betas: [0.9, 0.4], nesterov: true }],
  ['adam', { betas: [0.3, 0.4], epsHat: true }],
  ['adam', { nesterov: true, epsRoot: 1e-8, weightDecay: 0.1 }],
  ['adamw', {}],
  ['nadam', {}],
  ['radam', { weightDecay: 0.1 }],
  ['adamwScheduleFree', { weightDecay: 0.1 }],
  ['adamwScheduleFree', { innerMomentum: 0.9, gradScale: 10 }],
  ['radamScheduleFree', { silentSgdPhase: false }],
  ['sgdScheduleFree', {}],
  ['sgdScheduleFree', { lr: 0.01, weightDecay: 0.01 }],
  ['sgdScheduleFree', { lr: 10, weightDecay: 3, decayAt: 'z', gradScale: 100 }],
];

test('everyRule has every algorithm and every rule that takes steps', () => {
  const listed = new Set<string>(everyRule.map(([name]) => name));
  const chosen = new Set<string>(everyRule.map(([name, options]) => coefficients(name, options).kernel));
  // ema() has no gradients of its own, and `extrapolate` moves parameters between steps.
  const algorithmsMissing = Object.keys(algorithms).filter((name) => name !== 'ema' && !listed.has(name));
  const rulesMissing = Object.keys(kernels).filter(
    (name) => name !== 'ema' && name !== 'extrapolate' && !chosen.has(name),
  );
  expect([
    ...algorithmsMissing.map((name) => `everyRule has no row of the algorithm ${name}`),
    ...rulesMissing.map((name) => `everyRule has no options that choose the rule ${name}`),
  ]).toEqual([]);
});

/** Returns the function that makes an algorithm, with the type of Adam's. */
const makerOf = (name: keyof typeof twinstep): typeof adam => twinstep[name] as typeof adam;

/** Returns a sentence about each number that is infinite or NaN. */
const notFinite = (arrays: Tensors): string[] =>
  Object.entries(arrays).flatMap(([name, values]) =>
    [...values.keys()].filter((i) => !Number.isFinite(values[i])).map((i) => `${name}[${i}] is ${values[i]}`),
  );

describe.each(backends)('%s', (...[, backend]) => {
  /** Returns the parameters after all steps; `change` may alter the gradients of step t. */
  async function train(
    make: typeof adam,
    options: Options,
    change: (grads: Tensors, t: number) => Tensors = (grads) => grads,
    params: Params = tensors(lengths, 1),
  ): Promise<Tensors> {
    const optimizer = await make(params, { ...options, ...backend });
    for (let t = 1; t <= STEPS; t++) optimizer.step(change(tensors(lengths, 1 + t), t));
    return readAll(optimizer, tensors(lengths, 1));
  }

  test('AdamW without decay equals Adam', async () => {
    same(await train(adamw, { weightDecay: 0 }), await train(adam, {}));
  });

  test('AdamW and Adam with all decay masked equal Adam', async () => {
    const plain = await train(adam, {});
    same(await train(adamw, { weightDecay: 0.3, decayMask: () => false }), plain);
    same(await train(adam, { weightDecay: 0.3, decayMask: () => false }), plain);
  });

  test('two halves of a tensor step like the whole', async () => {
    const whole = array(128, 1);
    const grad = array(128, 2);
    const halves = (values: Float32Array): Tensors => ({ a: values.slice(0, 64), b: values.slice(64) });
    const one = await adamw({ whole }, backend);
    const two = await adamw(halves(whole), backend);
    for (let t = 0; t < 5; t++) {
      one.step({ whole: grad });
      two.step(halves(grad));
    }
    same(await readAll(two, halves(whole)), halves(await one.read('whole')));
  });

  test('tensors stepped one at a time get the same results', async () => {
    const together = await train(adamw, {});
    const separate = await adamw(tensors(lengths, 1), backend);
    for (let t = 1; t <= STEPS; t++) {
      for (const [name, grad] of Object.entries(tensors(lengths, 1 + t)).toReversed()) separate.step({ [name]: grad });
    }
    same(await readAll(separate, together), together);
  });

  test('groups with the same options step like one group', async () => {
    const { w1, w3, ...others } = tensors(lengths, 1);
    const groups: Params = [{ params: { w3 } }, { params: others, lr: 1e-3 }, { params: { w1 } }];
    same(await train(adamw, {}, undefined, groups), await train(adamw, {}));
  });

  test('a group uses its own options, and the optimizer’s for the rest', async () => {
    const { w1, ...others } = tensors(lengths, 1);
    const mixed = await train(adamw, { lr: 0.02, weightDecay: 0.1 }, undefined, [
      { params: others },
      { params: { w1 }, lr: 0.5, amsgrad: true },
    ]);
    const { w1: one } = await train(adamw, { lr: 0.5, weightDecay: 0.1, amsgrad: true });
    same(mixed, { ...(await train(adamw, { lr: 0.02, weightDecay: 0.1 })), w1: one });
  });

  test('maximize equals minimizing with negated gradients', async () => {
    const negated = await train(adamw, {}, (grads) => map(grads, (x) => -x));
    same(await train(adamw, { maximize: true }), negated);
  });

  test('gradScale multiplies the gradients', async () => {
    const doubled = await train(adamw, { weightDecay: 0.1 }, (grads) => map(grads, (x) => 2 * x));
    same(await train(adamw, { weightDecay: 0.1, gradScale: 2 }), doubled);
  });

  test('Adam with eps = 0 does not depend on the scale of gradients', async () => {
    const scaled = await train(adam, { eps: 0 }, (grads) => map(grads, (x) => 1024 * x));
    same(await train(adam, { eps: 0 }), scaled);
  });

  test('the first step moves by lr against the sign of the gradient', async () => {
    const params = tensors(lengths, 1);
    const grads = tensors(lengths, 2);
    const optimizer = await adam(params, { lr: 0.125, ...backend });
    optimizer.step(grads);
    const read = await readAll(optimizer, params);
    for (const name in params) {
      read[name].forEach((value, i) => {
        const expected = params[name][i] - 0.125 * Math.sign(grads[name][i]);
        expect(Math.abs(value - expected)).toBeLessThan(1e-6);
      });
    }
  });

  test('a schedule multiplies lr, like an lr assigned before each step', async () => {
    const schedule = (completed: number): number => 1 / (1 + completed);
    const scheduled = await train(adamw, { lr: 0.02, schedule });
    const optimizer = await adamw(tensors(lengths, 1), { ...backend });
    for (let t = 1; t <= STEPS; t++) {
      optimizer.groups[0].lr = 0.02 * schedule(t - 1);
      optimizer.step(tensors(lengths, 1 + t));
    }
    same(await readAll(optimizer, scheduled), scheduled);
  });

  test('scheduledLr is the lr of the latest step', async () => {
    const optimizer = await adam(tensors(lengths, 1), { lr: 0.5, schedule: (t) => 2 ** -t, ...backend });
    const seen = [optimizer.groups[0].scheduledLr];
    for (let t = 1; t <= 3; t++) {
      optimizer.step(tensors(lengths, 1));
      seen.push(optimizer.groups[0].scheduledLr);
    }
    expect(seen).toEqual([0, 0.5, 0.25, 0.125]);
    optimizer.groups[0].lr = 100;
    expect(optimizer.groups[0].scheduledLr).toBe(0.125);
  });

  test('a coupled decay depends on lr, an uncoupled one does not', async () => {
    const params = { w: array(64, 1) };
    const zeros = { w: new Float32Array(64) };
    const decayed = async (options: Options): Promise<Float32Array> => {
      const optimizer = await adamw(params, { weightDecay: 0.25, ...options, ...backend });
      optimizer.step(zeros);
      return optimizer.read('w');
    };
    const times = (factor: number): Float32Array => params.w.map((x) => x * factor);
    expect(difference(await decayed({ lr: 0.5 }), times(0.875))).toBeUndefined();
    expect(difference(await decayed({ lr: 0.5, couple: false }), times(0.75))).toBeUndefined();
    const half = { lr: 0.5, couple: false, schedule: () => 0.5 };
    expect(difference(await decayed(half), times(0.875))).toBeUndefined();
  });

  test('a decay of 1e-7 is rounded once', async () => {
    const w = array(100_000, 1).map((x) => 1 + Math.abs(x));
    const optimizer = await adamw({ w }, { lr: 1e-5, weightDecay: 1e-2, ...backend });
    optimizer.step({ w: new Float32Array(w.length) });
    const after = await optimizer.read('w');
    // p*(1 - lr*wd) with the factor rounded to f32 decays by 1.19e-7, which changes 17% of these elements.
    const others = w.filter((x, i) => after[i] !== Math.fround(x - 1e-7 * x)).length;
    expect(others / w.length).toBeLessThan(1e-4);
    const usual = w.filter((x) => Math.fround(x * Math.fround(1 - 1e-7)) !== Math.fround(x - 1e-7 * x)).length;
    expect(usual / w.length).toBeGreaterThan(0.1);
  });

  test.each([0, 1e-6, 1e-3, 0.1, 0.499, 0.5, 0.9])(
    'with betas of %f, small gradients after a large one give exact moments',
    async (beta) => {
      const optimizer = await adam({ w: Float32Array.of(1) }, { betas: [beta, beta], lr: 0.1, ...backend });
      const gradients = [1e4, 1e-3, 1e-3];
      let [p, m, v] = [1, 0, 0];
      for (const [i, g] of gradients.entries()) {
        optimizer.step({ w: Float32Array.of(g) });
        const exact = Math.fround(g);
        m = beta * m + (1 - beta) * exact;
        v = beta * v + (1 - beta) * exact * exact;
        p -= (0.1 * m) / (1 - beta ** (i + 1)) / (Math.sqrt(v / (1 - beta ** (i + 1))) + 1e-8);
      }
      const [w] = await optimizer.read('w');
      expect(Math.abs(w - p)).toBeLessThan(1e-6 * (1 + Math.abs(p)));
    },
  );

  test('AMSGrad keeps dividing by the largest moment, Adam does not', async () => {
    const params = { w: new Float32Array(64) };
    const distance = async (amsgrad: boolean): Promise<number> => {
      const optimizer = await adam(params, { amsgrad, betas: [0, 0.5], ...backend });
      optimizer.step({ w: new Float32Array(64).fill(1000) });
      const before = await optimizer.read('w');
      for (let t = 0; t < 30; t++) optimizer.step({ w: new Float32Array(64).fill(1) });
      const after = await optimizer.read('w');
      return before[0] - after[0];
    };
    expect(await distance(true)).toBeLessThan((await distance(false)) / 20);
  });

  test('AMSGrad equals Adam while the second moment grows', async () => {
    const growing = (grads: Tensors, t: number): Tensors => map(grads, () => 2 ** t);
    same(await train(adam, { amsgrad: true }, growing), await train(adam, {}, growing));
  });

  test('a missing gradient changes nothing; a zero gradient decays and counts a step', async () => {
    const params = tensors(lengths, 1);
    const optimizer = await adamw(params, { lr: 0.5, weightDecay: 0.5, ...backend });
    optimizer.step({ w64: new Float32Array(64), w1: null, w3: undefined });
    const read = await readAll(optimizer, params);
    same(read, { ...params, w64: params.w64.map((x) => x * 0.75) });
    expect(['w1', 'w3', 'w64', 'w200'].map((name) => optimizer.stepOf(name))).toEqual([0, 0, 1, 0]);
  });

  test('bias correction counts the steps of each tensor', async () => {
    const late = await adam(tensors(lengths, 1), backend);
    for (let t = 0; t < 10; t++) late.step({ w3: array(3, t) });
    const grads = tensors(lengths, 5);
    late.step(grads);
    const fresh = await adam(tensors(lengths, 1), backend);
    fresh.step(grads);
    for (const name of ['w1', 'w64', 'w200']) {
      expect(difference(await late.read(name), await fresh.read(name)), name).toBeUndefined();
    }
    expect(late.stepOf('w3')).toBe(11);
  });

  test('with lr = 0 parameters stay, but moments change', async () => {
    const params = tensors(lengths, 1);
    const optimizer = await adamw(params, { lr: 0, weightDecay: 0.5, ...backend });
    optimizer.step(tensors(lengths, 2));
    same(await readAll(optimizer, params), params);
    expect(largest((await optimizer.stateDict()).state[2].exp_avg as Float32Array)).toBeGreaterThan(0);
  });

  test('never writes the caller’s arrays', async () => {
    const params = tensors(lengths, 1);
    const grads = tensors(lengths, 2);
    const optimizer = await adamw(params, backend);
    optimizer.step(grads);
    await optimizer.read('w1');
    same(params, tensors(lengths, 1));
    same(grads, tensors(lengths, 2));
  });

  test('NaN in a gradient affects only its element, permanently', async () => {
    const optimizer = await adam({ w: array(20, 1) }, { amsgrad: true, ...backend });
    const grad = array(20, 2);
    grad[7] = NaN;
    optimizer.step({ w: grad });
    optimizer.step({ w: array(20, 3) });
    const read = await optimizer.read('w');
    expect([...read.keys()].filter((i) => !Number.isFinite(read[i]))).toEqual([7]);
  });

  test.each(everyRule)(
    'finite gradients of any size keep parameters and state finite: %s %j',
    async (algorithm, options) => {
      const draws: ((t: number, next: () => number) => number)[] = [
        (t) => (t % 2 === 0 ? LARGEST : -LARGEST),
        () => LARGEST,
        (_, next) => (next() < 0.5 ? LARGEST : -LARGEST),
        (t) => (t === 20 ? 1e30 : 1),
        (_, next) => (next() < 0.5 ? -1 : 1) * 10 ** (77 * next() - 38.5),
        (_, next) => [2 ** 64, -(2 ** 64), LARGEST_ROOT, 1e-45, 0][Math.floor(5 * next())],
      ];
      const names = draws.map((_, k) => `w${k}`);
      const params = Object.fromEntries(names.map((name, k) => [name, array(5, k)]));
      const optimizer = await makerOf(algorithm)(params, { ...options, ...backend });
      const next = random(7);
      for (let t = 0; t < 40; t++) {
        const grads = names.map((name, k): [string, Float32Array] => [
          name,
          Float32Array.from({ length: 5 }, () => draws[k](t, next)),
        ]);
        optimizer.step(Object.fromEntries(grads));
      }
      const { state } = await optimizer.stateDict();
      expect(Object.keys(state)).toHaveLength(names.length);
      for (const [k, slots] of Object.entries(state)) {
        const arrays = Object.entries(slots).filter(
          (each): each is [string, Float32Array] => typeof each[1] !== 'number',
        );
        expect(notFinite(Object.fromEntries(arrays)), `the state of ${names[Number(k)]}`).toEqual([]);
      }
      const after = await readAll(optimizer, params);
      expect(notFinite(after)).toEqual([]);
      for (const [i, x] of after.w1.entries()) expect(x, `w1[${i}] has not changed`).not.toBe(params.w1[i]);
    },
  );

  test.each(everyRule)(
    'infinite gradients and NaN make only their elements not finite: %s %j',
    async (algorithm, options) => {
      const optimizer = await makerOf(algorithm)({ w: array(20, 1) }, { ...options, ...backend });
      for (let t = 0; t < 12; t++) optimizer.step({ w: array(20, t) });
      const grad = array(20, 2);
      grad.set([Infinity, -Infinity, NaN], 5);
      optimizer.step({ w: grad });
      optimizer.step({ w: array(20, 3) });
      const read = await optimizer.read('w');
      expect([...read.keys()].filter((i) => !Number.isFinite(read[i]))).toEqual([5, 6, 7]);
    },
  );

  test('after a gradient whose square overflows f32, Adam’s steps keep the size of lr', async () => {
    const optimizer = await adam({ w: Float32Array.of(1) }, { lr: 0.01, ...backend });
    const seen: number[] = [];
    for (const g of [1, 1e30, 1, 1, 1]) {
      const [before] = await optimizer.read('w');
      optimizer.step({ w: Float32Array.of(g) });
      seen.push((before - (await optimizer.read('w'))[0]) / 0.01);
    }
    for (const step of seen) {
      expect(step).toBeGreaterThan(0.01);
      expect(step).toBeLessThan(2);
    }
  });

  test('a Schedule-Free SGD step with the largest f32 as gradient is lr times it, even if the decay term overflows', async () => {
    const options = { lr: 0.01, weightDecay: 0.01, ...backend };
    const optimizer = await twinstep.sgdScheduleFree({ w: Float32Array.of(1) }, options);
    optimizer.step({ w: Float32Array.of(-LARGEST) });
    expect((await optimizer.read('w'))[0] / LARGEST).toBeCloseTo(0.01, 6);
    optimizer.step({ w: Float32Array.of(LARGEST) });
    // z is near 0 again, the average of both z is 0.005, and y is 0.9 * average + 0.1 * z.
    expect((await optimizer.read('w'))[0] / LARGEST).toBeCloseTo(0.9 * 0.005, 6);
  });

  test('an average of Schedule-Free beyond f32 is the largest f32, and later steps are finite', async () => {
    const options = { momentum: 0.5, ...backend };
    const optimizer = await twinstep.sgdScheduleFree({ w: Float32Array.of(-3e38, 3e38) }, options);
    optimizer.step({ w: new Float32Array(2) });
    await optimizer.loadStateDict(await optimizer.stateDict(), { params: { w: Float32Array.of(3e38, -3e38) } });
    optimizer.eval();
    expect([...(await optimizer.read('w'))]).toEqual([LARGEST, -LARGEST]);
    optimizer.train();
    for (let t = 0; t < 3; t++) optimizer.step({ w: Float32Array.of(1, 1) });
    expect((await optimizer.read('w')).every(Number.isFinite)).toBe(true);
  });

  // prettier-ignore
  test.each([
    ['adam', { weightDecay: 0.1 }], ['adam', { weightDecay: 2 }],
    ['nadam', { weightDecay: 2 }], ['radam', { weightDecay: 2 }], ['adamw', { weightDecay: 2 }],
    ['adamwScheduleFree', { weightDecay: 0.5 }], ['adamwScheduleFree', { weightDecay: 2, decayAt: 'z' }],
    ['adamwScheduleFree', { weightDecay: 2, innerMomentum: 0.9 }],
    ['radamScheduleFree', { weightDecay: 2 }], ['radamScheduleFree', { weightDecay: 2, silentSgdPhase: false }],
    ['sgdScheduleFree', { lr: 0.01, weightDecay: 2 }],
  ] as const)('the decay of a large parameter stays finite: %s %o', async (algorithm, options) => {
    const params = { w: Float32Array.of(1e30, -3.4e38, LARGEST) };
    const optimizer = await makerOf(algorithm)(params, { ...(options as Options), ...backend });
    for (let t = 0; t < 12; t++) {
      optimizer.step({ w: Float32Array.of(1, -1, 1e20) });
      expect(notFinite({ w: await optimizer.read('w') }), `step ${t + 1}`).toEqual([]);
    }
  });

  test('moments are flushed at every 64th step of their tensor, also after resuming', async () => {
    const options = { betas: [0.5, 0.999], ...backend } as Options;
    const moment = async ({ stateDict }: { stateDict: () => Promise<StateDict> }): Promise<number> =>
      largest((await stateDict()).state[0].exp_avg as Float32Array);
    const params: Tensors = { w: array(64, 1), other: array(3, 2) };
    let optimizer = await adam(params, options);
    const state = () => moment({ stateDict: () => optimizer.stateDict() });
    optimizer.step({ w: new Float32Array(64).fill(1e-30) });
    const zeros = { w: new Float32Array(64) };
    for (let t = 1; t < 63; t++) {
      // The other tensor has a different step count.
      optimizer.step(t % 2 === 0 ? zeros : { ...zeros, other: new Float32Array(3) });
      if (t !== 40) continue;
      const dict = await optimizer.stateDict();
      optimizer = await adam(await readAll(optimizer, params), options);
      await optimizer.loadStateDict(dict);
    }
    // A GPU may flush subnormal numbers itself, or stop at the smallest normal number.
    if (!('device' in backend)) expect(await state()).toBe(2 ** -149);
    optimizer.step(zeros);
    const flushed = await state();
    expect(flushed === 0 || ('device' in backend && flushed >= 2 ** -126 && flushed < 2 ** -124)).toBe(true);
  });

  test('steps an empty tensor and one of one element', async () => {
    const optimizer = await adamw({ empty: new Float32Array(0), number: Float32Array.of(2) }, { lr: 1, ...backend });
    optimizer.step({ empty: new Float32Array(0), number: Float32Array.of(-3) });
    expect(await optimizer.read('empty')).toEqual(new Float32Array(0));
    expect((await optimizer.read('number'))[0]).toBeCloseTo(2.98, 5);
    expect(optimizer.stepOf('empty')).toBe(1);
  });

  describe('state', () => {
    const half = async (optimizer: Awaited<ReturnType<typeof adam>>, from: number, to: number): Promise<void> => {
      for (let t = from; t < to; t++) optimizer.step(tensors(lengths, 10 + t));
    };

    test.each(backends)('resumed on %s equals an uninterrupted run', async (...[name, other]) => {
      const params = tensors(lengths, 1);
      const options = { amsgrad: true, weightDecay: 0.1, lr: 0.01 };
      const unbroken = await adamw(params, { ...options, ...other });
      await half(unbroken, 0, 10);

      const first = await adamw(params, { ...options, ...backend });
      await half(first, 0, 6);
      const dict = structuredClone(await first.stateDict());
      const second = await adamw(await readAll(first, params), { amsgrad: true, ...other });
      await second.loadStateDict(dict);
      await half(second, 6, 10);
      const [a, b] = [await readAll(second, params), await readAll(unbroken, params)];
      const exact = name !== 'webgpu' && !('device' in backend);
      for (const key in params) {
        const bound = exact ? 0 : 32 * ROUNDING * largest(b[key]);
        expect(largest(a[key].map((x, i) => x - b[key][i])), key).toBeLessThanOrEqual(bound);
      }
      expect(second.groups[0].weightDecay).toBe(0.1);
      expect(second.stepOf('w3')).toBe(10);
    });

    test('of a PyTorch run whose squares overflowed continues with steps of the size of lr', async () => {
      const optimizer = await adam({ w: array(4, 1) }, { lr: 0.01, ...backend });
      optimizer.step({ w: array(4, 2) });
      const dict = await optimizer.stateDict();
      (dict.state[0].exp_avg as Float32Array).set([1e29, -3e38], 1);
      (dict.state[0].exp_avg_sq as Float32Array).set([Infinity, Infinity], 1);
      await optimizer.loadStateDict(dict);
      const before = await optimizer.read('w');
      optimizer.step({ w: array(4, 3) });
      const steps = (await optimizer.read('w')).map((x, i) => (before[i] - x) / 0.01);
      for (const [i, sign] of [1, -1].entries()) {
        expect(steps[1 + i] * sign).toBeGreaterThan(0.01);
        expect(steps[1 + i] * sign).toBeLessThan(2);
      }
    });

    test('has the structure of PyTorch’s state dict', async () => {
      const optimizer = await adamw(
        [{ params: { a: array(2, 1), b: array(3, 2) } }, { params: { c: array(1, 3) }, lr: 0.5 }],
        backend,
      );
      optimizer.step({ b: array(3, 4) });
      const dict = await optimizer.stateDict();
      expect(Object.keys(dict.state)).toEqual(['1']);
      expect(Object.keys(dict.state[1])).toEqual(['step', 'exp_avg', 'exp_avg_sq']);
      expect(dict.param_groups).toEqual([
        {
          lr: 1e-3,
          betas: [0.9, 0.999],
          eps: 1e-8,
          weight_decay: 0.01,
          amsgrad: false,
          maximize: false,
          grad_scale: 1,
          couple: true,
          eps_hat: false,
          nesterov: false,
          eps_root: 0,
          decoupled_weight_decay: true,
          algorithm: 'adamw',
          params: [0, 1],
          param_names: ['a', 'b'],
          frozen: [],
          no_decay: [],
          functions: [],
          completed_steps: 1,
        },
        expect.objectContaining({ lr: 0.5, params: [2], param_names: ['c'] }),
      ]);
    });

    test('and parameters have the values at the call', async () => {
      const params = tensors(lengths, 1);
      const optimizer = await adam(params, backend);
      optimizer.step(tensors(lengths, 2));
      const after = await optimizer.read('w64');
      const late = [optimizer.stateDict(), optimizer.read('w64')];
      optimizer.dispose();
      for (const each of late) await expect(each).rejects.toThrow('This optimizer has been disposed of.');

      const again = await adam(params, backend);
      again.step(tensors(lengths, 2));
      const [dict, read] = [again.stateDict(), again.read('w64')];
      again.step(tensors(lengths, 3));
      expect((await dict).state[0].step).toBe(1);
      expect(difference(await read, after)).toBeUndefined();
      expect(again.stepOf('w1')).toBe(2);
    });

    test('of a tensor without state in the dict becomes zero', async () => {
      const [used, fresh] = [await adam(tensors(lengths, 1), backend), await adam(tensors(lengths, 1), backend)];
      for (let t = 0; t < 3; t++) used.step(tensors(lengths, 4));
      await used.loadStateDict(await fresh.stateDict());
      expect(used.stepOf('w3')).toBe(0);
      const before = await used.read('w64');
      used.step(tensors(lengths, 5));
      const other = await adam({ w64: before }, backend);
      other.step({ w64: tensors(lengths, 5).w64 });
      expect(difference(await used.read('w64'), await other.read('w64'))).toBeUndefined();
    });

    test('is loaded by name, not by position', async () => {
      const { w1, w3, w64, w200 } = tensors(lengths, 1);
      const first = await adam({ w1, w3, w64, w200 }, backend);
      await half(first, 0, 3);
      const second = await adam({ w200, w64, w3, w1 }, backend);
      await second.loadStateDict(await first.stateDict());
      const dict: StateDict = await second.stateDict();
      expect(dict.state[0]).toEqual((await first.stateDict()).state[3]);
    });
  });
});
