// Tests twinstep/kernels: the kernels in memory and pipelines of the caller.

import { readFileSync } from 'node:fs';
import { coefficients, kernels, wasmKernels, wgslKernel, type AlgorithmName, type KernelName } from 'twinstep/kernels';
import { describe, expect, test } from 'vitest';
import { kernelsPage } from '../tools/kernels-page.js';
import { algorithms } from './support/algorithms.js';
import { any, buffer, contents, device, expectClose } from './support/gpu.js';
import { array, difference } from './support/numbers.js';

const LENGTH = 67;
const STEPS = 6;
const gradient = (t: number): Float32Array => array(LENGTH, 100 + t);

/** Does what another engine would do on the CPU: lays out its arrays and calls the kernel. */
async function inOwnMemory(algorithm: AlgorithmName, options: object): Promise<Float32Array> {
  const steps = coefficients(algorithm, options);
  const { arrays, fromParam } = kernels[steps.kernel];
  const memory = new WebAssembly.Memory({ initial: 1 });
  const kernel = wasmKernels(memory)[steps.kernel];
  memory.grow(1);
  const bytes = 32 * Math.ceil((4 * LENGTH) / 32);
  const scalars = 65_536;
  const at = arrays.map((_, i) => scalars + 256 + i * bytes);
  const view = (name: string): Float32Array => new Float32Array(memory.buffer, at[arrays.indexOf(name)], LENGTH);
  for (const each of ['param', ...fromParam]) view(each).set(array(LENGTH, 1));
  for (let t = 0; t < STEPS; t++) {
    steps.next();
    new Float32Array(memory.buffer, scalars).set(steps.scalars());
    view('grad').set(gradient(t));
    kernel(scalars, at[0], ...at.slice(1), bytes);
  }
  return view('param').slice();
}

describe.each(algorithms)('%s', (...[, create, options]) => {
  test('gives the same bits in the caller’s memory as in the optimizer’s', async () => {
    const optimizer = await create({ w: array(LENGTH, 1) }, options);
    for (let t = 0; t < STEPS; t++) optimizer.step({ w: gradient(t) });
    const { algorithm } = (await optimizer.stateDict()).param_groups[0];
    const own = await inOwnMemory(algorithm as AlgorithmName, options);
    expect(difference(own, optimizer.params.w)).toBeUndefined();
  });
});

test.each([
  [4, 68],
  [1, 67],
] as const)(
  'AdamW gives the optimizer’s results in a pipeline of the caller: %i lanes, %i elements',
  async (lanes, length) => {
    const options = { lr: 0.05, weightDecay: 0.2 };
    const steps = coefficients('adamw', options);
    const { code, entryPoint, arrays, bindGroupLayouts, workgroups } = wgslKernel(steps.kernel, { lanes });
    const layouts = bindGroupLayouts.map((layout) => device.createBindGroupLayout(layout));
    const module = device.createShaderModule({ code });
    const layout = device.createPipelineLayout({ bindGroupLayouts: layouts });
    const pipeline = device.createComputePipeline({ layout, compute: { module, entryPoint } });
    const own = new Map(
      arrays.map((name) => [name, buffer(name === 'param' ? array(length, 1) : new Float32Array(length))]),
    );
    const optimizer = await algorithms.find(([name]) => name === 'adamw')![1]({ w: array(length, 1) }, options);
    for (let t = 0; t < STEPS; t++) {
      optimizer.step({ w: array(length, 100 + t) });
      steps.next();
      const uniform = device.createBuffer({ size: 4 * steps.scalars().length, usage: 0x40 | 0x8 });
      device.queue.writeBuffer(uniform, 0, steps.scalars());
      device.queue.writeBuffer(own.get('grad')!, 0, array(length, 100 + t) as Float32Array<ArrayBuffer>);
      const bound = [[uniform], [...own.values()]].map((buffers, group) =>
        device.createBindGroup({
          layout: layouts[group],
          entries: buffers.map((each, binding) => ({ binding, resource: { buffer: each } })),
        }),
      );
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      bound.forEach((group, index) => pass.setBindGroup(index, group));
      pass.dispatchWorkgroups(...workgroups(length));
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    expectClose(await contents(own.get('param')!), optimizer.params.w, STEPS);
  },
);

describe.each(Object.keys(kernels) as KernelName[])(
  '%s updates all elements alike in a pipeline of the caller',
  (name) => {
    test.each([
      [4, 64],
      [1, 32],
    ] as const)('with %i lanes and workgroups of %i', async (lanes, workgroupSize) => {
      const { code, entryPoint, constants, bindGroupLayouts, scalarBytes, scalars, arrays, workgroups } = wgslKernel(
        name,
        {
          lanes,
          workgroupSize,
        },
      );
      const layouts = bindGroupLayouts.map((layout) => device.createBindGroupLayout(layout));
      const module = device.createShaderModule({ code });
      const pipeline = await device.createComputePipelineAsync({
        layout: device.createPipelineLayout({ bindGroupLayouts: layouts }),
        compute: { module, entryPoint, constants },
      });
      const uniform = device.createBuffer({ size: scalarBytes, usage: 0x40 | 0x8 });
      device.queue.writeBuffer(uniform, 0, new Float32Array(scalars.length).fill(0.5));
      const buffers = arrays.map(() => buffer(new Float32Array(1000).fill(1)));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      for (const [group, own] of [[uniform], buffers].entries()) {
        const entries = own.map((each, binding) => ({ binding, resource: { buffer: each } }));
        pass.setBindGroup(group, device.createBindGroup({ layout: layouts[group], entries }));
      }
      pass.dispatchWorkgroups(...workgroups(1000));
      pass.end();
      device.queue.submit([encoder.finish()]);
      const param = await contents(buffers[0]);
      // All elements start equal, so all must end equal.
      expect(new Set(param).size).toBe(1);
      expect(param[0] === 1).toBe(name === 'ema' || name === 'extrapolate');
    });
  },
);

describe('coefficients', () => {
  test('depend on decay, on a first step, and on changed options', () => {
    const steps = coefficients('adamw', { lr: 0.5, weightDecay: 0.25, schedule: (t) => 1 / (1 + t) });
    const decay = kernels.adam.scalars.indexOf('decay');
    expect(() => steps.scalars()).toThrow('Expected the step to be begun by next(), got 0.');
    steps.next();
    expect([steps.step, steps.scalars()[decay], steps.scalars({ decays: false })[decay]]).toEqual([1, 0.125, 0]);
    steps.options.lr = 1;
    // The new lr counts from the next step on.
    expect(steps.scalars()[decay]).toBe(0.125);
    steps.next();
    expect([steps.step, steps.scalars()[decay]]).toEqual([2, 0.125]);
    expect(() => (steps.options.lr = -1)).toThrow('Expected lr to be a finite number of at least 0, got -1.');
    const free = coefficients('sgdScheduleFree');
    const fromY = kernels.schedulefree_sgd.scalars.indexOf('z_from_y');
    for (let t = 0; t < 2; t++) free.next();
    expect([free.scalars()[fromY], free.scalars({ isFirst: true })[fromY]]).toEqual([0, 1]);
    expect([...free.average(true)]).toEqual([Math.fround(1 - 1 / 0.9)]);
    expect(() => steps.average(true)).toThrow('Expected the algorithm to be one with an average, got "adamw".');
  });

  test.each(['adamw', 'adamwScheduleFree', 'nadam'] as const)('of %s continue from a saved state', (name) => {
    const options = { lr: 0.5, schedule: (t: number) => 1 / (1 + t) };
    const unbroken = coefficients(name, options);
    for (let t = 0; t < 5; t++) unbroken.next();
    const resumed = coefficients(name, options, JSON.parse(JSON.stringify(unbroken.state)));
    for (const each of [unbroken, resumed]) each.next();
    expect(resumed.scalars()).toEqual(unbroken.scalars());
    expect(resumed.state).toEqual(unbroken.state);
    expect(() => coefficients(name, options, { step: -1 })).toThrow('Expected step to be a whole number of at least 0');
  });

  test('do not change in a refused step', () => {
    let answer = 1;
    const steps = coefficients('adamwScheduleFree', { schedule: () => answer });
    steps.next();
    const before = steps.scalars();
    answer = NaN;
    expect(() => steps.next()).toThrow('Expected schedule(1) to be a finite number of at least 0, got NaN.');
    answer = 1;
    expect(steps.step).toBe(1);
    steps.next();
    const plain = coefficients('adamwScheduleFree');
    plain.next();
    expect(before).toEqual(plain.scalars());
    plain.next();
    expect(steps.scalars()).toEqual(plain.scalars());
  });
});

test.each(['adam', 'nadam', 'adamwScheduleFree'] as const)('%s flushes moments at every 64th step', (name) => {
  const steps = coefficients(name, (name === 'adamwScheduleFree' ? { innerMomentum: 0.9 } : {}) as object);
  const at = kernels[steps.kernel].scalars.indexOf('flush_below');
  const flushes: number[] = [];
  for (let step = 1; step <= 200; step++) {
    steps.next();
    const below = steps.scalars()[at];
    expect([0, 2 ** -126]).toContain(below);
    if (below > 0) flushes.push(step);
  }
  expect(flushes).toEqual([64, 128, 192]);
});

test('docs/kernels.md matches the kernels: `npm run docs` writes it', () => {
  const page = readFileSync(new URL('../docs/kernels.md', import.meta.url), 'utf8');
  expect(page).toBe(kernelsPage(new URL('../src/rules/', import.meta.url)));
  for (const name of Object.keys(kernels)) expect(page).toContain(`\`${name}(scalars, `);
});

test('wasmKernels() writes nothing to the memory', () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  new Uint8Array(memory.buffer).fill(7);
  const bound = wasmKernels(memory);
  expect(new Uint8Array(memory.buffer).every((byte) => byte === 7)).toBe(true);
  expect(Object.keys(bound).toSorted()).toEqual(Object.keys(kernels).toSorted());
});

test('workgroups() uses a second dimension if one is too small', () => {
  const { workgroups, workgroupSize, lanes } = wgslKernel('adam');
  expect(workgroups(1)).toEqual([1, 1]);
  expect(workgroups(0)).toEqual([0, 1]);
  const [x, y] = workgroups(2 ** 26);
  expect(y).toBeGreaterThan(1);
  expect(x).toBeLessThanOrEqual(65_535);
  expect(x * y * workgroupSize * lanes).toBeGreaterThanOrEqual(2 ** 26);
  expect(workgroups(64 * 4 * 10, 4)).toEqual([4, 3]);
});

test.each([
  [() => wgslKernel('sgd' as KernelName), 'Expected the kernel to be one of "adam", '],
  [() => wgslKernel('adam', { lanes: any(2) }), 'Expected lanes to be 1 or 4, got 2.'],
  [() => wgslKernel('adam', { workgroupSize: 0 }), 'Expected workgroupSize to be a whole number of at least 1, got 0.'],
  [
    () => coefficients('adam', { decayMask: () => true }),
    'Expected decayMask to be undefined: use scalars({ decays })',
  ],
  [() => wgslKernel('adam', any({ lane: 1 })), 'Unknown option "lane"; wgslKernel has "lanes", "workgroupSize".'],
  [() => wgslKernel('adam', any(null)), 'Expected the options of wgslKernel to be a record, got null.'],
  [() => wasmKernels(new WebAssembly.Memory({ initial: 1 }), any(null)), 'Expected the options of wasmKernels to be'],
  [() => coefficients('adam', any(null)), 'Expected the options of adam to be a record, got null.'],
  [() => coefficients('adam', {}, any(null)), 'Expected the state to be a record, got null.'],
  [
    () => coefficients('adam').scalars(any({ decay: true })),
    'Unknown option "decay"; scalars has "decays", "isFirst".',
  ],
  [() => coefficients('adamwScheduleFree', {}, { step: 1 }), 'Expected k to be a finite number, got undefined.'],
  [() => coefficients(any('sgd')), 'Expected the algorithm to be one of "adam", '],
  [() => coefficients('adam', any({ lambda: 1 })), 'Unknown option "lambda", got 1; adam has '],
  [() => wasmKernels(any({})), 'Expected the memory to be a WebAssembly.Memory, got an Object.'],
  [
    () => wasmKernels(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })),
    'Expected the memory to be not shared, got a SharedArrayBuffer.',
  ],
  [() => wasmKernels(new WebAssembly.Memory({ initial: 1 }), { wasm: any(1) }), 'Expected wasm to be a WebAssembly.'],
])('refuses bad arguments: %s', (call, sentence) => {
  expect(call).toThrow(sentence);
});
