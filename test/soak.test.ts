// Tests that nothing grows with the number of steps: a short `npm run bench:soak`.

import { expect, test } from 'vitest';
import { bounds, violations, soak } from '../bench/soak.js';
import { ways, type Stepping } from '../bench/steppings.js';
import './support/gpu.js';

const STEPS = 20_000;

// Ignores times, since other tests run at the same time.
test.each(Object.entries(ways))('%s: memory and GPU objects do not grow', async (way, open) => {
  const found = violations(way, await soak(await open(), STEPS, 5));
  expect(found.filter((each) => !each.includes('time per step'))).toEqual([]);
});

const constant: Stepping = { step: () => {}, settle: () => Promise.resolve(), gpuObjects: () => 0 };
const kept: object[] = [];
let steps = 0;

const growing: [string, Stepping][] = [
  ['time per step', { ...constant, step: () => wait((steps += 1)) }],
  ['heap', { ...constant, step: () => void kept.push({ steps: steps++ }) }],
  ['resident memory', { ...constant, step: () => void kept.push(new Uint8Array(4000).fill(1)) }],
  ['GPU objects', { ...constant, gpuObjects: () => (steps += 100) }],
];

/** Takes longer with each step. */
function wait(step: number): void {
  for (let i = 0; i < step / 10; i++) Math.fround(Math.sqrt(i));
}

test.each(growing)('finds growth of %s', async (what, stepping) => {
  const found = violations('it', await soak(stepping, STEPS, 5));
  kept.length = 0;
  expect(found.filter((each) => each.startsWith(`Expected ${what} of "it" to grow by at most`))).toHaveLength(1);
});

test('has a growing case for each bound', () => {
  expect(growing.map(([what]) => what)).toEqual(bounds.map(({ what }) => what));
});
