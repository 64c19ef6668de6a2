// Tests enableWideSimd(): the kernels that it returns, its reasons, and that it checks the bits and the speed. Node 24
// and later have wide kernels; the tests expect them there, and elsewhere the reason why not.

import { readFileSync, rmSync } from 'node:fs';
import v8 from 'node:v8';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { fresh, freshFolder } from './support/fresh.js';
import { array, difference } from './support/numbers.js';

const core = readFileSync(new URL('../dist/core.wasm', import.meta.url));

function restore(): void {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
}

afterEach(restore);

/**
 * Makes this engine look like one that has the flag. Returns the list of the flags that are set, which have no effect.
 */
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

/** Makes this engine look like one that has the flag, and on which it doubles the speed. */
function pretendGain(): void {
  pretend('13.6');
  let now = 0;
  let calls = 0;
  // The start and the end of a kernel of 128 bits, then of a wide one.
  vi.spyOn(performance, 'now').mockImplementation(() => (now += [0, 2, 0, 1][calls++ % 4]));
}

type Arguments = Parameters<typeof import('twinstep').enableWideSimd>;
type Options = Parameters<typeof import('twinstep').adamw>[1];

/** Runs three steps on arrays long enough for threads to share. Returns the parameters and the backend's reason. */
async function train(
  { adamw }: typeof import('twinstep'),
  options?: Options,
): Promise<{ w: Float32Array; reason: string }> {
  const optimizer = await adamw({ w: array(50_001, 1) }, { backend: 'wasm', ...options });
  for (let t = 0; t < 3; t++) optimizer.step({ w: array(50_001, t) });
  const { params, backend } = optimizer;
  const result = { w: (params.w as Float32Array).slice(), reason: backend.reason };
  optimizer.dispose();
  return result;
}

const isOld = parseInt(process.versions.v8, 10) < 13;

/** Whether this engine has wide kernels. */
function isWideHere(): boolean {
  const hasAvx2 = process.platform !== 'linux' || readFileSync('/proc/cpuinfo', 'utf8').includes(' avx2 ');
  return !isOld && process.arch === 'x64' && hasAvx2;
}

/** What `reason` says in this engine. */
function reasonHere(): RegExp {
  if (isWideHere()) return /^The kernels are \d\.\d times as fast in cache, with the same bits\.$/;
  if (isOld) return /^The kernels stay as they are: V8 \S+ cannot widen them, V8 13\.6 of Node 24 can\.$/;
  return /^The kernels stay as they are: widening them gains nothing here \(\d\.\d\d\)\.$/;
}

const one = 'WebAssembly SIMD, asked for by name.';
const two = 'WebAssembly SIMD on 2 threads, asked for by name.';

test.each<[string, Arguments, Options, string]>([
  ['without an argument', [], {}, one],
  ['by bytes', [core], {}, one],
  ['by an ArrayBuffer', [new Uint8Array(core).buffer], {}, one],
  ['for threads', [undefined, { threads: true }], { threads: 2 }, two],
  ['for threads, by bytes', [core, { threads: true }], { threads: 2 }, two],
])('gives the same bits, wide or not: %s', async (_, given, options, reason) => {
  const twinstep = await fresh();
  const usual = await train(twinstep);
  const answer = twinstep.enableWideSimd(...given);
  expect(answer.reason).toMatch(reasonHere());
  expect(answer.enabled).toBe(isWideHere());
  expect(answer.wasm !== undefined).toBe(isWideHere());
  const wide = await train(twinstep, { ...options, wasm: answer.wasm });
  expect(wide.reason).toBe(reason);
  expect(difference(wide.w, usual.w)).toBeUndefined();
});

describe('if wide kernels are faster', () => {
  test.each([
    ['without an argument', []],
    ['by bytes', [core]],
  ] as const)('returns the module: %s', async (_, given) => {
    const twinstep = await fresh();
    pretendGain();
    const { enabled, reason, wasm } = twinstep.enableWideSimd(...given);
    expect([enabled, reason]).toEqual([true, 'The kernels are 2.0 times as fast in cache, with the same bits.']);
    restore();
    const usual = await train(twinstep);
    const wide = await train(twinstep, { wasm });
    expect(wide.reason).toBe(one);
    expect(difference(wide.w, usual.w)).toBeUndefined();
    // Threads cannot use it.
    expect((await train(twinstep, { wasm, threads: 2 })).reason).toContain(
      'One thread, not 2: wasm is compiled for memory that is not shared',
    );
  });

  test.each([
    ['without bytes', undefined],
    ['by bytes', core],
  ])('returns a module for threads: %s', async (_, given) => {
    const twinstep = await fresh();
    pretendGain();
    const { enabled, wasm } = twinstep.enableWideSimd(given, { threads: true });
    expect(enabled).toBe(true);
    restore();
    const usual = await train(twinstep);
    // Also on one thread: averages of an optimizer with threads have its module.
    for (const threads of [1, 2]) {
      const wide = await train(twinstep, { wasm, threads });
      expect(wide.reason).toBe([one, two][threads - 1]);
      expect(difference(wide.w, usual.w)).toBeUndefined();
    }
  });
});

test('asks for the bytes without core.wasm beside it, as in a bundle', async () => {
  const folder = freshFolder();
  rmSync(new URL('core.wasm', folder));
  const { enableWideSimd } = (await import(new URL('index.js', folder).href)) as typeof import('twinstep');
  pretendGain();
  const { enabled, reason } = enableWideSimd();
  expect(enabled).toBe(false);
  expect(reason).toMatch(
    /^The kernels stay as they are: core\.wasm cannot be read beside this code \(Error: ENOENT: .*core\.wasm'\); its bytes may be passed\.$/,
  );
  expect(enableWideSimd(core).enabled).toBe(true);
});

test("does not use another module than the package's", async () => {
  const { enableWideSimd } = await fresh();
  pretendGain();
  expect(enableWideSimd(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0))).toEqual({
    enabled: false,
    reason: 'The kernels stay as they are: the module has no kernel adam.',
  });
});

test('kernels call no functions, with which V8 of Node 26 crashes if it compiles them before they have run', () => {
  const module = new WebAssembly.Module(core);
  let at = 8;
  // Find section 3, which has the number of functions first. Each section begins with its id and size, a byte each.
  while (core[at] !== 3) at += 2 + core[at + 1];
  const kernels = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'function');
  expect(core[at + 2]).toBe(kernels.length);
});

test('sets no flags of an engine that is too old', async () => {
  const twinstep = await fresh();
  const flags = pretend('12.4.254.21-node.57');
  expect(twinstep.enableWideSimd()).toEqual({
    enabled: false,
    reason: 'The kernels stay as they are: V8 12.4.254.21-node.57 cannot widen them, V8 13.6 of Node 24 can.',
  });
  expect(flags).toEqual([]);
});

test('reports an engine without node:v8', async () => {
  const twinstep = await fresh();
  vi.stubGlobal('process', undefined);
  expect(twinstep.enableWideSimd().reason).toBe(
    'The kernels stay as they are: there is no node:v8 to set flags of V8 by.',
  );
});

test('restores the flags if wide kernels are not faster', async () => {
  const twinstep = await fresh();
  const flags = pretend('13.6');
  // With a custom section, so that V8 does not reuse the wide code of the tests above.
  expect(twinstep.enableWideSimd(Uint8Array.from([...core, 0, 2, 1, 0x78])).reason).toMatch(
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

test.each<[unknown[], string]>([
  [[null], "Expected core to be the bytes of the package's core.wasm, got null."],
  [[{ threads: true }], "Expected core to be the bytes of the package's core.wasm, got an Object."],
  [
    [new WebAssembly.Module(core)],
    "Expected core to be the bytes of the package's core.wasm, got a WebAssembly.Module.",
  ],
  [[Uint8Array.of(60, 104)], 'Expected wasm to be a WebAssembly.Module, or the bytes of one, got Uint8Array(2).'],
  [[core, null], 'Expected the options of enableWideSimd to be a record, got null.'],
  [[core, { threads: 4 }], 'Expected threads to be true or false, got 4.'],
  [[core, { thread: true }], 'Unknown option "thread"; enableWideSimd has "threads". Did you mean threads?'],
])('refuses other arguments: %#', async (given, sentence) => {
  const { enableWideSimd } = await fresh();
  pretendGain();
  expect(() => enableWideSimd(...(given as never[]))).toThrow(sentence);
});
