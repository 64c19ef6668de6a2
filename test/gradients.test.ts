// Tests accumulated gradients and norms.

import { adamw, adamwScheduleFree, nadam, type StateDict } from 'twinstep';
import { describe, expect, test } from 'vitest';
import { backends } from './support/backends.js';
import { any, buffer, COPY_DST, device, STORAGE } from './support/gpu.js';
import { array, tensors } from './support/numbers.js';
import { readAll, same, type Tensors } from './support/tensors.js';

const lengths = [1, 3, 64, 250];
const params = (): Tensors => tensors(lengths, 1);
const sum = (...batches: Tensors[]): Tensors =>
  Object.fromEntries(
    Object.keys(batches[0]).map((name) => [
      name,
      batches.map((batch) => batch[name]).reduce((a, b) => a.map((x, i) => x + b[i])),
    ]),
  );
const times = (batch: Tensors, factor: number): Tensors =>
  Object.fromEntries(Object.entries(batch).map(([name, values]) => [name, values.map((x) => x * factor)]));

describe.each(backends)('%s', (...[name, backend]) => {
  describe.each([
    ['adamw', adamw],
    ['adamwScheduleFree', adamwScheduleFree],
  ] as [string, typeof adamw][])('%s', (...[, create]) => {
    test('step() uses the mean of the accumulated gradients', async () => {
      const [accumulated, mean] = await Promise.all([create(params(), backend), create(params(), backend)]);
      for (let t = 0; t < 3; t++) {
        const batches = [2, 3, 4, 5].map((seed) => tensors(lengths, 10 * t + seed));
        for (const batch of batches) accumulated.accumulate(batch);
        accumulated.step();
        mean.step(times(sum(...batches), 1 / 4));
      }
      same(await readAll(accumulated, params()), await readAll(mean, params()));
      expect(accumulated.stepOf('w3')).toBe(3);
    });
  });

  test('the mean is the sum scaled once by 1 / batches, computed in f64', async () => {
    const [accumulated, scaled] = await Promise.all([
      adamw(params(), backend),
      adamw(params(), { ...backend, gradScale: 1 / 3 }),
    ]);
    const batches = [2, 3, 4].map((seed) => tensors(lengths, seed));
    for (const batch of batches) accumulated.accumulate(batch);
    accumulated.step();
    scaled.step(sum(...batches));
    same(await readAll(accumulated, params()), await readAll(scaled, params()));
  });

  test('step(optimizer.grads, options) equals step() with options, also with accumulated gradients', async () => {
    const [own, given] = await Promise.all([adamw(params(), backend), adamw(params(), backend)]);
    const [batch, another] = [tensors(lengths, 2), tensors(lengths, 3)];
    for (const each of [batch, another]) own.accumulate(each);
    const mean = times(sum(batch, another), 1 / 2);
    expect(await own.norms(own.grads)).toEqual(await own.norms());
    own.step(own.grads, { gradScale: 0.25 });
    given.step(mean, { gradScale: 0.25 });
    same(await readAll(own, params()), await readAll(given, params()));
    own.accumulate(another);
    own.step();
    given.step(another);
    same(await readAll(own, params()), await readAll(given, params()));
    const passing = await adamw(params(), { ...backend, keepGrads: false });
    expect(() => passing.step(passing.grads)).toThrow('keeps no gradients (keepGrads: false): pass them to the call.');
  });

  test('a batch may lack gradients, and a tensor without any is not stepped', async () => {
    const [accumulated, mean] = await Promise.all([adamw(params(), backend), adamw(params(), backend)]);
    const { w1, w3 } = tensors(lengths, 2);
    accumulated.accumulate({ w1, w3 });
    accumulated.accumulate({ w1, w64: null });
    accumulated.step();
    mean.step({ w1, w3: w3.map((x) => x / 2) });
    same(await readAll(accumulated, params()), await readAll(mean, params()));
    expect(accumulated.stepOf('w64')).toBe(0);
    // The step clears the sums.
    const grads = tensors(lengths, 3);
    accumulated.accumulate(grads);
    accumulated.step();
    mean.step(grads);
    same(await readAll(accumulated, params()), await readAll(mean, params()));
  });

  test('a sum of finite gradients stays finite; a sum with an infinite one is not', async () => {
    const w = Float32Array.of(1, 1, 1, 1);
    const optimizer = await adamw({ w }, { ...backend, lr: 0.01 });
    const batch = (first: number, fourth: number) => ({ w: Float32Array.of(first, -3e38, 1e30, fourth) });
    optimizer.accumulate(batch(3e38, Infinity));
    for (let i = 0; i < 2; i++) optimizer.accumulate(batch(3e38, -1));
    const { grad } = (await optimizer.norms()).w;
    expect(grad).toBe(Infinity);
    optimizer.step();
    const [a, b, c, d] = await optimizer.read('w');
    for (const x of [a, c]) expect(x).toBeLessThan(1);
    expect(b).toBeGreaterThan(1);
    expect(d).toBeNaN();
  });

  test('zeroGrad() drops accumulated gradients and writes zeros', async () => {
    const [dropped, plain] = await Promise.all([adamw(params(), backend), adamw(params(), backend)]);
    dropped.accumulate(tensors(lengths, 2));
    dropped.zeroGrad();
    for (const { grad } of Object.values(await dropped.norms())) expect(grad).toBe(0);
    for (const each of [dropped, plain]) each.step(tensors(lengths, 3));
    same(await readAll(dropped, params()), await readAll(plain, params()));
  });

  test('a refused accumulate() adds nothing', async () => {
    const optimizer = await adamw(params(), backend);
    const grads = tensors(lengths, 2);
    optimizer.accumulate(grads);
    const own = { w3: optimizer.grads.w3, w1: grads.w1 };
    expect(() => optimizer.accumulate(own)).toThrow(
      'The gradient of "w3" is in optimizer.grads: cannot add it to itself.',
    );
    expect(() => optimizer.accumulate({ w1: grads.w1, w3: grads.w1 })).toThrow('Expected 3 gradient values for "w3"');
    expect(() => optimizer.accumulate({ w1: grads.w1, x: grads.w1 })).toThrow('There is no parameter "x"');
    expect(() => optimizer.accumulate(any(undefined))).toThrow(
      'Expected gradients to be a record by name, got undefined.',
    );
    expect(() => optimizer.step(grads)).toThrow(
      'There are accumulated gradients (batches: 1): step() uses their mean, zeroGrad() drops them.',
    );
    optimizer.step();
    const plain = await adamw(params(), backend);
    plain.step(grads);
    same(await readAll(optimizer, params()), await readAll(plain, params()));
    const passing = await adamw(params(), { ...backend, keepGrads: false });
    expect(() => passing.accumulate(grads)).toThrow(
      'keeps no gradients (keepGrads: false): it cannot accumulate them.',
    );
  });

  test('state dicts cannot be saved or loaded while gradients are accumulated', async () => {
    const optimizer = await adamw(params(), backend);
    const dict = await optimizer.stateDict();
    optimizer.accumulate(tensors(lengths, 2));
    const sentence = 'There are accumulated gradients (batches: 1), which are not part of the state: step() uses';
    await expect(optimizer.stateDict()).rejects.toThrow(sentence);
    await expect(optimizer.loadStateDict(dict)).rejects.toThrow(sentence);
    expect(() => optimizer.lazyStateDict()).toThrow(sentence);
    optimizer.zeroGrad();
    await optimizer.loadStateDict(dict);
  });

  test('the gradScale of a step scales the gradients of all groups in that step only', async () => {
    const groups = () => [
      { params: { a: array(5, 1) } as Tensors, gradScale: 2 },
      { params: { b: array(5, 2) } as Tensors },
    ];
    const [clipped, plain] = await Promise.all([adamw(groups(), backend), adamw(groups(), backend)]);
    const grads = { a: array(5, 3), b: array(5, 4) };
    for (let t = 0; t < 3; t++) {
      clipped.step(grads, { gradScale: t === 1 ? 0.25 : 1 });
      plain.step(t === 1 ? times(grads, 0.25) : grads);
    }
    same(await readAll(clipped, grads), await readAll(plain, grads));
    for (const gradScale of [NaN, -0.5]) {
      const wanted = `a finite number of at least 0 (maximize steps up the gradient), got ${gradScale}.`;
      expect(() => clipped.step(grads, { gradScale })).toThrow(`Expected gradScale to be ${wanted}`);
    }
    expect(() => clipped.step(grads, any({ scale: 1 }))).toThrow(
      'Unknown option "scale"; a step has "more", "gradScale", "maxNorm", "maxValue", "normalize", "ifFinite", "scaler".',
    );
    expect(() => clipped.step(grads, any(null))).toThrow('Expected the options of a step to be a record, got null.');
  });

  describe('callbacks of a call must not call its optimizer:', () => {
    const grads = tensors(lengths, 2);
    type Optimizer = Awaited<ReturnType<typeof adamwScheduleFree>>;
    const calls: Record<string, (optimizer: Optimizer, dict: StateDict) => unknown> = {
      step: (optimizer) => optimizer.step(grads),
      encode: (optimizer) => optimizer.encode(any({ beginComputePass() {} }), any({})),
      accumulate: (optimizer) => optimizer.accumulate(grads),
      zeroGrad: (optimizer) => optimizer.zeroGrad(),
      norms: (optimizer) => optimizer.norms(),
      addParamGroup: (optimizer) => optimizer.addParamGroup(any({ params: tensors([2], 3) })),
      addParams: (optimizer) => optimizer.addParams(0, any({ more: array(2, 3) })),
      removeParams: (optimizer) => optimizer.removeParams(['w1']),
      freeze: (optimizer) => optimizer.freeze(0),
      unfreeze: (optimizer) => optimizer.unfreeze(0),
      train: (optimizer) => optimizer.train(),
      eval: (optimizer) => optimizer.eval(),
      stateDict: (optimizer) => optimizer.stateDict(),
      lazyStateDict: (optimizer) => optimizer.lazyStateDict(),
      loadStateDict: (optimizer, dict) => optimizer.loadStateDict(dict),
      dispose: (optimizer) => optimizer.dispose(),
    };
    /** Two optimizers after a step. Schedule, mask and schedule state of the first call `hooks.act` if it is set. */
    const make = async () => {
      const hooks = { act: undefined as (() => unknown) | undefined };
      const callBack = <Value>(value: Value): Value => (hooks.act?.(), value);
      const schedule = Object.assign(() => callBack(1), {
        stateDict: () => callBack({}),
        loadStateDict: () => callBack(undefined),
      });
      const decayMask = (): boolean => callBack(true);
      const [optimizer, plain] = await Promise.all([
        adamwScheduleFree(params(), { ...backend, schedule, decayMask }),
        adamwScheduleFree(params(), backend),
      ]);
      for (const each of [optimizer, plain]) each.step(grads);
      return { hooks, callBack, optimizer, plain, dict: await optimizer.stateDict() };
    };
    const expectUndisturbed = async ({ hooks, optimizer, plain }: Awaited<ReturnType<typeof make>>): Promise<void> => {
      hooks.act = undefined;
      for (const each of [optimizer, plain]) each.step(grads);
      expect([optimizer.completedSteps, optimizer.groups[0].k, optimizer.stepOf('w1')]).toEqual([2, 2, 2]);
      expect(optimizer.groups[0].trainMode).toBe(true);
      expect(optimizer.groups).toHaveLength(1);
      same(await readAll(optimizer, params()), await readAll(plain, params()));
    };

    test.each(Object.keys(calls))('%s() from the schedule of a step', async (method) => {
      const made = await make();
      const { hooks, optimizer, dict } = made;
      hooks.act = () => calls[method](optimizer, dict);
      const refused = `${method}() was called during another call: a schedule must not call its own optimizer.`;
      expect(() => optimizer.step(grads)).toThrow(refused);
      // The call has no effect even if the schedule catches the error.
      hooks.act = () => {
        expect(() => calls[method](optimizer, dict)).toThrow(refused);
      };
      await expectUndisturbed(made);
    });

    const getter = (property: string, get: () => unknown): never =>
      any(Object.defineProperty({}, property, { get, enumerable: true }));
    const others: Record<string, (made: Awaited<ReturnType<typeof make>>) => unknown> = {
      'a getter of gradients': ({ optimizer, callBack }) => optimizer.step(getter('w1', () => callBack(grads.w1))),
      'a getter of options': ({ optimizer, callBack }) =>
        optimizer.step(
          grads,
          getter('gradScale', () => callBack(1)),
        ),
      'a getter of a batch': ({ optimizer, callBack }) => optimizer.accumulate(getter('w1', () => callBack(grads.w1))),
      'a getter of norms': ({ optimizer, callBack }) => optimizer.norms(getter('w1', () => callBack(grads.w1))),
      'a decay mask': ({ optimizer }) => optimizer.addParams(0, any({ more: array(2, 3) })),
      'a schedule that is saved': ({ optimizer }) => optimizer.stateDict(),
      'a schedule that is loaded': ({ optimizer, dict }) => optimizer.loadStateDict(dict),
      'a getter of a dict': ({ optimizer, dict, callBack }) =>
        optimizer.loadStateDict(getter('state', () => callBack(dict.state))),
    };
    test.each(Object.keys(others))('step() and eval() from %s', async (where) => {
      for (const method of ['step', 'eval']) {
        const made = await make();
        made.hooks.act = () => calls[method](made.optimizer, made.dict);
        await expect((async () => others[where](made))()).rejects.toThrow(`${method}() was called during another call`);
        await expectUndisturbed(made);
      }
    });

    test('but may assign options: a step uses the old value or the new one throughout', async () => {
      const betas: [number, number][] = [
        [0.9, 0.999],
        [0.5, 0.7],
      ];
      const step = async (first: [number, number], then = first): Promise<Tensors> => {
        const weightDecay = (): number => {
          optimizer.groups[0].betas = then;
          return 0.1;
        };
        const optimizer = await nadam(params(), { ...backend, betas: first, weightDecay });
        optimizer.step(grads);
        return readAll(optimizer, params());
      };
      const [assigned, ...whole] = await Promise.all([step(betas[0], betas[1]), step(betas[0]), step(betas[1])]);
      expect(whole).toContainEqual(assigned);
    });

    test('but may read', async () => {
      const made = await make();
      const { hooks, optimizer } = made;
      const before = await optimizer.read('w3');
      let read: Promise<Float32Array> | undefined;
      hooks.act = () => (read = optimizer.read('w3'));
      optimizer.step(grads);
      expect(await read).toEqual(before);
      expect(await optimizer.read('w3')).not.toEqual(before);
    });
  });

  test('refused norms have no effect', async () => {
    const optimizer = await adamw(params(), { ...backend, keepGrads: false });
    const before = await optimizer.norms();
    await expect(optimizer.norms({ w1: array(1, 1), x: array(1, 1) })).rejects.toThrow('There is no parameter "x"');
    expect(await optimizer.norms()).toEqual(before);
  });

  test('steps tensors after an empty one', async () => {
    const make = (keepGrads: boolean) =>
      adamw({ a: array(1, 1), empty: new Float32Array(0), b: array(1, 2) }, { ...backend, keepGrads });
    const [passing, kept] = await Promise.all([make(false), make(true)]);
    for (const each of [passing, kept]) each.step({ a: array(1, 3), empty: new Float32Array(0), b: array(1, 4) });
    same(await readAll(passing, { a: 0, b: 0 }), await readAll(kept, { a: 0, b: 0 }));
  });

  test('accumulate() ignores frozen tensors', async () => {
    const optimizer = await adamw(params(), backend);
    optimizer.freeze('w3');
    optimizer.accumulate(tensors(lengths, 2));
    optimizer.unfreeze('w3');
    optimizer.step();
    expect([optimizer.stepOf('w3'), optimizer.stepOf('w1')]).toEqual([0, 1]);
  });

  const norm = (values: Float32Array): number => Math.hypot(...values);
  const near = (actual: number | undefined, expected: number): void => {
    // A sum of 1e5 squares rounds at most 1e5 times to f64. The GPU sums in f32.
    expect(Math.abs(actual! - expected)).toBeLessThanOrEqual((name === 'webgpu' ? 1e-6 : 1e-11) * expected);
  };

  test('norms() returns the norms of parameters and of the gradients of the next step', async () => {
    const long: Tensors = { ...params(), long: array(100_000, 7) };
    const optimizer = await adamw(long, backend);
    const { w3, w64 } = tensors(lengths, 2);
    const given = await optimizer.norms({ w3, w64: undefined });
    expect(Object.keys(given)).toEqual(Object.keys(long));
    for (const [tensor, values] of Object.entries(long)) near(given[tensor].param, norm(values));
    near(given.w3.grad, norm(w3));
    expect('grad' in given.w64).toBe(false);

    for (let batch = 0; batch < 2; batch++) optimizer.accumulate({ w3, w64 });
    const summed = await optimizer.norms();
    near(summed.w3.grad, norm(w3));
    near(summed.w64.grad, norm(w64));
    expect('grad' in summed.w1).toBe(false);
    optimizer.step();
    expect(optimizer.stepOf('w3')).toBe(1);
  });

  test.each([
    ['large', 3e38],
    ['small', 1e-30],
    ['subnormal', 1e-40],
  ])('norms of %s numbers do not overflow or underflow', async (_, size) => {
    const values = new Float32Array(200).fill(size);
    const optimizer = await adamw({ values }, backend);
    const { param } = (await optimizer.norms()).values;
    near(param, values[0] * Math.sqrt(200));
  });

  test('norms are Infinity or NaN if an element is', async () => {
    const grads = {
      nan: new Float32Array([1, NaN]),
      infinite: new Float32Array([1, -Infinity]),
      zero: new Float32Array(2),
    };
    const optimizer = await adamw(grads, backend);
    const norms = await optimizer.norms(grads);
    expect(Object.values(norms).map(({ grad }) => grad)).toEqual([NaN, Infinity, 0]);
    expect(Object.values(norms).map(({ param }) => param)).toEqual([NaN, Infinity, 0]);
  });

  test('gradNorm() is the norm of clamped gradients, also of a skipped step, until a state dict is loaded', async () => {
    const optimizer = await adamw({ w: Float32Array.of(1, 2) }, backend);
    const none = 'There is no norm yet: no step has had maxNorm or normalize.';
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.step({ w: Float32Array.of(Infinity, -3) }, { ifFinite: true, maxValue: 4, maxNorm: 1 });
    expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([5, 1]);
    optimizer.step({ w: Float32Array.of(Infinity, -3) }, { ifFinite: true, maxNorm: 1 });
    expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([Infinity, 2]);
    optimizer.step({ w: Float32Array.of(NaN, -Infinity) }, { ifFinite: true, maxValue: 4, maxNorm: 1 });
    expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([NaN, 3]);
    await optimizer.loadStateDict(await optimizer.stateDict());
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
    expect(await optimizer.skippedSteps()).toBe(0);
  });

  test('gradNorm() is of the steps before the call, whatever follows before it resolves', async () => {
    const [w, none] = [Float32Array.of(3, 4), 'There is no norm yet'];
    const optimizer = await adamw({ w }, backend);
    optimizer.step({ w }, { ifFinite: true });
    const early = expect(optimizer.gradNorm()).rejects.toThrow(none);
    optimizer.step({ w }, { maxNorm: 1 });
    await early;
    const dict = await optimizer.stateDict();
    const before = optimizer.gradNorm();
    await optimizer.loadStateDict(dict);
    expect(await before).toBe(5);
    await expect(optimizer.gradNorm()).rejects.toThrow(none);
  });

  test.each([{ maxNorm: 1 }, { maxNorm: { perTensor: 1 } }, { normalize: true }])(
    'a gradScale of 0 makes an infinite gradient NaN, which maxValue does not clamp, with %j',
    async (options) => {
      const [a, b] = [Float32Array.of(1, 2), Float32Array.of(3)];
      const optimizer = await adamw([{ params: { a }, gradScale: 0 }, { params: { b } }], backend);
      optimizer.step({ a: Float32Array.of(Infinity, 1), b }, { ...options, maxValue: 2 });
      expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([NaN, 1]);
      optimizer.step({ a, b: Float32Array.of(-Infinity) }, { ...options, maxValue: 2, gradScale: 0 });
      expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([NaN, 2]);
      expect([await optimizer.read('a'), await optimizer.read('b')]).toEqual([a, b]);
      optimizer.step({ a, b: Float32Array.of(-Infinity) }, { ...options, maxValue: 2 });
      expect([await optimizer.gradNorm(), await optimizer.skippedSteps()]).toEqual([2, 2]);
    },
  );

  test('norms() reads the values at the call', async () => {
    const optimizer = await adamw({ w: new Float32Array(5).fill(1) }, { ...backend, lr: 1 });
    const reading = optimizer.norms();
    optimizer.step({ w: new Float32Array(5).fill(1) });
    near((await reading).w.param, Math.sqrt(5));
  });
});

test.each(['wasm', 'reference'] as const)(
  '%s: keepGrads: false refuses a gradient in the memory of another parameter, which may change before it is read',
  async (backend) => {
    const optimizer = await adamw(params(), { backend, keepGrads: false });
    const { w3, w64 } = optimizer.params;
    const crossed = { w3: new Float32Array(w64.buffer, w64.byteOffset, 3) };
    expect(() => optimizer.step(crossed)).toThrow('The gradient of "w3" lies in the memory of another tensor or slot.');
    optimizer.step({ w3 });
    expect(optimizer.stepOf('w3')).toBe(1);
  },
);

test('accumulate() and norms() take gradients in the caller’s buffers', async () => {
  const optimizer = await adamw(params(), { backend: 'webgpu', device });
  const plain = await adamw(params(), { backend: 'webgpu', device });
  const batches = [2, 3].map((seed) => tensors(lengths, seed));
  for (const batch of batches) {
    const buffers = Object.entries(batch).map(([name, values]) => [name, buffer(values, STORAGE | COPY_DST)]);
    optimizer.accumulate(Object.fromEntries(buffers));
  }
  optimizer.step();
  plain.step(times(sum(...batches), 1 / 2));
  same(await readAll(optimizer, params()), await readAll(plain, params()));
  const norms = await optimizer.norms({ w250: buffer(array(250, 3), STORAGE) });
  expect(norms.w250.grad).toBeCloseTo(Math.hypot(...array(250, 3)), 4);
});

test('after an accumulate() that the device refuses, every call throws until a state dict is loaded', async () => {
  const optimizer = await adamw({ w: array(64, 1) }, { backend: 'webgpu', device });
  const plain = await adamw({ w: array(64, 1) }, { backend: 'webgpu', device });
  const dict = await optimizer.stateDict();
  const gone = buffer(array(64, 2));
  gone.destroy();
  optimizer.accumulate({ w: gone });
  await expect(optimizer.read('w')).rejects.toThrow('The GPU device refused a batch of gradients');
  expect(() => optimizer.step()).toThrow('The GPU device refused a batch of gradients');
  await optimizer.loadStateDict(dict);
  optimizer.accumulate({ w: array(64, 3) });
  optimizer.step();
  plain.step({ w: array(64, 3) });
  same(await readAll(optimizer, { w: 0 }), await readAll(plain, { w: 0 }));
});
