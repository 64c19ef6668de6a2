// Tests what all algorithms share: common options, steps in parts, added and frozen tensors, the caller's GPU buffers.

import { readFileSync } from 'node:fs';
import * as twinstep from 'twinstep';
import { describe, expect, test } from 'vitest';
import { openDevice } from '../tools/dawn.js';
import { algorithms } from './support/algorithms.js';
import { backends, webgpu, type Options } from './support/backends.js';
import { cases } from './support/golden.js';
import { array, difference, largest, tensors } from './support/numbers.js';
import { map, readAll, same, type Tensors } from './support/tensors.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

const lengths = [1, 3, 64, 130];

describe('every algorithm of the package', () => {
  const others = new Set([
    'debiasedDecay',
    'decayMatricesOnly',
    'ema',
    'enableWideSimd',
    'gradScaler',
    'lookahead',
    'noDecayOnBiasAndNorm',
  ]);
  const exported = Object.entries(twinstep).filter(([name]) => !others.has(name));

  test('has a row in test/support/algorithms.ts', () => {
    for (const [name, create] of algorithms)
      expect(create === exported.find(([each]) => each === name.split(' ')[0])?.[1], name).toBe(true);
    const missing = exported.filter(([, create]) => algorithms.every(([, each]) => each !== create));
    expect(missing.map(([name]) => `${name} is missing in test/support/algorithms.ts`)).toEqual([]);
  });

  test('has a row in docs/options.md and a golden case', () => {
    const page = readFileSync(new URL('../docs/options.md', import.meta.url), 'utf8');
    const [table] = /^\| optimizer +\| its own options[^]*?\n\n/m.exec(page)!;
    const rows = new Set([...table.matchAll(/^\| `(\w+)` /gm)].map(([, name]) => name));
    const golden = new Set<string>(cases.map(({ algorithm }) => algorithm));
    for (const [name] of exported) {
      expect(rows.has(name), `docs/options.md needs a row \`${name}\` in the table of optimizers`).toBe(true);
      expect(golden.has(name), `test/golden/ needs a case of the algorithm ${name}`).toBe(true);
    }
  });
});

describe.each(algorithms)('%s', (...[name, create, own]) => {
  describe.each(backends)('%s', (...[, backend]) => {
    const STEPS = 8;
    const train = async (options: Options, change = (grads: Tensors): Tensors => grads): Promise<Tensors> => {
      const optimizer = await create(tensors(lengths, 1), { ...own, ...options, ...backend });
      for (let t = 0; t < STEPS; t++) optimizer.step(change(tensors(lengths, 10 + t)));
      return readAll(optimizer, tensors(lengths, 1));
    };

    /** Gradients of step t for these tensors. */
    const gradsOf = (like: Tensors, t: number): Tensors => {
      const grads = tensors(lengths, 10 + t);
      return Object.fromEntries(Object.keys(like).map((tensor) => [tensor, grads[tensor]]));
    };

    test('maximize negates, gradScale multiplies gradients, and the decay mask excludes tensors from decay', async () => {
      const plain = await train({});
      same(await train({ maximize: true }, (grads) => map(grads, (x) => -x)), plain);
      same(await train({ gradScale: 2 }, (grads) => map(grads, (x) => x / 2)), plain);
      const decayMask = (tensor: string): boolean => tensor !== 'w64';
      const { w64, ...others } = plain;
      const masked = await train({ decayMask });
      expect(difference(masked.w64, w64)).toBeDefined();
      same({ w64: masked.w64 }, { w64: (await train({ weightDecay: 0 })).w64 });
      same(others, Object.fromEntries(Object.keys(others).map((tensor) => [tensor, masked[tensor]])));
    });

    test('a schedule multiplies lr', async () => {
      const schedule = (completed: number): number => 1 / (1 + completed);
      const optimizer = await create(tensors(lengths, 1), { ...own, ...backend });
      const { lr } = optimizer.groups[0];
      for (let t = 0; t < STEPS; t++) {
        optimizer.groups[0].lr = lr * schedule(t);
        optimizer.step(tensors(lengths, 10 + t));
      }
      same(await train({ schedule }), await readAll(optimizer, tensors(lengths, 1)));
    });

    test('keepGrads: false gives the same steps, with gradients in parts', async () => {
      const optimizer = await create(tensors(lengths, 1), { ...own, ...backend, keepGrads: false });
      for (let t = 0; t < STEPS; t++) {
        const { w64, ...others } = tensors(lengths, 10 + t);
        optimizer.step({ w64 }, { more: true });
        optimizer.step(others);
      }
      same(await readAll(optimizer, tensors(lengths, 1)), await train({}));
      expect(Object.keys(optimizer.grads)).toEqual([]);
      expect(() => optimizer.step()).toThrow('This optimizer keeps no gradients');
    });

    test('gradients passed one at a time, in the order of a backward pass, make one step', async () => {
      const optimizer = await create(tensors(lengths, 1), { ...own, ...backend });
      for (let t = 0; t < STEPS; t++) {
        const grads = Object.entries(tensors(lengths, 10 + t)).toReversed();
        for (const [i, [tensor, grad]] of grads.entries()) {
          optimizer.step({ [tensor]: grad }, { more: i < grads.length - 1 });
        }
      }
      same(await readAll(optimizer, tensors(lengths, 1)), await train({}));
      expect(optimizer.stepOf('w1')).toBe(STEPS);
    });

    test('an added group steps independently of the others', async () => {
      const { w1, w3, ...others } = tensors(lengths, 1);
      const before = { w3, ...others };
      const [grown, separate, added] = await Promise.all([
        create(before, { ...own, ...backend }),
        create(before, { ...own, ...backend }),
        create({ w1 }, { ...own, ...backend }),
      ]);
      const parameter = grown.params.w3;
      for (const optimizer of [grown, separate]) for (let t = 0; t < 3; t++) optimizer.step(gradsOf(before, t));
      await grown.addParamGroup({ params: { w1 } });
      for (let t = 3; t < STEPS; t++) {
        grown.step({ ...gradsOf(before, t), ...gradsOf({ w1 }, t) });
        separate.step(gradsOf(before, t));
        added.step(gradsOf({ w1 }, t));
      }
      same(await readAll(grown, { w1 }), await readAll(added, { w1 }));
      same(await readAll(grown, before), await readAll(separate, before));
      expect(grown.params.w3).toBe(parameter);
      expect(grown.groups[1].params).toEqual(['w1']);
    });

    test('a tensor added to a group belongs to it, also after saving and loading', async () => {
      const { w1, ...others } = tensors(lengths, 1);
      const grown = await create(others, { ...own, ...backend });
      for (let t = 0; t < 3; t++) grown.step(gradsOf(others, t));
      await grown.addParams(0, { w1 });
      grown.step(tensors(lengths, 13));
      const params = await readAll(grown, tensors(lengths, 1));
      const resumed = await create(params, { ...own, ...backend });
      await resumed.loadStateDict(await grown.stateDict());
      for (let t = 4; t < STEPS; t++) for (const each of [grown, resumed]) each.step(tensors(lengths, 10 + t));
      same(await readAll(grown, params), await readAll(resumed, params));
      expect(grown.groups[0].params).toEqual([...Object.keys(others), 'w1']);
    });

    test('frozen tensors do not change, and continue from their state after unfreeze()', async () => {
      const optimizer = await create(tensors(lengths, 1), { ...own, ...backend });
      const separate = await create(tensors(lengths, 1), { ...own, ...backend });
      const step = (t: number): void => optimizer.step(tensors(lengths, 10 + t));
      for (const each of [optimizer, separate]) each.step(tensors(lengths, 10));
      optimizer.freeze('w3');
      expect(optimizer.groups[0].frozen).toEqual(['w3']);
      step(1);
      const { w3, ...others } = tensors(lengths, 11);
      separate.step(others);
      optimizer.unfreeze('w3');
      for (const each of [optimizer, separate]) each.step(tensors(lengths, 12));
      optimizer.freeze(0);
      step(3);
      expect(optimizer.stepOf('w1')).toBe(3);
      same(await readAll(optimizer, tensors(lengths, 1)), await readAll(separate, tensors(lengths, 1)));
      const dict = await optimizer.stateDict();
      expect(dict.param_groups[0].frozen).toEqual(optimizer.groups[0].params);
      await separate.loadStateDict(dict);
      expect(separate.groups[0].frozen).toEqual(optimizer.groups[0].params);
      for (const each of [optimizer, separate]) each.unfreeze(0);
      for (const each of [optimizer, separate]) each.step({ w3 });
      same(await readAll(optimizer, tensors(lengths, 1)), await readAll(separate, tensors(lengths, 1)));
      expect(await optimizer.stateDict()).toEqual(await separate.stateDict());
    });

    test('a resumed run equals an uninterrupted one', async () => {
      const unbroken = await create(tensors(lengths, 1), { ...own, ...backend });
      const late = (t: number): Tensors => (t < 3 ? { w1: array(1, t), w64: array(64, t) } : tensors(lengths, 10 + t));
      for (let t = 0; t < 2; t++) unbroken.step(late(t));
      const params = await readAll(unbroken, tensors(lengths, 1));
      const resumed = await create(params, { ...own, ...backend });
      await resumed.loadStateDict(structuredClone(await unbroken.stateDict()));
      for (let t = 2; t < STEPS; t++) for (const each of [unbroken, resumed]) each.step(late(t));
      same(await readAll(resumed, params), await readAll(unbroken, params));
      expect(await resumed.stateDict()).toEqual(await unbroken.stateDict());
    });
  });

  test('refuses a state dict of any other algorithm', async () => {
    const optimizer = await create(tensors(lengths, 1), own);
    for (const [other, createOther, options] of algorithms) {
      if (other.split(' ')[0] === name.split(' ')[0]) continue;
      const donor = await createOther(tensors(lengths, 1), options);
      const before = await optimizer.stateDict();
      await expect(optimizer.loadStateDict(await donor.stateDict()), other).rejects.toThrow(TypeError);
      expect(await optimizer.stateDict()).toEqual(before);
    }
  });

  test.runIf(webgpu)('gives the results of the CPU in the caller’s buffers, in both modes', async () => {
    const { device, adapter } = webgpu!;
    const buffer = (values: Float32Array, on = device): GPUBuffer => {
      const made = on.createBuffer({ size: values.byteLength, usage: 0x8c });
      on.queue.writeBuffer(made, 0, values as Float32Array<ArrayBuffer>);
      return made;
    };
    const onDevice = (values: Tensors, on = device): Record<string, GPUBuffer> =>
      Object.fromEntries(Object.entries(values).map(([key, each]) => [key, buffer(each, on)]));
    const odd = [1, 5, 64, 67];
    const gpu = await create(onDevice(tensors(odd, 1)), { ...own, device });
    const cpu = await create(tensors(odd, 1), { ...own, backend: 'reference' });
    const compare = async (steps: number): Promise<void> => {
      const [actual, expected] = [await readAll(gpu, tensors(odd, 1)), await readAll(cpu, tensors(odd, 1))];
      for (const key in expected) {
        const bound = webgpuRoundings(adapter, steps) * ROUNDING * (1 + largest(expected[key]));
        expect(largest(actual[key].map((x, i) => x - expected[key][i])), key).toBeLessThanOrEqual(bound);
      }
    };
    for (let t = 0; t < 6; t++) {
      const { w5, ...others } = tensors(odd, 10 + t);
      const grads = t < 2 ? others : { w5, ...others };
      cpu.step(grads);
      if (t % 2 === 0) gpu.step(onDevice(grads));
      else {
        const encoder = device.createCommandEncoder();
        gpu.encode(encoder, onDevice(grads));
        device.queue.submit([encoder.finish()]);
      }
    }
    await compare(6);
    for (const mode of ['eval', 'train'] as const) {
      for (const each of [gpu, cpu]) each[mode]();
      await compare(8);
    }
    expect(gpu.stepOf('w67')).toBe(6);

    // An error of the device is final until a state dict is loaded.
    const other = await openDevice();
    if (typeof other === 'string') throw new Error(other);
    const before = await gpu.stateDict();
    gpu.step(onDevice(tensors(odd, 3), other.device));
    await expect(gpu.read('w1')).rejects.toThrow('The GPU device refused');
    await expect(gpu.stateDict()).rejects.toThrow('The GPU device refused');
    await gpu.loadStateDict(before);
    expect(await gpu.stateDict()).toEqual(before);
    other.device.destroy();
  });
});
