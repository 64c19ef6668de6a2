// Tests the option threads: any number of threads gives the same bits.

import { readFileSync, readdirSync } from 'node:fs';
import { adamw, ema, type Optimizer } from 'twinstep';
import { decodeCheckpoint, saveCheckpoint } from 'twinstep/checkpoint';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { algorithms } from './support/algorithms.js';
import { array, difference, random, special } from './support/numbers.js';
import { entry, run } from './support/program.js';

const core = readFileSync(new URL('../dist/core.wasm', import.meta.url));
/**
 * The same kernels, compiled for shared memory: only the limits of the import differ, and the length of its section.
 */
const coreOfShared = Buffer.from(
  core.toString('hex').replace('020f0103656e76066d656d6f7279020000', '02120103656e76066d656d6f7279020300808004'),
  'hex',
);

/** Some tensors are long enough to be split between threads. The lengths are odd. */
const lengths = [40_001, 3, 131_071, 7];
const names = lengths.map((_, i) => `w${i}`);
const draw = (seed: number): Record<string, Float32Array> =>
  Object.fromEntries(lengths.map((length, i) => [names[i], array(length, 10 * seed + i)]));

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe.each(algorithms)('%s', (...[, create, options]) => {
  test('gives the same bits on one, two, three and seven threads', async () => {
    const optimizers = await Promise.all([1, 2, 3, 7].map((threads) => create(draw(1), { ...options, threads })));
    const [one, ...others] = optimizers;
    for (const [i, each] of others.entries()) {
      expect(each.backend.reason).toContain(`WebAssembly SIMD on ${[2, 3, 7][i]} threads, `);
    }
    const state = async (optimizer: typeof one): Promise<Float32Array[]> => {
      const { state: ofTensors } = await optimizer.stateDict();
      const slots = Object.values(ofTensors).flatMap((each) => Object.values(each));
      return [...Object.values(optimizer.params), ...slots.filter((slot) => slot instanceof Float32Array)];
    };
    for (let t = 0; t < 12; t++) {
      const grads = draw(2 + t);
      // Include zeros, infinities and NaN in one step, and omit a tensor in another.
      if (t === 5) grads.w2 = array(lengths[2], 3, special);
      if (t === 7) delete grads.w0;
      for (const optimizer of optimizers) optimizer.step(grads);
    }
    for (const optimizer of optimizers) optimizer.eval();
    const expected = await state(one);
    for (const other of others) {
      for (const [i, values] of (await state(other)).entries()) {
        expect(difference(values, expected[i])).toBeUndefined();
      }
    }
    for (const optimizer of optimizers) optimizer.dispose();
  });
});

test('all threads take part of the work', async () => {
  const optimizer = await adamw({ w: array(1_000_000, 1) }, { threads: 2 });
  const add = Atomics.add.bind(Atomics) as (words: Int32Array, index: number, by: number) => number;
  let taken = 0;
  // Slow down the main thread after each piece that it takes, so that other threads take pieces too.
  vi.spyOn(Atomics, 'add').mockImplementation(((words: Int32Array, index: number, by: number) => {
    const piece = add(words, index, by);
    if (piece < 16) taken += 1;
    const end = performance.now() + 2;
    while (performance.now() < end);
    return piece;
  }) as typeof Atomics.add);
  const shares: number[] = [];
  for (let t = 0; t < 20; t++) {
    taken = 0;
    optimizer.step();
    shares.push(taken);
  }
  // There are about 32 pieces. The main thread takes none this way in an unshared step, which is tried occasionally.
  expect(shares.some((share) => share > 0 && share < 24)).toBe(true);
  optimizer.dispose();
});

describe('with threads', () => {
  test('added tensors and groups, and all ways of passing gradients, give the same bits', async () => {
    const train = async (threads: number): Promise<Float32Array[]> => {
      const kept: Optimizer<Float32Array> = await adamw({ w: array(50_000, 1) }, { threads });
      const passing: Optimizer<Float32Array> = await adamw({ w: array(50_000, 1) }, { threads, keepGrads: false });
      for (const optimizer of [kept, passing]) {
        await optimizer.addParamGroup({ params: { late: array(60_000, 2) }, lr: 0.01 });
        await optimizer.addParams(0, { later: array(70_000, 3) });
      }
      const next = random(4);
      for (let t = 0; t < 8; t++) {
        const grads = { w: array(50_000, t), late: array(60_000, t + 1), later: array(70_000, t + 2) };
        passing.step(grads);
        if (t === 4) kept.accumulate(grads);
        if (next() < 0.5 && t !== 4) kept.step(grads);
        else {
          for (const [name, grad] of Object.entries(grads)) kept.grads[name].set(grad);
          kept.step();
        }
      }
      const average = await ema(kept, { decay: 0.5 });
      average.step(kept.params);
      const checkpoint = decodeCheckpoint(await saveCheckpoint(kept));
      const results = [kept.params, passing.params, average.params, checkpoint.params].flatMap((each) =>
        Object.values(each).map((values) => values.slice()),
      );
      for (const optimizer of [kept, passing, average]) optimizer.dispose();
      return results;
    };
    const [one, three] = [await train(1), await train(3)];
    for (const [i, values] of three.entries()) expect(difference(values, one[i])).toBeUndefined();
  });

  test('callers can read and write the shared memory', async () => {
    const optimizer = await adamw({ w: new Float32Array(8) }, { threads: 2 });
    expect(optimizer.params.w.buffer).toBeInstanceOf(SharedArrayBuffer);
    optimizer.params.w.set([1, 2, 3]);
    const copy = await optimizer.read('w');
    expect([...copy.subarray(0, 4)]).toEqual([1, 2, 3, 0]);
    expect(copy.buffer).toBeInstanceOf(ArrayBuffer);
    optimizer.dispose();
  });
});

describe('with kernels of the caller', () => {
  const grads = { w: array(40_001, 2) };
  const train = async (options: object): Promise<Optimizer<Float32Array>> => {
    const optimizer = await adamw({ w: array(40_001, 1) }, { backend: 'wasm', ...options });
    for (let t = 0; t < 5; t++) optimizer.step(grads);
    return optimizer;
  };

  test.each([
    ['core.wasm', core],
    ['core.wasm for shared memory', coreOfShared],
    ['core.wasm for shared memory, compiled', new WebAssembly.Module(coreOfShared)],
  ])('%s', async (_, wasm) => {
    const expected = (await train({})).params.w;
    const optimizer = await train({ wasm, threads: 3 });
    expect(optimizer.backend.reason).toBe('WebAssembly SIMD on 3 threads, asked for by name.');
    expect(difference(optimizer.params.w, expected)).toBeUndefined();
    optimizer.dispose();
  });

  test('kernels for shared memory run on one thread, too, also for averages', async () => {
    const wasm = new WebAssembly.Module(coreOfShared);
    const expected = (await train({})).params.w;
    const optimizer = await train({ wasm });
    expect(optimizer.backend.reason).toBe('WebAssembly SIMD, asked for by name.');
    expect(optimizer.params.w.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(difference(optimizer.params.w, expected)).toBeUndefined();
    const average = await ema(optimizer, { decay: 0.5 });
    average.step(optimizer.params);
    expect(average.backend.reason).toBe('WebAssembly SIMD, asked for by name.');
    expect(average.params.w.buffer).toBeInstanceOf(SharedArrayBuffer);
  });
});

describe('backend.reason says why only one thread runs:', () => {
  const reasonOf = async (options: object): Promise<string> => {
    const optimizer = await adamw({ w: array(8, 1) }, { threads: 4, ...options });
    optimizer.step({ w: array(8, 2) });
    optimizer.dispose();
    return optimizer.backend.reason;
  };

  test('there is no SharedArrayBuffer', async () => {
    vi.stubGlobal('SharedArrayBuffer', undefined);
    expect(await reasonOf({ backend: 'wasm' })).toBe(
      'WebAssembly SIMD, asked for by name. One thread, not 4: there is no SharedArrayBuffer ' +
        '(a page needs cross-origin isolation).',
    );
  });

  test('shared memory cannot be allocated', async () => {
    const { Memory } = WebAssembly;
    vi.spyOn(WebAssembly, 'Memory').mockImplementation(function unshared(descriptor) {
      if (descriptor.shared) throw new RangeError('could not allocate memory');
      return new Memory(descriptor);
    });
    expect(await reasonOf({ backend: 'wasm' })).toBe(
      'WebAssembly SIMD, asked for by name. One thread, not 4: WebAssembly cannot allocate 65536 bytes ' +
        '(RangeError: could not allocate memory).',
    );
  });

  test('the module is compiled for memory that is not shared', async () => {
    const wasm = await WebAssembly.compile(core);
    expect(await reasonOf({ backend: 'wasm', wasm })).toBe(
      'WebAssembly SIMD, asked for by name. One thread, not 4: wasm is compiled for memory that is not shared; pass ' +
        'its bytes, or what enableWideSimd returns for threads.',
    );
  });

  test('the backend is not WebAssembly', async () => {
    expect(await reasonOf({ backend: 'reference' })).toBe(
      'Plain JavaScript, asked for by name. Only WebAssembly uses threads.',
    );
  });

  test('the build is for the edge', () => {
    const program = `
      import { readFileSync } from 'node:fs';
      const wasm = readFileSync(new URL(${JSON.stringify(entry('core.wasm'))}));
      console.log((await adamw({ w: new Float32Array(8) }, { threads: 4, backend: 'wasm', wasm })).backend.reason);`;
    expect(run(program, 'fastly.js')).toContain(
      'One thread, not 4: this build of twinstep, for edge runtimes, lacks the code.',
    );
  });
});

test.each([0, -1, 1.5, 257, NaN, '2', null])('refuses threads: %s', async (threads) => {
  const create = adamw({ w: array(8, 1) }, { threads: threads as number });
  const got = typeof threads === 'string' ? `"${threads}"` : threads;
  await expect(create).rejects.toThrow(`Expected threads to be a whole number from 1 to 256, got ${got}.`);
});

describe('threads end', () => {
  test('with the process, even without dispose()', () => {
    const program = `
      const optimizer = await adamw({ w: new Float32Array(200_000) }, { threads: 3 });
      for (let t = 0; t < 20; t++) optimizer.step();
      console.log(optimizer.backend.reason);`;
    expect(run(program)).toContain('on 3 threads');
  });

  const threadsOfProcess = '/proc/self/task';
  test.runIf(process.platform === 'linux')('with dispose()', () => {
    const program = `
      import { readdirSync } from 'node:fs';
      const count = () => readdirSync('${threadsOfProcess}').length;
      const counts = [count()];
      const open = () => adamw({ w: new Float32Array(200_000) }, { threads: 3 });
      for (let round = 0; round < 3; round++) {
        const optimizers = await Promise.all([open(), open()]);
        for (let t = 0; t < 20; t++) for (const optimizer of optimizers) optimizer.step();
        counts.push(count());
        for (const left of [2, 0]) {
          optimizers.pop().dispose();
          for (const optimizer of optimizers) for (let t = 0; t < 20; t++) optimizer.step();
          for (let wait = 0; wait < 300 && count() > counts[0] + left; wait++) await new Promise((r) => setTimeout(r, 10));
          counts.push(count());
        }
      }
      console.log(JSON.stringify(counts.map((each) => each - counts[0])));`;
    expect(readdirSync(threadsOfProcess).length).toBeGreaterThan(0);
    const counts = JSON.parse(run(program)) as number[];
    // Each of two optimizers has two more threads; dispose() ends them.
    for (let round = 0; round < 3; round++) {
      const [both, one, none] = counts.slice(1 + 3 * round, 4 + 3 * round);
      expect([both, one, none], String(counts)).toEqual([4, 2, 0]);
    }
  });
});
