// Compares the kernels of every rule with random scalars: the TypeScript rule, dist/core.wasm and wgsl/.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { rectification } from '../src/algorithms/radam.js';
import { arraysOf } from '../src/backends/layout.js';
import { LARGEST, LARGEST_ROOT } from '../src/math/f32.js';
import { power, Powers } from '../src/math/power.js';
import { raise } from '../src/math/raise.js';
import * as rules from '../src/rules/table.js';
import * as updates from '../src/rules/index.js';
import type { Arrays, Rule, Update } from '../src/rules/rule.js';
import { webgpu } from './support/backends.js';
import { array, difference, largest, ordinary, random, special, wide, type Draw } from './support/numbers.js';
import { ROUNDING, webgpuRoundings } from './support/tolerances.js';

const table: [string, Rule][] = Object.entries(rules as Record<string, Rule>);
const LENGTH = 64 * 9;
const core = await WebAssembly.compile(readFileSync(new URL('../dist/core.wasm', import.meta.url)));

/**
 * Random scalars of the size that algorithms compute, of both signs. For odd seeds some are zero. max_value is never
 * negative, and for half of the seeds zero.
 */
const scalars = (rule: Rule, seed: number): Float32Array => {
  const next = random(seed);
  const draw = (): number => (next() < 0.3 ? -1 : 1) * 10 ** (-4 * next());
  return Float32Array.from(rule.scalars, (name) => {
    if (name === 'max_value') return seed % 4 < 2 ? 0 : Math.abs(draw());
    return seed % 2 === 1 && next() < 0.4 ? 0 : draw();
  });
};

/** Scalars that select the fast WASM loops: positive weights, no flushing, and all optional terms or none. */
const fastPathScalars = (rule: Rule, seed: number): Float32Array => {
  const hasTerms = seed % 2 === 0;
  const terms: Record<string, number> = hasTerms ? {} : { l2: 0, z_from_y: 0, z_decay: 0 };
  const fixed: Record<string, number> = { ...terms, max_value: 0, root_scale: 1, eps_root: 0, flush_below: 0 };
  const drawn = random(seed);
  return Float32Array.from(rule.scalars, (name) => fixed[name] ?? 10 ** (-4 * drawn()));
};

function onReference(rule: Rule, by: Float32Array, arrays: Arrays, steps: number): void {
  const update = (updates as unknown as Record<string, Update<Rule>>)[rule.name];
  const named = Object.fromEntries(rule.scalars.map((name, k) => [name, by[k]]));
  for (let t = 0; t < steps; t++) update(0, LENGTH, arrays, named);
}

function onWasm(rule: Rule, by: Float32Array, arrays: Arrays, steps: number): void {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const kernel = new WebAssembly.Instance(core, { env: { memory } }).exports[rule.name] as (...a: number[]) => void;
  new Float32Array(memory.buffer, 0, by.length).set(by);
  const views = arraysOf(rule).map((name, k) => {
    const view = new Float32Array(memory.buffer, 256 + k * LENGTH * 4, LENGTH);
    view.set(arrays[name as keyof Arrays]);
    return view;
  });
  for (let t = 0; t < steps; t++) kernel(0, ...views.map(({ byteOffset }) => byteOffset), LENGTH * 4);
  for (const [k, name] of arraysOf(rule).entries()) arrays[name as keyof Arrays].set(views[k]);
}

/** Half of the numbers are near the largest f32 or near the limit where squares overflow. */
const huge: Draw = (next) =>
  next() < 0.5 ? ordinary(next) : [2 ** 64, LARGEST_ROOT, -(2 ** 64), -LARGEST, LARGEST, 1e30][Math.floor(next() * 6)];

const draws: [string, Draw][] = [
  ['ordinary numbers', ordinary],
  ['mixed magnitudes', wide],
  ['numbers whose squares overflow f32', huge],
  ['zeros, subnormals, infinities and NaN', special],
];

describe.each(table)('%s', (...[, rule]) => {
  const make = (draw: Draw, seed: number): Arrays =>
    Object.fromEntries(arraysOf(rule).map((name, k) => [name, array(LENGTH, seed + k, draw)])) as Arrays;

  test.each(draws)('WASM gives the bits of the rule in all arrays: %s', (...[, draw]) => {
    for (let seed = 0; seed < 60; seed++) {
      const by = seed < 40 ? scalars(rule, seed) : fastPathScalars(rule, seed);
      const [reference, wasm] = [make(draw, 100 * seed), make(draw, 100 * seed)];
      onReference(rule, by, reference, 3);
      onWasm(rule, by, wasm, 3);
      for (const name of arraysOf(rule)) {
        const key = name as keyof Arrays;
        expect(difference(wasm[key], reference[key]), `${name} by ${by.join(', ')}`).toBeUndefined();
      }
    }
  });

  test('leaves padding zero in all arrays', () => {
    for (let seed = 0; seed < 20; seed++) {
      // eps is never zero: see `denominator`.
      const by = scalars(rule, seed).map((x, k) => (rule.scalars[k] === 'eps' ? Math.max(Math.abs(x), 2 ** -126) : x));
      const square = rule.scalars.indexOf('eps_root');
      if (square >= 0) by[square] = Math.abs(by[square]);
      const root = rule.scalars.indexOf('root_scale');
      if (root >= 0) by[root] = Math.abs(by[root]);
      for (const runOn of [onReference, onWasm]) {
        const arrays = make(() => 0, 1);
        runOn(rule, by, arrays, 3);
        for (const name of arraysOf(rule)) expect(largest(arrays[name as keyof Arrays]), name).toBe(0);
      }
    }
  });

  test('depends on each of its scalars', () => {
    // Of a flag only zero or not matters. While z is y, the average has no effect.
    const flag = rule.scalars.indexOf('z_from_y');
    const moves = (seed: number, k: number): boolean => {
      const by = scalars(rule, seed);
      if (flag >= 0 && k !== flag) by[flag] = 0;
      const [before, after] = [make(ordinary, seed), make(ordinary, seed)];
      onReference(rule, by, before, 1);
      by[k] *= k === flag ? 0 : 1.5;
      onReference(rule, by, after, 1);
      return arraysOf(rule).some((key) => difference(after[key as keyof Arrays], before[key as keyof Arrays]));
    };
    for (const [k, name] of rule.scalars.entries()) {
      expect(Array.from({ length: 10 }, (_, seed) => moves(seed, k)).includes(true), name).toBe(true);
    }
  });

  describe.runIf(webgpu)('in WGSL', () => {
    test.each(['vec4', 'scalar'] as const)(
      'gives the rule within the tolerance, in the variant %s',
      async (variant) => {
        const kernel = await wgslKernel(rule, variant);
        for (let seed = 0; seed < 10; seed++) {
          const by = scalars(rule, seed);
          const [reference, wgsl] = [make(ordinary, 100 * seed), make(ordinary, 100 * seed)];
          // Averages of squares are not negative, and WGSL's `largest` relies on it.
          for (const arrays of [reference, wgsl]) {
            for (const name of rule.squares) {
              arrays[name as keyof Arrays] = arrays[name as keyof Arrays].map(Math.abs);
            }
          }
          onReference(rule, by, reference, 1);
          await kernel(by, wgsl);
          for (const name of arraysOf(rule)) {
            const [actual, expected] = [wgsl[name as keyof Arrays], reference[name as keyof Arrays]];
            const finite = expected.filter(Number.isFinite);
            const bound = webgpuRoundings(webgpu!.adapter, 1) * ROUNDING * largest(finite);
            for (let i = 0; i < LENGTH; i++) {
              // WGSL may assume that numbers are finite, so ignore elements that are not.
              if (!Number.isFinite(expected[i]) || Math.abs(actual[i] - expected[i]) <= bound) continue;
              expect.fail(`${name}[${i}]: ${actual[i]}, not ${expected[i]}`);
            }
          }
        }
      },
    );
  });
});

/** Runs a kernel of wgsl/ on the device, without the package. */
async function wgslKernel(
  rule: Rule,
  variant: 'vec4' | 'scalar',
): Promise<(by: Float32Array, on: Arrays) => Promise<void>> {
  const { device } = webgpu!;
  const folder = new URL('../wgsl/', import.meta.url);
  const read = (file: string): string => readFileSync(new URL(file, folder), 'utf8');
  const source = readdirSync(folder)
    .map(read)
    .find((text) => text.includes(`fn ${rule.name}(`))!;
  const module = device.createShaderModule({
    code: [read(`${variant}.wgsl`), read('prelude.wgsl'), source].join('\n'),
  });
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module, entryPoint: rule.name },
  });
  const buffer = (values: Float32Array, usage: number): GPUBuffer => {
    const made = device.createBuffer({ size: Math.max(values.byteLength, 64), usage: usage | 0xc });
    device.queue.writeBuffer(made, 0, values as Float32Array<ArrayBuffer>);
    return made;
  };
  return async (by, arrays) => {
    const names = arraysOf(rule);
    const buffers = names.map((name) => buffer(arrays[name as keyof Arrays], 0x80));
    const group = (index: number, resources: GPUBuffer[]): GPUBindGroup =>
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(index),
        entries: resources.map((each, binding) => ({ binding, resource: { buffer: each } })),
      });
    const staging = device.createBuffer({ size: names.length * LENGTH * 4, usage: 0x9 });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group(0, [buffer(by, 0x40)]));
    pass.setBindGroup(1, group(1, buffers));
    pass.dispatchWorkgroups(LENGTH / 64);
    pass.end();
    for (const [k, each] of buffers.entries()) {
      encoder.copyBufferToBuffer(each, 0, staging, k * LENGTH * 4, LENGTH * 4);
    }
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(0x1);
    const all = new Float32Array(staging.getMappedRange());
    for (const [k, name] of names.entries()) {
      arrays[name as keyof Arrays].set(all.subarray(k * LENGTH, (k + 1) * LENGTH));
    }
    staging.destroy();
  };
}

/** Gradients that `max_value` clamps, and some that it does not. */
const unclipped: Draw = (next) => {
  const kind = next();
  if (kind < 0.5) return ordinary(next);
  return kind < 0.7 ? huge(next) : [Infinity, -Infinity, NaN, 0, -0][Math.floor(next() * 5)];
};
const limits = [1e-3, 1, 1e30, LARGEST_ROOT, 2 ** 64, LARGEST];

/** Clamps a gradient, as `clip` does, for a grad_scale of 1. */
const clipped = (grad: Float32Array, most: number): Float32Array =>
  grad.map((x) => (x > most ? most : x < -most ? -most : x));

describe.each(table.filter(([, { scalars: names }]) => names.includes('max_value')))(
  'max_value of %s',
  (...[, rule]) => {
    const [scale, limit] = ['grad_scale', 'max_value'].map((name) => rule.scalars.indexOf(name));
    const make = (draw: Draw, seed: number): Arrays =>
      Object.fromEntries(
        arraysOf(rule).map((name, k) => [name, array(LENGTH, seed + k, name === 'grad' ? draw : ordinary)]),
      ) as Arrays;
    const withLimit = (by: Float32Array, most: number, gradScale = by[scale]): Float32Array => {
      const changed = by.slice();
      [changed[scale], changed[limit]] = [gradScale, most];
      return changed;
    };
    const expectSame = (actual: Arrays, expected: Arrays, what: string): void => {
      for (const name of arraysOf(rule).filter((each) => each !== 'grad')) {
        const key = name as keyof Arrays;
        expect(difference(actual[key], expected[key]), `${name} ${what}`).toBeUndefined();
      }
    };
    const blocks = limits.flatMap((most, k) =>
      [scalars(rule, k), scalars(rule, 10 + k), fastPathScalars(rule, k)].map((by) => [by, Math.fround(most)] as const),
    );

    test('gives the bits of the rule in WASM for ordinary, huge, infinite and NaN gradients', () => {
      for (const [seed, [by, most]] of blocks.entries()) {
        const [reference, wasm] = [make(unclipped, 100 * seed), make(unclipped, 100 * seed)];
        onReference(rule, withLimit(by, most), reference, 3);
        onWasm(rule, withLimit(by, most), wasm, 3);
        expectSame(wasm, reference, `by ${by.join(', ')} with ${most}`);
      }
    });

    test.each([
      ['reference', onReference],
      ['WASM', onWasm],
    ])('gives the bits of gradients that were clamped before: %s', (...[, runOn]) => {
      for (const [seed, [by, most]] of blocks.entries()) {
        const [actual, expected] = [make(unclipped, 100 * seed), make(unclipped, 100 * seed)];
        expected.grad.set(clipped(expected.grad, most));
        runOn(rule, withLimit(by, most, 1), actual, 3);
        runOn(rule, withLimit(by, 0, 1), expected, 3);
        expectSame(actual, expected, `by ${by.join(', ')} with ${most}`);
      }
    });

    test.each([
      ['reference', onReference],
      ['WASM', onWasm],
    ])('clamps no finite gradient if it is the largest f32: %s', (...[, runOn]) => {
      for (const [seed, [by]] of blocks.entries()) {
        for (const draw of [ordinary, wide, huge]) {
          const [actual, expected] = [make(draw, 100 * seed), make(draw, 100 * seed)];
          runOn(rule, withLimit(by, LARGEST), actual, 3);
          runOn(rule, withLimit(by, 0), expected, 3);
          expectSame(actual, expected, `by ${by.join(', ')}`);
        }
      }
    });

    test('makes a step with an infinite gradient finite', () => {
      for (const runOn of [onReference, onWasm]) {
        const arrays = make((next) => (next() < 0.5 ? -Infinity : Infinity), 1);
        for (const name of rule.squares) arrays[name as keyof Arrays].fill(0);
        runOn(rule, withLimit(fastPathScalars(rule, 1), 1), arrays, 3);
        for (const name of arraysOf(rule).filter((each) => each !== 'grad')) {
          expect(largest(arrays[name as keyof Arrays]), name).toBeLessThan(1e30);
        }
      }
    });

    describe.runIf(webgpu)('in WGSL', () => {
      test.each(['vec4', 'scalar'] as const)(
        'gives the rule within the tolerance for ordinary, huge, infinite and NaN gradients, in the variant %s',
        async (variant) => {
          const kernel = await wgslKernel(rule, variant);
          for (const [seed, [by, most]] of blocks.entries()) {
            const [reference, wgsl] = [make(unclipped, 100 * seed), make(unclipped, 100 * seed)];
            for (const arrays of [reference, wgsl]) {
              for (const name of rule.squares) {
                arrays[name as keyof Arrays] = arrays[name as keyof Arrays].map(Math.abs);
              }
            }
            onReference(rule, withLimit(by, most), reference, 1);
            await kernel(withLimit(by, most), wgsl);
            for (const name of arraysOf(rule).filter((each) => each !== 'grad')) {
              const [actual, expected] = [wgsl[name as keyof Arrays], reference[name as keyof Arrays]];
              const bound = webgpuRoundings(webgpu!.adapter, 1) * ROUNDING * largest(expected.filter(Number.isFinite));
              for (let i = 0; i < LENGTH; i++) {
                const { [i]: grad } = reference.grad;
                const what = `${name}[${i}] for ${grad} by ${by.join(', ')} with ${most}`;
                if (Number.isFinite(expected[i]))
                  expect(Math.abs(actual[i] - expected[i]), what).toBeLessThanOrEqual(bound);
                // WGSL may assume that numbers are finite, but a NaN gradient must show in the parameter.
                else if (name === 'param' && Number.isNaN(grad)) expect(actual[i], what).toBeNaN();
              }
            }
          }
        },
      );
    });
  },
);

/** Kernels that are not rules, and what they are made of. */
const tools = [
  'accumulate.wgsl',
  'corrections.wgsl',
  'decide.wgsl',
  'deferred.wgsl',
  'device_scale.wgsl',
  'fold.wgsl',
  'limits.wgsl',
  'parts.wgsl',
  'prepare.wgsl',
  'rescale.wgsl',
  'scaler.wgsl',
  'squares.ts',
  'squares.wgsl',
  'submitted.wgsl',
];

test('rules, assembly and WGSL have the same files', () => {
  const files = (folder: string, ending: string, others: string[]): string[] =>
    readdirSync(new URL(`../${folder}/`, import.meta.url))
      .filter((file) => file.endsWith(ending) && !others.includes(file))
      .map((file) => file.slice(0, -ending.length))
      .toSorted();
  const ofRules = files('src/rules', '.ts', ['index.ts', 'rule.ts', 'scalars.ts', 'table.ts']);
  expect(files('assembly', '.ts', ['index.ts', 'simd.ts', ...tools])).toEqual(ofRules);
  expect(files('wgsl', '.wgsl', ['prelude.wgsl', 'vec4.wgsl', 'scalar.wgsl', ...tools])).toEqual(ofRules);
});

test.each([0, 1, 2, 3, 5, 10, 1000, 1e6, 2 ** 31 + 5])(
  'power() returns the nearest number for the exponent %f',
  (exponent) => {
    for (const base of [0, 0.5, 0.9, 0.999, 0.999999, 1 - 1e-7, 1 - 1e-9]) {
      expect(power(base, exponent)).toBe(nearestPower(base, exponent));
    }
  },
);

test.each([0, 0.1, 0.5, 0.9, 0.999, 0.999999])('complement() of %f is exactly 1 minus its power', (base) => {
  const powers = new Powers();
  for (let k = 0; k < 1e5; k = Math.ceil(1.01 * k + 1)) expect(powers.complement(base, k)).toBe(1 - power(base, k));
});

test.each([0.6, 0.9, 0.95, 0.999, 0.999999])('decayed() of %f is its nearest power at each step', (base) => {
  const powers = new Powers();
  for (let t = 0; (1 - base) * t <= 40 && t < 2000; t++) expect(powers.decayed(base, t)).toBe(nearestPower(base, t));
  expect(powers.decayed(base, Math.ceil(41 / (1 - base)))).toBe(0);
});

test('decayed() takes steps beyond 2^53', () => {
  const base = 1 - 2 ** -53;
  for (const t of [2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2])
    expect(new Powers().decayed(base, t)).toBeCloseTo(Math.exp(-t * 2 ** -53), 12);
});

test('decayed() does not depend on earlier calls', () => {
  const powers = new Powers();
  const bases = [0.9, 0.95, 0.98, 0.99, 0.999, 0.9999];
  const exponents = Array.from({ length: 390 }, (_, t) => t);
  const inOrder = bases.map((base) => exponents.map((t) => powers.decayed(base, t)));
  for (let k = 0; k < 20_000; k++) {
    const [b, t] = [(k * 7919) % bases.length, (k * 104_729) % exponents.length];
    expect(powers.decayed(bases[b], t)).toBe(inOrder[b][t]);
  }
});

test('power() underflows to zero and overflows to Infinity, and is never negative or NaN', () => {
  for (const base of [0.1, 0.3, 0.5, 0.77, 0.9, 0.95]) {
    for (let exponent = 0; exponent < 16_000; exponent += 1) {
      const value = power(base, exponent);
      expect(value >= 0 && value <= 1, `${base} to the ${exponent} is ${value}`).toBe(true);
    }
  }
  expect([0.1, 0.95].map((base) => power(base, 1e6))).toEqual([0, 0]);
  expect([1.1, 3, 1e200].map((base) => power(base, 1e6))).toEqual([Infinity, Infinity, Infinity]);
});

test('raise() takes fractional exponents, with an error of at most two roundings', () => {
  for (const base of [1e-300, 1e-10, 0.04, 0.5, 0.96, 1, 1.5, 1e5]) {
    for (const exponent of [1e-300, 4e-3, 0.1, 0.25, 0.5, 1 / 3, 0.9, 1.5, 2.2, 7.75]) {
      const expected = base ** exponent;
      expect(Math.abs(raise(base, exponent) - expected), `${base} to the ${exponent}`).toBeLessThanOrEqual(
        4 * 2 ** -53 * expected,
      );
    }
  }
  for (const base of [0, 1e-200, 1 / 3, 1, 1.1, 7e154, 1e200, Infinity]) {
    expect([0, 2].map((exponent) => raise(base, exponent))).toEqual([0, 2].map((exponent) => power(base, exponent)));
  }
  expect([raise(0, 0), raise(0, 0.3), raise(2, 3), raise(9, 0.5), raise(16, 0.75)]).toEqual([1, 0, 8, 3, 8]);
});

test('RAdam’s rectification is correct for a beta2 near 1', () => {
  // torch's condition at step 5: rho is 4.9988 with Python's floats. Powers by plain squaring give 5.0032.
  expect(rectification(new Powers(), 0.9999999, 5, 5)).toBeUndefined();
  expect(rectification(new Powers(), 0.9999999, 6, 5)).toBeDefined();
});

/** Computes base**exponent in fixed point with 1200 bits, rounded once. */
function nearestPower(base: number, exponent: number): number {
  const bits = 1200n;
  let square = BigInt(base * 2 ** 53) << (bits - 53n);
  let result = 1n << bits;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2), square = (square * square) >> bits) {
    if (rest % 2 === 1) result = (result * square) >> bits;
  }
  return Number(result >> (bits - 1000n)) / 2 ** 1000;
}
