// Tests what only WebGPU has: the caller's buffers and encoders.

import { adam, adamw, adamwScheduleFree } from 'twinstep';
import { wgslKernel } from 'twinstep/kernels';
import { describe, expect, test, vi } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { any, buffer, contents, device, expectClose, onCpu } from './support/gpu.js';
import { array, difference } from './support/numbers.js';
import { readAll, same } from './support/tensors.js';

describe('the caller’s buffers', () => {
  test.each([1, 2, 3, 4, 5, 63, 64, 65, 67, 128, 1001, 4099])(
    'of %i elements are stepped in place, with gradients in buffers, arrays and parts of buffers',
    async (length) => {
      const [w, g1, g2, g3] = [1, 2, 3, 4].map((seed) => array(length, seed));
      const mine = buffer(w);
      const optimizer = await adamw({ w: mine }, { device, amsgrad: true });
      expect(optimizer.backend).toEqual({ name: 'webgpu', reason: 'WebGPU, for parameters in GPU memory.' });
      optimizer.step({ w: buffer(g1) });
      optimizer.step({ w: g2 });
      const larger = buffer(new Float32Array([...new Float32Array(64), ...g3, 7, 7, 7, 7]));
      optimizer.step({ w: { buffer: larger, offset: 256 } });
      const expected = await onCpu({ w }, [{ w: g1 }, { w: g2 }, { w: g3 }], { amsgrad: true });
      expectClose(await contents(mine), expected.w, 3);
      expectClose(await optimizer.read('w'), expected.w, 3);
      expect(optimizer.params.w).toEqual({ buffer: mine, offset: 0, size: length * 4 });
    },
  );

  test('may be parts of one buffer, also with gradients, and the rest of it is not changed', async () => {
    const all = array(512, 1);
    const one = buffer(all);
    const part = (offset: number, length: number) => ({ buffer: one, offset: offset * 4, size: length * 4 });
    const optimizer = await adamw({ a: part(0, 5), b: part(64, 64) }, { device });
    optimizer.step({ a: part(192, 5), b: part(256, 64) });
    const slice = (offset: number, length: number) => all.slice(offset, offset + length);
    const grads = { a: slice(192, 5), b: slice(256, 64) };
    const expected = await onCpu({ a: slice(0, 5), b: slice(64, 64) }, [grads]);
    const after = await contents(one);
    expectClose(after.slice(0, 5), expected.a, 1);
    expectClose(after.slice(64, 128), expected.b, 1);
    expect(difference(after.slice(5, 64), slice(5, 59))).toBeUndefined();
    expect(difference(after.slice(128), slice(128, 384))).toBeUndefined();
  });

  test('have their own step counts if gradients are missing', async () => {
    const params = { a: array(70, 1), b: array(70, 2) };
    const optimizer = await adamw({ a: buffer(params.a), b: buffer(params.b) }, { device });
    const grads = [{ a: array(70, 3), b: array(70, 4) }, { b: array(70, 5) }, { a: array(70, 6), b: array(70, 7) }];
    for (const each of grads) {
      optimizer.step(Object.fromEntries(Object.entries(each).map(([name, values]) => [name, buffer(values)])));
    }
    const expected = await onCpu(params, any(grads));
    expectClose(await optimizer.read('a'), expected.a, 3);
    expectClose(await optimizer.read('b'), expected.b, 3);
    expect([optimizer.stepOf('a'), optimizer.stepOf('b')]).toEqual([2, 3]);
  });

  test('may have gradients of some tensors, while those of others are uploaded', async () => {
    const params: Record<string, Float32Array> = { a: array(70, 1), b: array(9, 2), c: array(64, 3), d: array(5, 4) };
    const optimizer = await adamw(params, { device, backend: 'webgpu' });
    const grads = { a: array(70, 5), b: array(9, 6), c: array(64, 7), d: array(5, 8) };
    optimizer.step({ ...grads, b: buffer(grads.b) });
    optimizer.step({ ...grads, a: buffer(grads.a), c: buffer(grads.c) });
    const expected = await onCpu(params, [grads, grads]);
    for (const name of Object.keys(params)) expectClose(await optimizer.read(name), expected[name], 2);
  });

  test('are not destroyed by dispose()', async () => {
    const mine = buffer(array(8, 1));
    const optimizer = await adam({ w: mine }, { device });
    optimizer.dispose();
    expect(difference(await contents(mine), array(8, 1))).toBeUndefined();
  });

  test('load and save the same state dicts as the CPU', async () => {
    const optimizer = await adam({ w: buffer(array(67, 1)) }, { device });
    optimizer.step({ w: array(67, 2) });
    const cpu = await adam({ w: array(67, 1) });
    cpu.step({ w: array(67, 2) });
    const [a, b] = [await optimizer.stateDict(), await cpu.stateDict()];
    expectClose(a.state[0].exp_avg as Float32Array, b.state[0].exp_avg as Float32Array, 1);
    await optimizer.loadStateDict(b);
    expect(await optimizer.stateDict()).toEqual(b);
  });
});

test.each(['clone', 'extra', 'WORKGROUP'])(
  'a property %s of Object.prototype does not become a constant of a pipeline',
  async (name) => {
    const [w, g] = [array(70_001, 1), array(70_001, 2)];
    // A new device: that of the tests has its pipelines already.
    const opened = await openDevice();
    if (typeof opened === 'string') throw new Error(opened);
    const { device: own } = opened;
    const run = async (on: GPUDevice): Promise<Float32Array[]> => {
      const seen: Float32Array[] = [];
      for (const create of [adamw, adamwScheduleFree as unknown as typeof adamw]) {
        const optimizer = await create({ w }, { device: on, backend: 'webgpu' });
        optimizer.step({ w: g });
        optimizer.accumulate({ w: g });
        optimizer.step();
        await optimizer.norms({ w: g });
        optimizer.eval();
        seen.push(await optimizer.read('w'));
        optimizer.dispose();
      }
      return seen;
    };
    const expected = await run(device);
    const plain = Object.getPrototypeOf({}) as object;
    Object.defineProperty(plain, name, { value: () => {}, enumerable: true, configurable: true, writable: true });
    let given: unknown;
    const constants: string[] = [];
    try {
      given = await run(own).catch(String);
      // eslint-disable-next-line guard-for-in -- WebGPU reads a record like this.
      for (const key in wgslKernel('adam').constants) constants.push(key);
    } finally {
      Reflect.deleteProperty(plain, name);
    }
    expect(given).toEqual(expected);
    expect(constants).toEqual(['WORKGROUP']);
    own.destroy();
  },
);

const members =
  'offset size mappedAtCreation label layout timestampWrites minBindingSize hasDynamicOffset sampler texture ' +
  'storageTexture externalTexture entryPoint constants';
test.each(members.split(' '))(
  'a property %s of Object.prototype does not become a part of a descriptor',
  async (name) => {
    const [w, g] = [array(67, 1), array(67, 2)];
    const run = async (on: GPUDevice): Promise<unknown> => {
      const optimizer = await adamwScheduleFree({ w }, { device: on, backend: 'webgpu' });
      optimizer.step({ w: g });
      for (let i = 0; i < 2; i++) optimizer.accumulate({ w: g });
      optimizer.step();
      optimizer.zeroGrad();
      const norms = await optimizer.norms({ w: g });
      const dict = await optimizer.stateDict();
      await optimizer.loadStateDict(dict);
      optimizer.eval();
      const seen = [await optimizer.read('w'), norms.w.param, dict.state[0].z];
      optimizer.dispose();
      return seen;
    };
    const expected = await run(device);
    const opened = await openDevice();
    if (typeof opened === 'string') throw new Error(opened);
    const plain = Object.getPrototypeOf({}) as object;
    Object.defineProperty(plain, name, { value: 3, configurable: true, writable: true });
    let given: unknown;
    try {
      given = await run(opened.device).catch(String);
    } finally {
      Reflect.deleteProperty(plain, name);
    }
    expect(given).toEqual(expected);
    opened.device.destroy();
  },
);

describe('an old record of optimizer.grads', () => {
  const make = () => adam({ a: array(4, 1), b: array(4, 2) }, { backend: 'webgpu', device, lr: 0.1 });

  test.each([
    ['was read before', true],
    ['was never read', false],
  ])('never shows memory of a tensor that was added again: the property %s', async (_, isRead) => {
    const optimizer = await make();
    const { grads } = optimizer;
    const old = isRead ? grads.b : undefined;
    await optimizer.removeParams(['b']);
    await optimizer.addParams(0, { b: array(4, 3) });
    const before = await optimizer.read('b');
    if (old === undefined) {
      expect(() => grads.b).toThrow('The parameter "b" was removed, and `grads` has no memory for it.');
    } else {
      expect(grads.b).toBe(old);
      expect(() => optimizer.step({ b: old })).toThrow('"b" lies in the memory of another tensor or slot.');
      expect(await optimizer.read('b')).toEqual(before);
    }
    // The new record is not affected, and tensors that stayed have the same memory in both.
    const now = optimizer.grads;
    expect(now.b).not.toBe(old);
    expect(now.a).toBe(grads.a);
    const plain = await adam({ b: array(4, 3) }, { backend: 'webgpu', device, lr: 0.1 });
    for (const each of [now.b, plain.grads.b]) {
      device.queue.writeBuffer(each.buffer, each.offset!, array(4, 5) as Float32Array<ArrayBuffer>);
    }
    optimizer.step({ b: now.b });
    plain.step();
    expect(await optimizer.read('b')).toEqual(await plain.read('b'));
  });

  test('allocates nothing after the memory of a tensor was freed, or after dispose()', async () => {
    const optimizer = await (await make()).addParams(0, { c: array(4, 3) });
    const { grads } = optimizer;
    const { a } = grads;
    await optimizer.removeParams(['c']);
    const spy = vi.spyOn(device, 'createBuffer');
    expect(() => grads.c).toThrow('The parameter "c" was removed');
    optimizer.dispose();
    expect(grads.a).toBe(a);
    const other = await make();
    const { grads: unread } = other;
    other.dispose();
    spy.mockClear();
    expect(() => unread.a).toThrow('This optimizer has been disposed of.');
    expect(spy).not.toHaveBeenCalled();
    spy.mockRestore();
  });
});

describe('encode', () => {
  test('records into the caller’s encoder and submits nothing', async () => {
    const w = array(67, 1);
    const optimizer = await adamw({ w: buffer(w) }, { device });
    const grad = buffer(array(67, 2));
    const submit = vi.spyOn(device.queue, 'submit');
    const encoder = device.createCommandEncoder();
    optimizer.encode(encoder, { w: grad });
    const commands = encoder.finish();
    expect(submit).not.toHaveBeenCalled();
    submit.mockRestore();
    expect(difference(await optimizer.read('w'), w)).toBeUndefined();
    device.queue.submit([commands]);
    expectClose(await optimizer.read('w'), (await onCpu({ w }, [{ w: array(67, 2) }])).w, 1);
  });

  test('gives each of 300 steps its own scalars, recorded before the first submit', async () => {
    const w = array(64, 1);
    const optimizer = await adamw({ w: buffer(w) }, { device, schedule: (t) => 1 / (1 + t) });
    const values = [array(64, 2), array(64, 3)];
    const grads = values.map((each) => buffer(each));
    const encoder = device.createCommandEncoder();
    for (let t = 0; t < 300; t++) optimizer.encode(encoder, { w: grads[t % 2] });
    device.queue.submit([encoder.finish()]);
    const steps = Array.from({ length: 300 }, (_, t) => ({ w: values[t % 2] }));
    const expected = await onCpu({ w }, steps, { schedule: (t: number) => 1 / (1 + t) });
    expectClose(await optimizer.read('w'), expected.w, 300);
  });

  test('takes gradients in optimizer.grads, alternating with step()', async () => {
    const w = array(67, 1);
    const optimizer = await adamw({ w }, { device, backend: 'webgpu' });
    const { buffer: own, offset = 0 } = optimizer.grads.w;
    for (let t = 0; t < 4; t++) {
      device.queue.writeBuffer(own, offset, array(67, 2 + t));
      if (t % 2 === 0) optimizer.step();
      else {
        const encoder = device.createCommandEncoder();
        optimizer.encode(encoder);
        device.queue.submit([encoder.finish()]);
      }
    }
    const expected = await onCpu(
      { w },
      [2, 3, 4, 5].map((seed) => ({ w: array(67, seed) })),
    );
    expectClose(await optimizer.read('w'), expected.w, 4);
  });

  test('refuses to upload', async () => {
    const optimizer = await adamw({ w: buffer(array(4, 1)) }, { device });
    const encoder = device.createCommandEncoder();
    expect(() => optimizer.encode(encoder, any({ w: array(4, 2) }))).toThrow(
      'encode() cannot upload: the gradient of "w" is a Float32Array, not a GPUBuffer.',
    );
    expect(optimizer.stepOf('w')).toBe(0);
  });
});

describe('gradients that overlap', () => {
  const [n, m] = [64, 70];
  const make = async () => {
    const [a, b] = [array(n, 1), array(m, 2)];
    const optimizer = await adamw({ a: buffer(a), b: buffer(b), c: buffer(array(n, 3)) }, { device });
    return { optimizer, all: buffer(array(512, 4)) };
  };
  /** All methods that take gradients. */
  const ways: Record<string, (optimizer: Awaited<ReturnType<typeof make>>['optimizer'], grads: never) => unknown> = {
    step: (optimizer, grads) => optimizer.step(grads),
    encode(optimizer, grads) {
      const encoder = device.createCommandEncoder();
      optimizer.encode(encoder, grads);
      device.queue.submit([encoder.finish()]);
    },
    accumulate: (optimizer, grads) => optimizer.accumulate(grads),
    norms: (optimizer, grads) => optimizer.norms(grads),
  };
  const overlapping: [string, (all: GPUBuffer) => unknown, string][] = [
    [
      'one buffer for two tensors',
      (all) => ({ a: all, b: all }),
      '"a" and "b" overlap, got bytes 0 to 256 and 0 to 280',
    ],
    [
      'one buffer for two tensors of the same length',
      (all) => ({ a: all, c: all }),
      '"a" and "c" overlap, got bytes 0 to 256 and 0 to 256',
    ],
    [
      'a buffer and a part of it for two tensors of the same length',
      (all) => ({ a: all, c: { buffer: all, offset: 0, size: n * 4 } }),
      '"a" and "c" overlap, got bytes 0 to 256 and 0 to 256',
    ],
    [
      'the rest of a buffer for two tensors of the same length',
      (all) => ({ a: { buffer: all, offset: 256 }, c: { buffer: all, offset: 256 } }),
      '"a" and "c" overlap, got bytes 256 to 512 and 256 to 512',
    ],
    [
      'a part that reaches into the next one',
      (all) => ({ a: { buffer: all, offset: 256 }, b: { buffer: all, offset: 0, size: m * 4 } }),
      '"b" and "a" overlap, got bytes 0 to 280 and 256 to 512',
    ],
    [
      'a part within another',
      (all) => ({ b: { buffer: all, size: m * 4 }, a: { buffer: all, size: n * 4 } }),
      '"a" and "b" overlap, got bytes 0 to 256 and 0 to 280',
    ],
    [
      'a third part that overlaps the first of two',
      (all) => ({ b: all, a: { buffer: all, offset: 512, size: n * 4 }, c: { buffer: all, offset: 256, size: n * 4 } }),
      '"b" and "c" overlap, got bytes 0 to 280 and 256 to 512',
    ],
  ];
  describe.each(Object.keys(ways))('%s', (way) => {
    test.each(overlapping)('refuses %s', async (...[, grads, message]) => {
      const { optimizer, all } = await make();
      const call = async (given: unknown): Promise<unknown> => ways[way](optimizer, any(given));
      const separate = {
        a: { buffer: all, size: n * 4 },
        b: { buffer: all, offset: 512, size: m * 4 },
        c: { buffer: all, offset: 256 },
      };
      // As the first gradients, and after valid ones.
      for (const first of [{}, separate]) {
        await call(first);
        const dict = way === 'accumulate' ? undefined : await optimizer.stateDict();
        const params = await readAll(optimizer, { a: 0, b: 0, c: 0 });
        await expect(call(grads(all))).rejects.toThrow(`The gradients of ${message} of one GPUBuffer`);
        same(await readAll(optimizer, { a: 0, b: 0, c: 0 }), params);
        if (dict !== undefined) {
          expect(await optimizer.stateDict()).toEqual(dict);
          continue;
        }
        // With accumulated batches there is no state dict; its error has the number of batches.
        const batches = first === separate ? 2 : 1;
        await expect(optimizer.stateDict()).rejects.toThrow(`There are accumulated gradients (batches: ${batches})`);
      }
    });

    test('accepts tied and adjacent parts, and one buffer in separate calls', async () => {
      const { optimizer, all } = await make();
      const call = async (given: unknown): Promise<unknown> => ways[way](optimizer, any(given));
      const tied = { buffer: all, offset: 256, size: n * 4 };
      await call({ a: all, b: buffer(array(m, 5)) });
      await call({ a: tied, c: { ...tied } });
      await call({ a: all, b: { buffer: all, offset: 256 } });
      const whole = buffer(array(n, 6));
      await call({ a: whole, c: whole });
      // In separate calls tensors may use the same buffer.
      await call({ a: all });
      await call({ b: all });
    });
  });

  test('ignores gradients of frozen tensors', async () => {
    const { optimizer, all } = await make();
    optimizer.freeze('b');
    optimizer.step({ a: all, b: all });
    optimizer.unfreeze('b');
    expect(() => optimizer.step({ a: all, b: all })).toThrow('overlap');
    expect([optimizer.stepOf('a'), optimizer.stepOf('b')]).toEqual([1, 0]);
  });

  test('keeps no gradient buffer alive', async () => {
    const { optimizer } = await make();
    const ref = await (async () => {
      const grads = { a: buffer(array(n, 5)) };
      optimizer.step(grads);
      await optimizer.read('a');
      return new WeakRef(grads.a);
    })();
    await vi.waitFor(() => {
      globalThis.gc!();
      expect(ref.deref() === undefined).toBe(true);
    });
  });
});
