// Tests what is recorded into the caller's encoder besides steps: changes of mode, and averages; and that a state dict is
// never of two moments while recorded calls were not submitted.

import { adamw, adamwScheduleFree, ema, lookahead, radamScheduleFree, sgdScheduleFree, type Optimizer } from 'twinstep';
import { checkpointStream, loadCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { describe, expect, test, vi } from 'vitest';
import { openDevice, openNullDevice } from '../tools/dawn.js';
import { any, buffer, contents, COPY_DST, COPY_SRC, device, expectClose, STORAGE } from './support/gpu.js';
import { array, difference } from './support/numbers.js';
import { readAll, same } from './support/tensors.js';

const lengths = { a: 64, b: 67, c: 5 };
const values = (seed: number) => ({ a: array(64, seed), b: array(67, seed + 1), c: array(5, seed + 2) });
const buffers = (seed: number) => {
  const { a, b, c } = values(seed);
  return { a: buffer(a), b: buffer(b), c: buffer(c) };
};
const destinations = (usage = STORAGE | COPY_SRC | COPY_DST) => {
  const make = (length: number) => device.createBuffer({ size: 4 * length, usage });
  return { a: make(lengths.a), b: make(lengths.b), c: make(lengths.c) };
};
const contentsOf = async (given: Record<string, GPUBuffer>) =>
  Object.fromEntries(
    await Promise.all(Object.entries(given).map(async ([name, each]) => [name, await contents(each)] as const)),
  );

/** Records with `record`, and submits at once. */
function submitted(record: (encoder: GPUCommandEncoder) => void): void {
  const encoder = device.createCommandEncoder();
  record(encoder);
  device.queue.submit([encoder.finish()]);
}

const algorithms = { adamwScheduleFree, radamScheduleFree, sgdScheduleFree };

describe.each(Object.entries(algorithms))('%s', (_, create) => {
  const groups = (seed: number) => {
    const { a, b, c } = values(seed);
    return [{ params: { a, b } }, { params: { c }, lr: 0.3 }];
  };
  const ours = (seed: number) => {
    const { a, b, c } = buffers(seed);
    return [{ params: { a, b } }, { params: { c }, lr: 0.3 }];
  };

  test.each([
    ['memory of the optimizer', groups],
    ['the caller’s buffers', ours],
  ])('encodeEval() and encodeTrain() give the bits of eval() and train(), in %s', async (__, make) => {
    const options = { device, backend: 'webgpu', lr: 0.1 } as const;
    const [recorded, plain] = await Promise.all([create(any(make(1)), options), create(any(make(1)), options)]);
    for (let t = 0; t < 3; t++) {
      for (const each of [recorded, plain]) each.step(any(values(10 + t)));
      submitted((encoder) => recorded.encodeEval(encoder));
      plain.eval();
      expect(recorded.groups.map(({ trainMode }) => trainMode)).toEqual([false, false]);
      same(await readAll(recorded, lengths), await readAll(plain, lengths));
      submitted((encoder) => recorded.encodeTrain(encoder));
      plain.train();
      same(await readAll(recorded, lengths), await readAll(plain, lengths));
    }
    submitted((encoder) => recorded.encodeEval(encoder, 1));
    plain.eval(1);
    expect(recorded.groups.map(({ trainMode }) => trainMode)).toEqual([true, false]);
    expect(await recorded.stateDict()).toEqual(await plain.stateDict());
    same(await readAll(recorded, lengths), await readAll(plain, lengths));
  });

  test.each([
    ['memory of the optimizer', groups],
    ['the caller’s buffers', ours],
  ])('encodeAverage() writes x in both modes, and changes nothing, from %s', async (__, make) => {
    const optimizer = await create(any(make(1)), { device, backend: 'webgpu', lr: 0.1 });
    const before = destinations();
    submitted((encoder) => optimizer.encodeAverage(encoder, before));
    same(await contentsOf(before), values(1));
    for (let t = 0; t < 8; t++) optimizer.step(any(t === 0 ? { a: array(64, 10) } : values(10 + t)));
    const dict = await optimizer.stateDict();
    const params = await readAll(optimizer, lengths);
    const average = await readAll(optimizer, lengths, true);
    expect(difference(average.b, params.b)).toBeDefined();
    const inTrain = destinations();
    submitted((encoder) => optimizer.encodeAverage(encoder, inTrain));
    for (const [name, x] of Object.entries(await contentsOf(inTrain))) expectClose(x, average[name], 1);
    same(await readAll(optimizer, lengths), params);
    expect(await optimizer.stateDict()).toEqual(dict);
    optimizer.eval(0);
    const mixed = destinations();
    submitted((encoder) => optimizer.encodeAverage(encoder, mixed));
    const x = await readAll(optimizer, { a: 0, b: 0 });
    same(await contentsOf({ a: mixed.a, b: mixed.b }), x);
    expectClose(await contents(mixed.c), average.c, 1);
  });
});

describe('encodeAverage()', () => {
  const make = () => sgdScheduleFree(buffers(1), { device, lr: 0.1 });

  test('a frame that trains, averages and draws from the average is one submit', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const grads = [buffers(10), buffers(20)];
    const [average, drawn] = [destinations(), destinations()];
    const submit = vi.spyOn(device.queue, 'submit');
    for (const each of grads) {
      submitted((encoder) => {
        optimizer.encode(encoder, each);
        optimizer.encodeAverage(encoder, { b: average.b });
        encoder.copyBufferToBuffer(average.b, 0, drawn.b, 0, 4 * lengths.b);
      });
    }
    expect(submit).toHaveBeenCalledTimes(2);
    submit.mockRestore();
    for (const each of grads) plain.step(each);
    const expected = await plain.read('b', { average: true });
    expectClose(await contents(drawn.b), expected, 2);
    same(await readAll(optimizer, lengths), await readAll(plain, lengths));
    expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
  });

  test('creates no objects once the destinations are known, and neither submits nor maps', async () => {
    const optimizer = await make();
    optimizer.step(buffers(10));
    const into = destinations();
    submitted((encoder) => optimizer.encodeAverage(encoder, into));
    const encoder = device.createCommandEncoder();
    const spies = [
      vi.spyOn(device.queue, 'submit'),
      vi.spyOn(device, 'createBuffer'),
      vi.spyOn(device, 'createBindGroup'),
      vi.spyOn(Object.getPrototypeOf(into.a) as GPUBuffer, 'mapAsync'),
    ];
    for (let i = 0; i < 3; i++) optimizer.encodeAverage(encoder, into);
    expect(spies.map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0, 0]);
    for (const spy of spies) spy.mockRestore();
  });

  test('writes a part of a longer buffer, next to others and to the parameters, and keeps the rest', async () => {
    const all = new Float32Array(512).fill(7);
    all.set(array(67, 1));
    const one = buffer(all);
    const part = (at: number, length: number) => ({ buffer: one, offset: 4 * at, size: 4 * length });
    const optimizer = await sgdScheduleFree({ a: part(0, 67), b: buffer(array(64, 2)) }, { device, lr: 0.1 });
    submitted((encoder) => optimizer.encodeAverage(encoder, { a: part(128, 67), b: part(256, 70) }));
    expect(difference((await contents(one)).slice(128, 195), array(67, 1))).toBeUndefined();
    for (const seed of [3, 4]) optimizer.step({ a: array(67, seed), b: array(64, seed) });
    submitted((encoder) => optimizer.encodeAverage(encoder, { a: part(128, 67), b: part(256, 70) }));
    const after = await contents(one);
    expectClose(after.slice(128, 195), await optimizer.read('a', { average: true }), 1);
    expectClose(after.slice(256, 320), await optimizer.read('b', { average: true }), 1);
    expect(difference(after.slice(0, 67), await optimizer.read('a'))).toBeUndefined();
    for (const [from, to] of [
      [67, 128],
      [195, 256],
      [320, 512],
    ]) {
      // prettier-ignore
      expect(after.slice(from, to).every((x) => x === 7)).toBe(true);
    }
  });

  test('takes an empty tensor, and one without gradients so far', async () => {
    const optimizer = await sgdScheduleFree(
      { a: new Float32Array(0), b: array(67, 2) },
      { device, backend: 'webgpu', lr: 0.1 },
    );
    optimizer.step({ a: new Float32Array(0) });
    // z, which was a copy of the parameter, is not read before the first step.
    device.queue.writeBuffer(optimizer.params.b.buffer, optimizer.params.b.offset ?? 0, array(67, 3));
    const { b } = destinations();
    submitted((encoder) => optimizer.encodeAverage(encoder, { a: b, b: { buffer: b } }));
    expect(difference(await contents(b), array(67, 3))).toBeUndefined();
  });

  describe('refuses, before it records anything:', () => {
    const whole = (usage: number, length = lengths.a) => device.createBuffer({ size: 4 * length, usage });
    const good = STORAGE | COPY_DST;
    const twice = whole(good, 256);
    const mapped = device.createBuffer({ size: 256, usage: good, mappedAtCreation: true });
    test.each<[string, unknown, string]>([
      ['no record', 3, 'Expected the destinations to be a record by name, got 3.'],
      ['an unknown name', { d: whole(good) }, 'There is no parameter "d"; there are "a", "b", "c".'],
      [
        'an array',
        { a: array(64, 1) },
        'Expected the destination of "a" to be a GPUBuffer or a GPUBufferBinding, got Float32Array(64).',
      ],
      [
        'undefined',
        { a: undefined },
        'Expected the destination of "a" to be a GPUBuffer or a GPUBufferBinding, got undefined.',
      ],
      ['a short buffer', { a: whole(good, 63) }, 'Expected 64 values in the destination of "a", got 63.'],
      [
        'another offset',
        { a: { buffer: twice, offset: 128 } },
        'Expected the offset of destination "a" to be a multiple of 256 bytes, got 128.',
      ],
      [
        'a part outside',
        { a: { buffer: twice, offset: 1024, size: 256 } },
        'Expected destination "a" to lie inside its GPUBuffer of 1024 bytes, got bytes 1024 to 1280.',
      ],
      [
        'no STORAGE usage',
        { a: whole(COPY_DST) },
        'Expected the GPUBuffer of destination "a" to have STORAGE usage, got usage 8.',
      ],
      [
        'no COPY_DST usage',
        { a: whole(STORAGE) },
        'Writing the average of "a" needs COPY_DST usage of its GPUBuffer, got usage 128.',
      ],
      ['a mapped buffer', { a: mapped }, 'Expected the GPUBuffer of destination "a" to be unmapped, got "mapped".'],
      [
        'two destinations that overlap',
        { a: { buffer: twice, offset: 256 }, b: { buffer: twice, offset: 256 } },
        'The destinations of "a" and "b" overlap.',
      ],
    ])('%s', async (_, given, message) => {
      await expectRefused(await make(), given, message);
    });

    test('memory of the optimizer, and parameters', async () => {
      const optimizer = await make();
      const own = 'Expected the destination of "a" in a buffer of yours, got memory of the optimizer.';
      for (const memory of [optimizer.grads.a, optimizer.slots('b').z]) {
        await expectRefused(optimizer, { a: memory }, own);
      }
      const { a, b } = optimizer.params;
      await expectRefused(optimizer, { a }, 'The destination of "a" overlaps the parameter "a".');
      await expectRefused(optimizer, { a: b }, 'The destination of "a" overlaps the parameter "b".');
    });

    test('an algorithm without an average, and what is no encoder', async () => {
      const plain = await adamw(buffers(1), { device });
      await expectRefused(plain, destinations(), 'adamw keeps no average of "c".');
      const optimizer = await make();
      for (const call of ['encodeAverage', 'encodeTrain', 'encodeEval'] as const) {
        expect(() => optimizer[call](any({}), any({}))).toThrow(
          'Expected the encoder to be a GPUCommandEncoder, got an Object.',
        );
        expect(() => optimizer[call](any(undefined), any({}))).toThrow(TypeError);
      }
    });

    async function expectRefused(
      optimizer: Optimizer<GPUBufferBinding, any, any>,
      given: unknown,
      message: string,
    ): Promise<void> {
      const encoder = device.createCommandEncoder();
      const spies = (['copyBufferToBuffer', 'clearBuffer', 'beginComputePass'] as const).map((method) =>
        vi.spyOn(encoder, method),
      );
      // The bad one comes last: all are checked first.
      const all = typeof given === 'object' ? { c: whole(good), ...given } : given;
      expect(() => optimizer.encodeAverage(encoder, any(all))).toThrow(message);
      for (const spy of spies) expect(spy).not.toHaveBeenCalled();
      device.queue.submit([encoder.finish()]);
      await optimizer.read('a');
    }
  });

  test('of another device is refused late', async () => {
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const optimizer = await make();
    optimizer.step(buffers(10));
    const foreign = other.device.createBuffer({ size: 256, usage: STORAGE | COPY_DST });
    optimizer.encodeAverage(device.createCommandEncoder(), { a: foreign });
    await expect(optimizer.read('a')).rejects.toThrow('The GPU device refused an average');
    other.device.destroy();
  });
});

test('encodeEval() is refused in an unfinished step, and changes nothing', async () => {
  const optimizer = await sgdScheduleFree(buffers(1), { device });
  optimizer.step({ a: buffer(array(64, 2)) }, { more: true });
  const encoder = device.createCommandEncoder();
  expect(() => optimizer.encodeEval(encoder)).toThrow('A step is unfinished');
  expect(() => optimizer.encodeTrain(encoder, 3)).toThrow('Expected the group to be an index below 1, got 3.');
  expect(optimizer.groups[0].trainMode).toBe(true);
});

test('an encoder that throws leaves the mode as it was, and the state can be saved', async () => {
  const optimizer = await sgdScheduleFree(buffers(1), { device });
  optimizer.step(buffers(10));
  const failure = new Error('the layer is off');
  const failing = any({
    beginComputePass() {
      throw failure;
    },
  });
  expect(() => optimizer.encodeEval(failing)).toThrow(failure);
  expect(() => optimizer.encode(failing, buffers(20))).toThrow(failure);
  expect(optimizer.groups[0].trainMode).toBe(true);
  expect(optimizer.completedSteps).toBe(1);
  await optimizer.stateDict();
});

describe('a state dict and a checkpoint of recorded calls', () => {
  const make = () => adamwScheduleFree(values(1), { device, backend: 'webgpu', lr: 0.1 });
  type Made = Awaited<ReturnType<typeof make>>;
  const pending = (calls: number) =>
    `The encoders of recorded calls were not submitted (calls: ${calls}), but the counters include them: ` +
    'submit them first; if one was dropped, load a state dict of all tensors.';
  const late =
    'Commands were submitted that were recorded by a call that threw, or before a state dict was loaded: ' +
    'load a state dict of all tensors.';
  const recordedBy = (record: (encoder: GPUCommandEncoder) => void): GPUCommandBuffer => {
    const encoder = device.createCommandEncoder();
    record(encoder);
    return encoder.finish();
  };
  const saves: [string, (optimizer: Made) => Promise<unknown>][] = [
    ['stateDict()', (optimizer) => optimizer.stateDict()],
    ['saveCheckpoint()', (optimizer) => saveCheckpoint(optimizer)],
    ['checkpointStream()', (optimizer) => new Response(any(checkpointStream(optimizer))).arrayBuffer()],
    ['a slot of lazyStateDict()', (optimizer) => optimizer.lazyStateDict().arrays[0].read()],
    ['a parameter of lazyStateDict()', (optimizer) => optimizer.lazyStateDict().params[0].read()],
  ];

  test.each(saves)('%s rejects until they are submitted', async (_, save) => {
    const optimizer = await make();
    optimizer.step(values(10));
    await save(optimizer);
    const first = recordedBy((encoder) => {
      optimizer.encode(encoder, buffers(20));
      optimizer.encodeEval(encoder);
    });
    await expect(save(optimizer)).rejects.toThrow(pending(2));
    const second = recordedBy((encoder) => optimizer.encodeTrain(encoder));
    await expect(save(optimizer)).rejects.toThrow(pending(3));
    device.queue.submit([first]);
    await expect(save(optimizer)).rejects.toThrow(pending(1));
    device.queue.submit([second]);
    await save(optimizer);
    // Other reads need no submit.
    recordedBy((encoder) => optimizer.encode(encoder, buffers(30)));
    await optimizer.read('a');
    await optimizer.read('a', { average: true });
    await optimizer.norms();
    await expect(save(optimizer)).rejects.toThrow(pending(1));
  });

  test('has counters and arrays of one moment after the submit', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const grads = values(10);
    optimizer.step(grads);
    const commands = recordedBy((encoder) => optimizer.encode(encoder, buffers(20)));
    const early = optimizer.lazyStateDict();
    device.queue.submit([commands]);
    const dict = optimizer.stateDict();
    optimizer.encode(device.createCommandEncoder(), buffers(30)); // does not concern the dict before
    for (const each of [grads, values(20)]) plain.step(each);
    const expected = await plain.stateDict();
    expect(await dict).toEqual(expected);
    expect(early.dict.param_groups).toEqual(expected.param_groups);
  });

  test('may be described before the submit, and read after it', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const commands = recordedBy((encoder) => optimizer.encode(encoder, buffers(20)));
    const { dict, arrays } = optimizer.lazyStateDict();
    device.queue.submit([commands]);
    for (const { state, slot, read } of arrays) state[slot] = await read();
    plain.step(values(20));
    expect(dict).toEqual(await plain.stateDict());
  });

  test('counts encoders in any order of submits', async () => {
    const optimizer = await make();
    const commands = [20, 30, 40].map((seed) => recordedBy((encoder) => optimizer.encode(encoder, buffers(seed))));
    for (const [i, left] of [
      [2, 2],
      [0, 1],
      [1, 0],
    ] as const) {
      // prettier-ignore
      device.queue.submit([commands[i]]);
      if (left > 0) await expect(optimizer.stateDict()).rejects.toThrow(pending(left));
    }
    expect((await optimizer.stateDict()).param_groups[0].completed_steps).toBe(3);
  });

  test('a dropped encoder makes saves reject until a state dict of all tensors is loaded', async () => {
    const [optimizer, plain] = await Promise.all([make(), make()]);
    const grads = values(10);
    for (const each of [optimizer, plain]) each.step(grads);
    const bytes = await saveCheckpoint(optimizer);
    optimizer.encode(device.createCommandEncoder(), buffers(20));
    optimizer.step(grads);
    await expect(optimizer.stateDict()).rejects.toThrow(pending(1));
    const { a } = values(1);
    const part = await adamwScheduleFree({ a }, { device, backend: 'webgpu', lr: 0.1 });
    await loadCheckpoint(optimizer, await saveCheckpoint(part), { strict: false });
    await expect(optimizer.stateDict()).rejects.toThrow(pending(1));
    await loadCheckpoint(optimizer, bytes);
    expect(await saveCheckpoint(optimizer)).toEqual(bytes);
    for (const each of [optimizer, plain]) submitted((encoder) => each.encode(encoder, buffers(20)));
    expect(await optimizer.stateDict()).toEqual(await plain.stateDict());
    same(await readAll(optimizer, lengths), await readAll(plain, lengths));
  });

  test('an encoder that was recorded before a state dict was loaded is noticed, whatever else is pending', async () => {
    const optimizer = await make();
    optimizer.step(values(10));
    const dict = await optimizer.stateDict();
    const before = recordedBy((encoder) => optimizer.encode(encoder, buffers(20)));
    await optimizer.loadStateDict(dict);
    await optimizer.stateDict();
    const after = recordedBy((encoder) => optimizer.encode(encoder, buffers(30)));
    device.queue.submit([before]);
    await expect(optimizer.stateDict()).rejects.toThrow(pending(1));
    device.queue.submit([after]);
    await expect(optimizer.stateDict()).rejects.toThrow(late);
    await optimizer.loadStateDict(dict);
    await optimizer.stateDict();
  });

  test('a call that changes no tensor is not counted', async () => {
    const optimizer = await make();
    optimizer.encodeEval(device.createCommandEncoder());
    optimizer.encodeTrain(device.createCommandEncoder());
    optimizer.encode(device.createCommandEncoder(), {});
    const { state, param_groups: groups } = await optimizer.stateDict();
    expect([Object.keys(state), groups[0].completed_steps]).toEqual([[], 1]);
  });

  test('encodeAverage() is not counted', async () => {
    const optimizer = await make();
    optimizer.step(values(10));
    optimizer.encodeAverage(device.createCommandEncoder(), destinations());
    await optimizer.stateDict();
  });

  test('Lookahead and averages say so, too', async () => {
    const optimizer = await adamw(buffers(1), { device });
    const [ahead, average] = await Promise.all([lookahead(optimizer, { k: 2 }), ema(optimizer)]);
    ahead.step(buffers(10));
    await ahead.stateDict();
    const commands = recordedBy((encoder) => {
      ahead.encode(encoder, buffers(20));
      average.encode(encoder, optimizer.params);
    });
    await expect(ahead.stateDict()).rejects.toThrow(pending(1));
    await expect(ahead.lazyStateDict().arrays.at(-1)!.read()).rejects.toThrow(pending(1));
    await expect(saveCheckpoint(ahead)).rejects.toThrow(pending(1));
    await expect(average.stateDict()).rejects.toThrow(pending(1));
    device.queue.submit([commands]);
    await saveCheckpoint(ahead);
    const dict = await ahead.stateDict();
    await average.stateDict();
    recordedBy((encoder) => ahead.slow.encode(encoder, optimizer.params));
    await expect(ahead.stateDict()).rejects.toThrow(pending(1));
    await ahead.loadStateDict(dict);
    await ahead.stateDict();
  });

  test('a Lookahead whose slow weights throw counts nothing', async () => {
    const ahead = await lookahead(await adamw(buffers(1), { device }), { k: 1 });
    const failure = new Error('the layer is off');
    const encoder = device.createCommandEncoder();
    const copy = vi.spyOn(encoder, 'copyBufferToBuffer').mockImplementation(() => {
      throw failure;
    });
    expect(() => ahead.encode(encoder, buffers(10))).toThrow(failure);
    copy.mockRestore();
    await ahead.stateDict();
    device.queue.submit([encoder.finish()]);
    await expect(ahead.stateDict()).rejects.toThrow(late);
  });
});

test('encode() adds one dispatch to those of step(), which has none for counting, and no submit and no map', async () => {
  const on = await openNullDevice();
  const make = (length: number) => on.createBuffer({ size: 4 * length, usage: STORAGE | COPY_SRC | COPY_DST });
  const optimizer = await adamwScheduleFree({ a: make(64), b: make(64) }, { device: on });
  const grads = { a: make(64), b: make(64) };
  const probe = on.createCommandEncoder();
  const pass = probe.beginComputePass();
  pass.end();
  const counts = (work: () => void): Record<string, number> => {
    const spies = {
      dispatch: vi.spyOn(Object.getPrototypeOf(pass) as GPUComputePassEncoder, 'dispatchWorkgroups'),
      pass: vi.spyOn(Object.getPrototypeOf(probe) as GPUCommandEncoder, 'beginComputePass'),
      submit: vi.spyOn(on.queue, 'submit'),
      map: vi.spyOn(Object.getPrototypeOf(grads.a) as GPUBuffer, 'mapAsync'),
      buffer: vi.spyOn(on, 'createBuffer'),
      bindGroup: vi.spyOn(on, 'createBindGroup'),
    };
    work();
    const counted = Object.entries(spies).map(([name, spy]) => [name, spy.mock.calls.length]);
    for (const spy of Object.values(spies)) spy.mockRestore();
    return Object.fromEntries(counted) as Record<string, number>;
  };
  const nothing = { submit: 0, map: 0, buffer: 0, bindGroup: 0 };
  const encoder = on.createCommandEncoder();
  optimizer.step(grads);
  expect(counts(() => optimizer.step(grads))).toEqual({ ...nothing, dispatch: 2, pass: 1, submit: 1 });
  optimizer.encode(encoder, grads); // makes the buffers of the counts
  expect(counts(() => optimizer.encode(encoder, grads))).toEqual({ ...nothing, dispatch: 3, pass: 1 });
  expect(counts(() => optimizer.step(grads))).toEqual({ ...nothing, dispatch: 2, pass: 1, submit: 1 });
  optimizer.encodeEval(encoder);
  expect(counts(() => optimizer.encodeTrain(encoder))).toEqual({ ...nothing, dispatch: 3, pass: 1 });
  expect(counts(() => optimizer.encodeEval(encoder))).toEqual({ ...nothing, dispatch: 3, pass: 1 });
  on.destroy();
});
