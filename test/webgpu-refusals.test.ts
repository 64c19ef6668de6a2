// Tests refusals with WebGPU: errors are sentences, and nothing changes.

import { adam, adamwScheduleFree, ema, lookahead } from 'twinstep';
import { checkpointStream, saveCheckpoint } from 'twinstep/checkpoint';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { COPY_DST, COPY_SRC, STORAGE, any, buffer, device, expectClose } from './support/gpu.js';
import { array, difference } from './support/numbers.js';

describe('refuses', () => {
  const ok = (): GPUBuffer => buffer(array(12, 1));

  test('a parameter without STORAGE usage', async () => {
    const w = device.createBuffer({ size: 48, usage: COPY_DST });
    await expect(adam({ w }, { device })).rejects.toThrow(
      'Expected the GPUBuffer of parameter "w" to have STORAGE usage, got usage 8.',
    );
  });

  test('a parameter whose size is not a multiple of 4, or that exceeds its buffer', async () => {
    const w = device.createBuffer({ size: 49 + 2, usage: STORAGE });
    await expect(adam({ w }, { device })).rejects.toThrow(
      'Expected the size of parameter "w" to be a multiple of 4 bytes, got 51.',
    );
    const part = (offset: number, size: number) => ({ w: { buffer: ok(), offset, size } });
    await expect(adam(part(4, 4), { device })).rejects.toThrow(
      'Expected the offset of parameter "w" to be a multiple of 256 bytes, got 4.',
    );
    await expect(adam(part(0, 52), { device })).rejects.toThrow(
      'Expected parameter "w" to lie inside its GPUBuffer of 48 bytes, got bytes 0 to 52.',
    );
  });

  test('a mapped parameter', async () => {
    const w = device.createBuffer({ size: 48, usage: STORAGE, mappedAtCreation: true });
    await expect(adam({ w }, { device })).rejects.toThrow(
      'Expected the GPUBuffer of parameter "w" to be unmapped, got "mapped".',
    );
  });

  test('overlapping parameters', async () => {
    const w = ok();
    await expect(adam({ w, v: { buffer: w, size: 16 } }, { device })).rejects.toThrow('"w", "v" overlap.');
  });

  test('parameters on the CPU and on the GPU together', async () => {
    await expect(adam(any({ w: ok(), v: array(1, 1) }), { device })).rejects.toThrow(
      'Expected all parameters in one kind of memory, got "w" on the GPU and "v" on the CPU.',
    );
  });

  test('a parameter without its device, or on a CPU backend', async () => {
    await expect(adam({ w: ok() }, any({}))).rejects.toThrow(
      "Expected the GPUDevice of the parameters' buffers as the option device, got undefined.",
    );
    for (const backend of ['wasm', 'reference'] as const) {
      await expect(adam({ w: ok() }, { device, backend })).rejects.toThrow('the parameters are in GPU buffers.');
    }
  });

  test('a parameter of another device', async () => {
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const foreign = buffer(array(12, 1), STORAGE | COPY_SRC, other.device);
    await expect(adam({ v: ok(), w: foreign }, { device })).rejects.toThrow(
      'The device cannot use the GPUBuffer of parameter "w"; does it belong to another device?',
    );
    other.device.destroy();
  });

  const grads: [string, () => unknown, string][] = [
    ['too small', () => buffer(array(11, 1)), 'Expected 12 gradient values for "w", got 11.'],
    [
      'without STORAGE usage',
      () => device.createBuffer({ size: 48, usage: COPY_DST }),
      'Expected the GPUBuffer of gradient "w" to have STORAGE usage, got usage 8.',
    ],
    [
      'mapped',
      () => device.createBuffer({ size: 48, usage: STORAGE, mappedAtCreation: true }),
      'Expected the GPUBuffer of gradient "w" to be unmapped, got "mapped".',
    ],
    ['at an odd offset', () => ({ buffer: buffer(array(99, 1)), offset: 16 }), 'Expected the offset of gradient "w"'],
  ];
  test.each(grads)('a gradient %s', async (...[, grad, message]) => {
    const optimizer = await adam({ w: ok() }, { device });
    expect(() => optimizer.step({ w: any(grad()) })).toThrow(message);
    expect(optimizer.stepOf('w')).toBe(0);
    expect(difference(await optimizer.read('w'), array(12, 1))).toBeUndefined();
  });

  test('a gradient that is the parameter', async () => {
    const w = ok();
    const optimizer = await adam({ w }, { device });
    expect(() => optimizer.step({ w })).toThrow('The gradient of "w" overlaps the parameter itself.');
    const uploaded = await adam({ w: array(12, 1) }, { device, backend: 'webgpu' });
    expect(() => uploaded.step({ w: uploaded.params.w })).toThrow('The gradient of "w" overlaps the parameter itself.');
  });

  test('a gradient that is another parameter, at any offset of its buffer', async () => {
    const shared = device.createBuffer({ size: 2048, usage: STORAGE | COPY_SRC | COPY_DST });
    const at = (offset: number) => ({ buffer: shared, offset, size: 48 });
    const optimizer = await adam({ w: ok(), late: at(1024), early: at(256) }, { device });
    expect(() => optimizer.step({ w: at(1024) })).toThrow('The gradient of "w" overlaps the parameter "late".');
    expect(() => optimizer.step({ late: at(256) })).toThrow('"late" overlaps the parameter "early".');
    expect(() => optimizer.step({ late: at(1536), w: { buffer: shared, offset: 0 } })).not.toThrow();
    await optimizer.addParams(0, { later: at(512) });
    expect(() => optimizer.step({ w: at(512) })).toThrow('"w" overlaps the parameter "later".');
    optimizer.step({ w: at(1536), early: at(768), late: at(0) });
    expect(optimizer.stepOf('w')).toBe(2);
  });

  test('an empty array together with buffers', async () => {
    await expect(adam(any({ w: ok(), e: new Float32Array(0) }), { device })).rejects.toThrow(
      'Expected all parameters in one kind of memory, got "w" on the GPU and "e" on the CPU.',
    );
  });

  describe('later, when the device reports it,', () => {
    let other: GPUDevice;
    beforeAll(async () => {
      const opened = await openDevice();
      if (typeof opened === 'string') throw new Error(opened);
      other = opened.device;
    });
    afterAll(() => other.destroy());

    const foreign = (): GPUBuffer => buffer(array(12, 2), STORAGE, other);
    const refused = 'The GPU device refused a step, and did none of it';

    test('a gradient of another device: nothing changes, and every call throws until a state dict is loaded', async () => {
      const optimizer = await adam({ v: ok(), w: ok() }, { device });
      const start = await optimizer.stateDict();
      optimizer.step({ v: array(12, 2), w: foreign() });
      await expect(optimizer.read('w')).rejects.toThrow(`${refused} (gradients in new buffers: "w")`);
      expect(() => optimizer.step({ v: array(12, 2) })).toThrow(refused);
      await optimizer.loadStateDict(start);
      expect([optimizer.stepOf('v'), optimizer.stepOf('w')]).toEqual([0, 0]);
      expect(difference(await optimizer.read('v'), array(12, 1))).toBeUndefined();
      optimizer.step({ v: array(12, 2), w: array(12, 2) });
      expectClose(await optimizer.read('w'), (await onCpuAdam()).w, 1);
    });

    test('the same bad gradient again', async () => {
      const optimizer = await adam({ w: ok() }, { device });
      const grad = foreign();
      const start = await optimizer.stateDict();
      for (let t = 0; t < 3; t++) {
        optimizer.step({ w: grad });
        await expect(optimizer.read('w')).rejects.toThrow(refused);
        await optimizer.loadStateDict(start);
      }
      expect(optimizer.stepOf('w')).toBe(0);
    });

    test('a destroyed gradient buffer that was used before', async () => {
      const optimizer = await adam({ w: ok() }, { device });
      const grad = buffer(array(12, 2));
      optimizer.step({ w: grad });
      const dict = await optimizer.stateDict();
      grad.destroy();
      optimizer.step({ w: grad });
      await expect(optimizer.read('w')).rejects.toThrow(refused);
      await optimizer.loadStateDict(dict);
      expect(optimizer.stepOf('w')).toBe(1);
      expectClose(await optimizer.read('w'), (await onCpuAdam()).w, 1);
    });

    test('a change of mode with a destroyed parameter buffer', async () => {
      const w = ok();
      const optimizer = await adamwScheduleFree({ w }, { device });
      optimizer.step({ w: array(12, 2) });
      await optimizer.read('w');
      w.destroy();
      optimizer.eval();
      expect(optimizer.groups[0].trainMode).toBe(false);
      await expect(optimizer.stateDict()).rejects.toThrow(refused);
      expect(() => optimizer.train()).toThrow(refused);
    });

    test('a step, in a read that waits for the device’s answer', async () => {
      const optimizer = await adam({ w: ok() }, { device });
      const pop = device.popErrorScope.bind(device);
      const late = vi.spyOn(device, 'popErrorScope').mockImplementation(async () => {
        const error = await pop();
        await new Promise((resolve) => setTimeout(resolve, 100));
        return error;
      });
      optimizer.step({ w: foreign() });
      late.mockRestore();
      expect(optimizer.stepOf('w')).toBe(1);
      await expect(optimizer.read('w')).rejects.toThrow(refused);
      expect(() => optimizer.stepOf('w')).toThrow(refused);
    });

    test('a destroyed parameter buffer', async () => {
      const w = ok();
      const optimizer = await adam({ w }, { device });
      w.destroy();
      await expect(optimizer.read('w')).rejects.toThrow('The GPU device cannot read "w": ');
      await expect(optimizer.read('w')).rejects.toThrow('The GPU device cannot read "w": ');
    });

    test('a step before loadStateDict(), without changing the loaded counts', async () => {
      const optimizer = await adam({ w: ok() }, { device });
      const saved = await adam({ w: array(12, 1) });
      for (let t = 0; t < 5; t++) saved.step({ w: array(12, 2) });
      const dict = await saved.stateDict();
      optimizer.step({ w: foreign() });
      await optimizer.loadStateDict(dict);
      await device.queue.onSubmittedWorkDone();
      await optimizer.read('w');
      expect(optimizer.stepOf('w')).toBe(5);
    });

    test('a gradient of another implementation, but at once', async () => {
      const optimizer = await adam([{ params: { v: ok() } }, { params: { w: ok() } }], { device });
      const fake = { size: 48, usage: STORAGE, mapState: 'unmapped', getMappedRange: () => {} };
      expect(() => optimizer.step({ v: buffer(array(12, 2)), w: any(fake) })).toThrow(TypeError);
      const encoder = device.createCommandEncoder();
      expect(() => optimizer.encode(encoder, { v: buffer(array(12, 2)), w: any(fake) })).toThrow(TypeError);
      device.queue.submit([encoder.finish()]);
      expect([optimizer.stepOf('v'), optimizer.stepOf('w')]).toEqual([0, 0]);
      expect(difference(await optimizer.read('v'), array(12, 1))).toBeUndefined();
    });
  });

  const onCpuAdam = async () => {
    const optimizer = await adam({ w: array(12, 1) });
    optimizer.step({ w: array(12, 2) });
    return optimizer.params;
  };

  test('reading a buffer without COPY_SRC usage', async () => {
    const w = buffer(array(4, 1), STORAGE);
    const optimizer = await adam({ w }, { device });
    await expect(optimizer.read('w')).rejects.toThrow(
      'Reading "w" needs COPY_SRC usage of its GPUBuffer, got usage 136.',
    );
  });
});

describe('after an exception nothing has changed, no error scope is open, and the next call works:', () => {
  const failure = new Error('the layer is off');
  const make = () => adamwScheduleFree({ w: array(70, 1) }, { device, backend: 'webgpu', lr: 0.1 });
  const grads = () => ({ w: buffer(array(70, 2)) });
  /** Replaces some methods of an object. */
  const wrapped = <Wrapped extends object>(target: Wrapped, others: Record<string, () => unknown>): Wrapped =>
    new Proxy(target, {
      get(_, name) {
        if (Object.hasOwn(others, name)) return others[String(name)];
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const thrown = (): never => {
    throw failure;
  };

  /** Takes two steps, and checks that `attempt` before the second changed nothing. */
  async function expectUntouched(attempt: (optimizer: Awaited<ReturnType<typeof make>>) => unknown): Promise<void> {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    for (const each of [optimizer, plain]) each.step(grads());
    const before = await optimizer.stateDict();
    await attempt(optimizer);
    await expect(device.popErrorScope()).rejects.toThrow();
    expect(await optimizer.stateDict()).toEqual(before);
    expect([optimizer.stepOf('w'), optimizer.completedSteps, optimizer.groups[0].trainMode]).toEqual([1, 1, true]);
    for (const each of [optimizer, plain]) each.step(grads());
    expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
    expect(difference(await optimizer.read('w'), await plain.read('w'))).toBeUndefined();
  }

  test.each(['setPipeline', 'setBindGroup', 'dispatchWorkgroups', 'end'])('%s of the caller’s pass', async (method) => {
    await expectUntouched((optimizer) => {
      const encoder = device.createCommandEncoder();
      const beginComputePass = () => wrapped(encoder.beginComputePass(), { [method]: thrown });
      expect(() => optimizer.encode(wrapped(encoder, { beginComputePass }), grads())).toThrow(failure);
    });
  });

  test('beginComputePass of the caller’s encoder throws or returns no pass', async () => {
    for (const [beginComputePass, error] of [
      [thrown, failure],
      [() => undefined, "Expected the encoder's pass to be a GPUComputePassEncoder, got undefined."],
      [() => ({}), "Expected the encoder's pass to be a GPUComputePassEncoder, got an Object."],
    ] as const) {
      await expectUntouched((optimizer) => {
        const encoder = wrapped(device.createCommandEncoder(), { beginComputePass });
        expect(() => optimizer.encode(encoder, grads())).toThrow(error);
      });
    }
  });

  test('end() of every pass throws', async () => {
    await expectUntouched((optimizer) => {
      const encoder = device.createCommandEncoder();
      const end = vi.fn(thrown);
      const beginComputePass = () => wrapped(encoder.beginComputePass(), { end });
      for (let i = 0; i < 3; i++) {
        expect(() => optimizer.encode(wrapped(encoder, { beginComputePass }), grads())).toThrow(failure);
      }
      // Each pass is ended once.
      expect(end).toHaveBeenCalledTimes(3);
    });
  });

  /** Makes two Lookahead optimizers with k = 2, after one step. */
  const makeAhead = async () => {
    const made = await Promise.all(
      [0, 1].map(async () =>
        lookahead(await adam({ w: array(70, 1), v: array(5, 2) }, { device, backend: 'webgpu' }), { k: 2 }),
      ),
    );
    for (const each of made) each.step(ofBoth());
    return made;
  };
  const ofBoth = () => ({ w: buffer(array(70, 3)), v: buffer(array(5, 4)) });
  type Ahead = Awaited<ReturnType<typeof makeAhead>>[0];
  const counts = ({ optimizer, slow }: Ahead) => [optimizer.completedSteps, optimizer.stepOf('w'), slow.completedSteps];
  const submitStep = (ahead: Ahead): void => {
    const encoder = device.createCommandEncoder();
    ahead.encode(encoder, ofBoth());
    device.queue.submit([encoder.finish()]);
  };

  const ofEncoder: [string, number][] = [
    ['beginComputePass', 1],
    ['beginComputePass', 2],
    ['copyBufferToBuffer', 1],
    ['copyBufferToBuffer', 2],
  ];
  test.each(ofEncoder)('%s of the caller’s encoder at call %d, in Lookahead', async (method, nth) => {
    const [ahead, plain] = await makeAhead();
    const before = await ahead.stateDict();
    const encoder = device.createCommandEncoder();
    let count = 0;
    const failing = (...args: never[]): unknown => {
      if (++count === nth) throw failure;
      return (encoder as unknown as Record<string, (...given: never[]) => unknown>)[method](...args);
    };
    expect(() => ahead.encode(wrapped(encoder, { [method]: failing }), ofBoth())).toThrow(failure);
    expect(counts(ahead)).toEqual([1, 1, 0]);
    expect(await ahead.stateDict()).toEqual(before);
    for (const each of [ahead, plain]) for (let t = 0; t < 3; t++) submitStep(each);
    expect(await ahead.stateDict()).toEqual(await plain.stateDict());
    expect(await ahead.optimizer.read('w')).toEqual(await plain.optimizer.read('w'));
  });

  // The first submit is the optimizer's step, the second that of the slow weights, the third the copy.
  test.each([1, 2, 3])('submit of the device at call %d, in Lookahead', async (nth) => {
    const [ahead, plain] = await makeAhead();
    const submit = device.queue.submit.bind(device.queue);
    let count = 0;
    const spy = vi.spyOn(device.queue, 'submit').mockImplementation((...args) => {
      if (++count === nth) throw failure;
      return submit(...args);
    });
    expect(() => ahead.step(ofBoth())).toThrow(failure);
    spy.mockRestore();
    // A completed step counts, and the next call finishes the synchronization.
    const made = nth === 1 ? 1 : 2;
    expect(counts(ahead).slice(0, 2)).toEqual([made, made]);
    for (let t = made; t < 5; t++) ahead.step(ofBoth());
    for (let t = 1; t < 5; t++) plain.step(ofBoth());
    expect(counts(ahead)).toEqual(counts(plain));
    expect(await ahead.stateDict()).toEqual(await plain.stateDict());
    expect(await ahead.optimizer.read('w')).toEqual(await plain.optimizer.read('w'));
  });

  type Made = Awaited<ReturnType<typeof make>>;
  const calls: [string, (optimizer: Made) => unknown][] = [
    ['step', (optimizer) => optimizer.step({ w: array(70, 2) })],
    ['accumulate', (optimizer) => optimizer.accumulate(grads())],
    ['eval', (optimizer) => optimizer.eval()],
    ['zeroGrad', (optimizer) => optimizer.zeroGrad()],
    ['read', (optimizer) => optimizer.read('w')],
    ['norms', (optimizer) => optimizer.norms()],
    ['stateDict', (optimizer) => optimizer.stateDict()],
    ['grads', (optimizer) => optimizer.grads.w],
    ['addParams', (optimizer) => optimizer.addParams(0, { more: array(3, 1) })],
  ];
  const methods: Record<string, (typeof calls)[number][0][]> = {
    createCommandEncoder: ['step', 'accumulate', 'eval', 'zeroGrad', 'read', 'norms', 'stateDict'],
    submit: ['step', 'accumulate', 'eval', 'zeroGrad', 'read', 'norms', 'stateDict'],
    writeBuffer: ['step', 'eval', 'addParams'],
    createBuffer: ['read', 'norms', 'stateDict', 'grads', 'addParams'],
    pushErrorScope: calls.map(([name]) => name),
  };
  const pairs = Object.entries(methods).flatMap(([method, names]) => names.map((name) => [method, name] as const));
  test.each(pairs)('%s of the device, in %s', async (method, name) => {
    const [, call] = calls.find(([each]) => each === name)!;
    await expectUntouched(async (optimizer) => {
      const on: Record<string, () => never> = any(method in device.queue ? device.queue : device);
      const spy = vi.spyOn(on, method).mockImplementation(thrown);
      const outcome = (async () => call(optimizer))();
      await expect(outcome).rejects.toThrow(failure);
      spy.mockRestore();
    });
  });
});

describe('loadStateDict()', () => {
  const destroyed = (): GPUBuffer => {
    const result = buffer(array(12, 3));
    result.destroy();
    return result;
  };
  const saved = async () => {
    const optimizer = await adam({ v: array(12, 1), w: array(12, 1) });
    for (let t = 0; t < 5; t++) optimizer.step({ v: array(12, 2), w: array(12, 2) });
    return { dict: await optimizer.stateDict(), params: { v: array(12, 4), w: array(12, 5) } };
  };
  /** Makes an optimizer, takes a step, and calls `spoil`, which may make the buffer of w unwritable. */
  async function spoiled(spoil: (w: GPUBuffer) => unknown, usage = STORAGE | COPY_SRC) {
    const [v, w] = [buffer(array(12, 1)), buffer(array(12, 1), usage)];
    const optimizer = await adam({ v, w }, { device, lr: 0.5 });
    optimizer.step({ v: array(12, 2), w: array(12, 2) });
    const before = await optimizer.stateDict();
    const values = await optimizer.read('v');
    await spoil(w);
    return { optimizer, before, values };
  }

  test.each<[string, (w: GPUBuffer) => unknown]>([
    ['a destroyed buffer', (w) => w.destroy()],
    ['a buffer that is destroyed during the probe', (w) => void Promise.resolve().then(() => w.destroy())],
  ])('rejects and changes nothing with %s', async (_, spoil) => {
    const { optimizer, before, values } = await spoiled(spoil);
    const { dict, params } = await saved();
    const sentence = 'The GPU device cannot write "w": ';
    await expect(optimizer.loadStateDict(dict, { params })).rejects.toThrow(sentence);
    await expect(optimizer.loadStateDict(dict, { params })).rejects.toThrow(sentence);
    expect(await optimizer.stateDict()).toEqual(before);
    expect(difference(await optimizer.read('v'), values)).toBeUndefined();
    expect([optimizer.stepOf('v'), optimizer.completedSteps, optimizer.groups[0].lr]).toEqual([1, 1, 0.5]);
    // Without values for w, the state can be loaded.
    await optimizer.loadStateDict(dict);
    expect([optimizer.stepOf('v'), optimizer.groups[0].lr]).toEqual([5, 1e-3]);
  });

  test('of Lookahead rejects and changes neither optimizer nor slow weights', async () => {
    const { optimizer, values } = await spoiled(() => undefined);
    const ahead = await lookahead(optimizer, { k: 2 });
    const dict = await ahead.stateDict();
    dict.state[0].slow_param = array(12, 6);
    const slow = await ahead.slow.read('v');
    optimizer.params.w.buffer.destroy();
    const { params } = await saved();
    await expect(ahead.loadStateDict(dict, { params })).rejects.toThrow('The GPU device cannot write "w": ');
    expect(difference(await ahead.slow.read('v'), slow)).toBeUndefined();
    expect(difference(await ahead.optimizer.read('v'), values)).toBeUndefined();
  });

  test('rejects if the optimizer steps meanwhile, and keeps the step', async () => {
    const { optimizer } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    const loading = optimizer.loadStateDict(dict, { params });
    optimizer.step({ v: array(12, 2) });
    await expect(loading).rejects.toThrow('The optimizer changed while its state dict was being loaded.');
    expect([optimizer.stepOf('v'), optimizer.groups[0].lr]).toEqual([2, 0.5]);
  });

  test('rejects if an option is assigned meanwhile, and keeps the assignment', async () => {
    const { optimizer, before } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    for (const options of ['saved', 'current'] as const) {
      const loading = optimizer.loadStateDict(dict, { params, options });
      optimizer.groups[0].lr = 0.25;
      await expect(loading).rejects.toThrow('The optimizer changed while its state dict was being loaded.');
      expect([optimizer.stepOf('v'), optimizer.groups[0].lr]).toEqual([1, 0.25]);
      optimizer.groups[0].lr = 0.5;
    }
    expect(await optimizer.stateDict()).toEqual(before);
    await optimizer.loadStateDict(dict, { params });
    expect(optimizer.groups[0].lr).toBe(1e-3);
  });

  type Sides = Readonly<Record<'optimizer' | 'slow', { freeze(name: string): void; unfreeze(name: string): void }>>;
  test.each(['slow', 'optimizer'] as const)('of Lookahead rejects if its %s changes meanwhile', async (which) => {
    const { optimizer } = await spoiled(() => undefined);
    const ahead = await lookahead(optimizer, { k: 2 });
    const { dict, params } = await saved();
    const other = await lookahead(await adam({ v: array(12, 1), w: array(12, 1) }), { k: 2 });
    await other.optimizer.loadStateDict(dict);
    const [before, values] = [await ahead.stateDict(), await optimizer.read('v')];
    const loading = ahead.loadStateDict(await other.stateDict(), { params });
    (ahead as Sides)[which].freeze('v');
    await expect(loading).rejects.toThrow('The optimizer changed while its state dict was being loaded.');
    (ahead as Sides)[which].unfreeze('v');
    expect(await ahead.stateDict()).toEqual(before);
    expect(difference(await ahead.optimizer.read('v'), values)).toBeUndefined();
    await ahead.loadStateDict(await other.stateDict(), { params });
    expect(optimizer.completedSteps).toBe(5);
  });

  test('loads the dict as it was at the call', async () => {
    const { optimizer } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    const expected = structuredClone({ dict, params });
    const loading = optimizer.loadStateDict(dict, { params });
    (dict.state[0].exp_avg as Float32Array).fill(7);
    params.v.fill(7);
    dict.state[1].step = 7;
    await loading;
    expect(await optimizer.stateDict()).toEqual(expected.dict);
    expect(difference(await optimizer.read('v'), expected.params.v)).toBeUndefined();
  });

  test('rejects if the device refuses the writes, and every call throws until a state dict is loaded', async () => {
    const { optimizer } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    const pop = device.popErrorScope.bind(device);
    const spy = vi.spyOn(device, 'popErrorScope');
    // Two error scopes for the probe, two for the writes.
    for (let i = 0; i < 3; i++) spy.mockImplementationOnce(pop);
    spy.mockImplementationOnce(async () => {
      await pop();
      return { message: 'no memory' } as GPUError;
    });
    const lost = 'The GPU device refused part of a state dict, and the state is now a mixture of old and new';
    await expect(optimizer.loadStateDict(dict, { params })).rejects.toThrow(
      `${lost}: no memory. Load a state dict to go on.`,
    );
    spy.mockRestore();
    for (let i = 0; i < 2; i++) expect(() => optimizer.step({ v: array(12, 2) })).toThrow(lost);
    await expect(optimizer.read('v')).rejects.toThrow(lost);
    await expect(optimizer.loadStateDict(any({}))).rejects.toThrow('Expected the state dict');
    await optimizer.loadStateDict(dict, { params });
    optimizer.step({ v: array(12, 2) });
    expect(optimizer.stepOf('v')).toBe(6);
  });

  test('rejects if the device throws, and after the first write every call throws until a state dict is loaded', async () => {
    const { optimizer, before } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    const write = vi.spyOn(device.queue, 'writeBuffer');
    const failure = new Error('the layer is off');
    const thrown = (): never => {
      throw failure;
    };
    write.mockImplementationOnce(thrown);
    await expect(optimizer.loadStateDict(dict, { params })).rejects.toThrow(failure);
    // Nothing was written before the first error.
    expect(await optimizer.stateDict()).toEqual(before);
    write.mockImplementationOnce(() => undefined).mockImplementationOnce(thrown);
    await expect(optimizer.loadStateDict(dict, { params })).rejects.toThrow(failure);
    write.mockRestore();
    await expect(device.popErrorScope()).rejects.toThrow();
    await expect(optimizer.stateDict()).rejects.toThrow('Part of a state dict was written');
    await optimizer.loadStateDict(dict, { params });
    expect(await optimizer.stateDict()).toEqual(dict);
  });

  test('clears the error of an earlier step', async () => {
    const { optimizer } = await spoiled(() => undefined);
    const { dict, params } = await saved();
    optimizer.step({ v: destroyed() });
    await optimizer.loadStateDict(dict, { params });
    expect(await optimizer.stateDict()).toEqual(dict);
  });
});

describe('removeParams() waits for the results of steps', () => {
  const names = ['a', 'b', 'c'];
  const grad = () => buffer(array(12, 5));
  const destroyed = (): GPUBuffer => {
    const result = grad();
    result.destroy();
    return result;
  };
  const make = () => adam(Object.fromEntries(names.map((name, i) => [name, buffer(array(12, i))])), { device });

  test('and rejects after a refused one', async () => {
    const optimizer = await make();
    optimizer.step({ a: grad() });
    const dict = await optimizer.stateDict();
    optimizer.step({ b: destroyed() });
    await expect(optimizer.removeParams(['a'])).rejects.toThrow('did none of it');
    await optimizer.loadStateDict(dict);
    expect(Object.keys(optimizer.params)).toEqual(names);
    expect([optimizer.completedSteps, optimizer.stepOf('b')]).toEqual([1, 0]);
  });

  test('including steps that are taken meanwhile', async () => {
    const optimizer = await make();
    optimizer.step({ a: grad() });
    const dict = await optimizer.stateDict();
    const removing = optimizer.removeParams(['a']);
    optimizer.step({ a: grad(), b: destroyed() });
    await expect(removing).rejects.toThrow('did none of it');
    await optimizer.loadStateDict(dict);
    await optimizer.removeParams(['a']);
    expect(Object.keys(optimizer.params)).toEqual(['b', 'c']);
    expect(optimizer.completedSteps).toBe(1);
    optimizer.step({ b: grad() });
    const late = optimizer.removeParams(['b']);
    optimizer.step({ b: grad() }, { more: true });
    await expect(late).rejects.toThrow('A step is unfinished');
    optimizer.step({ c: grad() });
    const first = optimizer.removeParams(['b']);
    await expect(optimizer.removeParams(['c'])).rejects.toThrow('Cannot remove all parameters');
    await first;
  });

  test('of Lookahead', async () => {
    const ahead = await lookahead(await make(), { k: 1 });
    ahead.step({ a: grad(), b: grad(), c: grad() });
    const removing = ahead.optimizer.removeParams(['a']);
    ahead.step({ a: grad(), b: grad(), c: grad() });
    await removing;
    ahead.step({ b: grad() });
    expect(Object.keys(ahead.slow.params)).toEqual(['b', 'c']);
    await ahead.optimizer.removeParams(['b']);
    expect(Object.keys((await ahead.stateDict()).state)).toEqual(['0']);
    expect(ahead.optimizer.completedSteps).toBe(3);
  });
});

test('a failed creation destroys the buffers that it made', async () => {
  const [first, second] = [array(12, 1), array(12, 2)];
  const made = vi.spyOn(device, 'createBuffer');
  const write = vi.spyOn(device.queue, 'writeBuffer').mockImplementation((_buffer, _offset, values) => {
    if ((values as Float32Array)[0] === second[0]) throw new TypeError('off');
  });
  const making = adam([{ params: { first } }, { params: { second } }], { device, backend: 'webgpu' });
  await expect(making).rejects.toThrow('off');
  write.mockRestore();
  const buffers = made.mock.results
    .map(({ value }) => value as GPUBuffer)
    .filter(({ label }) => /param|exp/.test(label));
  made.mockRestore();
  expect(buffers.length).toBe(6);
  for (const each of buffers) {
    device.pushErrorScope('validation');
    device.queue.writeBuffer(each, 0, first);
    expect((await device.popErrorScope())?.message).toMatch(/destroyed/);
  }
});

describe('with a lost device', () => {
  const open = async (): Promise<GPUDevice> => {
    const opened = await openDevice();
    if (typeof opened === 'string') throw new Error(opened);
    return opened.device;
  };
  const lost = "The GPU device was lost: device was destroyed, and the optimizer's state with it.";
  const make = (on: GPUDevice) => adamwScheduleFree({ w: array(64, 1) }, { device: on, backend: 'webgpu' });
  type Made = Awaited<ReturnType<typeof make>>;
  const grads = { w: array(64, 2) };

  const promises: [string, (optimizer: Made, dict: never) => Promise<unknown>][] = [
    ['read', (optimizer) => optimizer.read('w')],
    ['read of the average', (optimizer) => optimizer.read('w', { average: true })],
    ['norms', (optimizer) => optimizer.norms()],
    ['stateDict', (optimizer) => optimizer.stateDict()],
    ['a lazy state dict', async (optimizer) => optimizer.lazyStateDict().params[0].read()],
    ['saveCheckpoint', (optimizer) => saveCheckpoint(optimizer)],
    ['checkpointStream', async (optimizer) => new Response(checkpointStream(optimizer)).arrayBuffer()],
    ['stepClosure', (optimizer) => optimizer.stepClosure(async () => grads)],
    ['addParams', (optimizer) => optimizer.addParams(0, { v: array(4, 1) })],
    ['addParamGroup', (optimizer) => optimizer.addParamGroup({ params: { v: array(4, 1) } })],
    ['an average', (optimizer) => ema(optimizer)],
    ['loadStateDict', (optimizer, dict) => optimizer.loadStateDict(dict)],
    ['loadStateDict of values', (optimizer, dict) => optimizer.loadStateDict(dict, { params: { w: array(64, 1) } })],
  ];

  test.each(promises)('%s rejects, pending or later', async (_, call) => {
    const on = await open();
    const optimizer = await make(on);
    optimizer.step(grads);
    const dict = await optimizer.stateDict();
    const pending = call(optimizer, any(dict));
    on.destroy();
    await expect(pending).rejects.toThrow(lost);
    await expect(call(optimizer, any(dict))).rejects.toThrow(lost);
    // The error is permanent.
    await expect(call(optimizer, any(dict))).rejects.toThrow(lost);
    optimizer.dispose();
  });

  const calls: [string, (optimizer: Made, encoder: GPUCommandEncoder) => unknown][] = [
    ['step', (optimizer) => optimizer.step(grads)],
    ['encode', (optimizer, encoder) => optimizer.encode(encoder)],
    ['accumulate', (optimizer) => optimizer.accumulate(grads)],
    ['zeroGrad', (optimizer) => optimizer.zeroGrad()],
    ['train', (optimizer) => optimizer.train()],
    ['eval', (optimizer) => optimizer.eval()],
    ['freeze', (optimizer) => optimizer.freeze('w')],
    ['unfreeze', (optimizer) => optimizer.unfreeze(0)],
    ['lazyStateDict', (optimizer) => optimizer.lazyStateDict()],
  ];

  test.each(calls)('%s throws', async (_, call) => {
    const on = await open();
    const [optimizer, encoder] = [await make(on), on.createCommandEncoder()];
    optimizer.step(grads);
    on.destroy();
    await on.lost;
    for (let i = 0; i < 2; i++) expect(() => call(optimizer, encoder)).toThrow(lost);
    optimizer.dispose();
  });

  test('a step directly after the loss does not throw, but the next call does', async () => {
    const on = await open();
    const optimizer = await make(on);
    optimizer.step(grads);
    await optimizer.read('w');
    on.destroy();
    optimizer.step(grads);
    optimizer.zeroGrad();
    await on.lost;
    await expect(optimizer.read('w')).rejects.toThrow(lost);
    expect(() => optimizer.step(grads)).toThrow(lost);
    await new Promise((resolve) => setTimeout(resolve, 50));
    // Counters can still be read. They include the lost step.
    expect([optimizer.stepOf('w'), optimizer.completedSteps]).toEqual([2, 2]);
    expect([Object.keys(optimizer.params), optimizer.device]).toEqual([['w'], on]);
    expect(() => optimizer.step(grads)).toThrow(lost);
  });

  test('creation rejects, if it was lost before or meanwhile', async () => {
    const on = await open();
    const pending = make(on);
    on.destroy();
    await expect(pending).rejects.toThrow('The GPU device was lost: device was destroyed.');
    await expect(make(on)).rejects.toThrow('The GPU device was lost: device was destroyed.');
  });

  test('without a message, the error gives the reason', async () => {
    for (const [reason, why] of [
      ['destroyed', 'it was destroyed'],
      ['unknown', 'no reason was given'],
    ]) {
      const on = await open();
      Object.defineProperty(on, 'lost', { value: Promise.resolve({ reason, message: '' }) });
      await expect(make(on)).rejects.toThrow(`The GPU device was lost: ${why}.`);
    }
  });

  test('a read waits until the loss is reported', async () => {
    const on = await open();
    let lose: (info: { reason: string; message: string }) => void = () => {};
    Object.defineProperty(on, 'lost', { value: new Promise((resolve) => (lose = resolve)) });
    const optimizer = await make(on);
    vi.spyOn(on.queue, 'onSubmittedWorkDone').mockImplementation(async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      lose({ reason: 'unknown', message: 'The driver crashed.' });
    });
    const read = optimizer.read('w');
    on.destroy();
    await expect(read).rejects.toThrow("The GPU device was lost: The driver crashed, and the optimizer's state");
  });
});
