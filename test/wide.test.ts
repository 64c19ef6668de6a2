// Tests enableWideSimd(): its answers, and that it checks the wide kernels. `npm run test:matrix` tests in Node 24 and
// later that wide kernels give the same bits.

import { readFileSync } from 'node:fs';
import v8 from 'node:v8';
import { afterEach, expect, test, vi } from 'vitest';
import { fresh } from './support/fresh.js';
import { array, difference } from './support/numbers.js';

const core = readFileSync(new URL('../dist/core.wasm', import.meta.url));

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Makes this engine look like the given version of V8, and returns the flags that are set. */
function pretend(version: string): string[] {
  const flags: string[] = [];
  vi.spyOn(v8, 'setFlagsFromString').mockImplementation((flag) => void flags.push(flag));
  const { process } = globalThis;
  vi.stubGlobal('process', {
    versions: { v8: version },
    execArgv: ['--no-liftoff'],
    getBuiltinModule: (name: string) => process.getBuiltinModule(name),
  });
  return flags;
}

/** Takes three steps and returns the parameters. */
async function train(twinstep: typeof import('twinstep'), wasm?: WebAssembly.Module): Promise<Float32Array> {
  const optimizer = await twinstep.adamw({ w: array(1000, 1) }, { backend: 'wasm', wasm });
  for (let t = 0; t < 3; t++) optimizer.step({ w: array(1000, t) });
  return optimizer.params.w.slice();
}

test('gives the same bits, wide or not', async () => {
  const twinstep = await fresh();
  const before = await train(twinstep);
  const answer = twinstep.enableWideSimd(core);
  expect(answer.reason).toMatch(
    answer.enabled
      ? /^The kernels are \d\.\d times as fast in cache, with the same bits\.$/
      : /^The kernels stay as they are: /,
  );
  expect(answer.wasm !== undefined).toBe(answer.enabled);
  expect(difference(await train(twinstep, answer.wasm), before)).toBeUndefined();
});

test('kernels call no functions, with which V8 of Node 26 crashes if it compiles them before they have run', () => {
  const module = new WebAssembly.Module(core);
  let at = 8;
  // Finds section 3, which begins with the number of functions. Each section begins with one byte for id and for size.
  while (core[at] !== 3) at += 2 + core[at + 1];
  const kernels = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'function');
  expect(core[at + 2]).toBe(kernels.length);
});

test('sets no flags of an engine that is too old', async () => {
  const twinstep = await fresh();
  const flags = pretend('12.4.254.21-node.57');
  expect(twinstep.enableWideSimd(core)).toEqual({
    enabled: false,
    reason: 'The kernels stay as they are: V8 12.4.254.21-node.57 cannot widen them, V8 13.6 of Node 24 can.',
  });
  expect(flags).toEqual([]);
});

test('reports an engine without node:v8', async () => {
  const twinstep = await fresh();
  vi.stubGlobal('process', undefined);
  expect(twinstep.enableWideSimd(core).reason).toBe(
    'The kernels stay as they are: there is no node:v8 to set flags of V8 by.',
  );
});

test('restores the flags if wide kernels are not faster', async () => {
  const twinstep = await fresh();
  const flags = pretend('13.6');
  expect(twinstep.enableWideSimd(core).reason).toMatch(
    /^The kernels stay as they are: widening them gains nothing here \(\d\.\d\d\)\.$/,
  );
  // The process was started with --no-liftoff, so that flag must stay.
  const set = ['--experimental-wasm-revectorize', '--no-wasm-lazy-compilation'];
  const unset = ['--no-experimental-wasm-revectorize', '--wasm-lazy-compilation'];
  const [narrow, wide] = [
    [set[1], unset[1]],
    [...set, ...unset],
  ];
  expect(flags.toSorted()).toEqual([...narrow, ...wide].toSorted());
});

// Changes every sixth addition, so that each kernel has some.
const additions = readAdditions();
test.each(additions.filter((_, i) => i % 6 === 0))('does not use kernels that give other bits: byte %i', async (at) => {
  const twinstep = await fresh();
  pretend('13.6');
  const { Module } = WebAssembly;
  vi.stubGlobal(
    'WebAssembly',
    Object.assign(Object.create(WebAssembly) as typeof WebAssembly, {
      Module: function compile(bytes: Uint8Array<ArrayBuffer>) {
        const isWide = String.fromCharCode(...bytes.subarray(-4)) === 'wide';
        // An f32x4.add becomes f32x4.sub.
        return new Module(isWide ? bytes.with(at, 0xe5) : bytes);
      },
    }),
  );
  Object.assign(WebAssembly.Module, { exports: Module.exports });
  const { enabled, reason, wasm } = twinstep.enableWideSimd(core);
  expect(reason).toMatch(/^The kernels stay as they are: the wide kernel \w+ gives other bits\.$/);
  expect([enabled, wasm]).toEqual([false, undefined]);
});

/** Returns the offsets of f32x4.add in core.wasm. */
function readAdditions(): number[] {
  const isAddition = (at: number): boolean => core[at] === 0xe4 && core[at - 1] === 0xfd && core[at + 1] === 1;
  return Array.from(core.keys()).filter(isAddition);
}

test.each([
  [undefined, "Expected core to be the bytes of the package's core.wasm, got undefined."],
  [new WebAssembly.Module(core), "Expected core to be the bytes of the package's core.wasm, got a WebAssembly.Module."],
  [Uint8Array.of(60, 104), 'Expected wasm to be a WebAssembly.Module, or the bytes of one, got Uint8Array(2).'],
])('refuses %s', async (given, sentence) => {
  const twinstep = await fresh();
  expect(() => twinstep.enableWideSimd(given as never)).toThrow(sentence);
});
