// Nothing grows with the number of steps: the short form of `npm run bench:soak`.

import { expect, test } from 'vitest';
import { bounds, complaints, soak } from '../bench/soak.js';
import { ways, type Stepping } from '../bench/steppings.js';
import './support/gpu.js';

const STEPS = 20_000;

// Times are the soak's own matter: other tests run beside this one.
test.each(Object.entries(ways))('%s', async (way, open) => {
  const found = complaints(way, await soak(await open(), STEPS, 5));
  expect(found.filter((each) => !each.includes('time per step'))).toEqual([]);
});

const still: Stepping = { step: () => {}, settle: () => Promise.resolve(), gpuObjects: () => 0 };
const kept: object[] = [];
let steps = 0;

const growing: [string, Stepping][] = [
  ['time per step', { ...still, step: () => wait((steps += 1)) }],
  ['heap', { ...still, step: () => void kept.push({ steps: steps++ }) }],
  ['resident memory', { ...still, step: () => void kept.push(new Uint8Array(4000).fill(1)) }],
  ['GPU objects', { ...still, gpuObjects: () => (steps += 100) }],
];

/** Takes longer from step to step. */
function wait(step: number): void {
  for (let i = 0; i < step / 10; i++) Math.fround(Math.sqrt(i));
}

test.each(growing)('what grows is found: %s', async (what, stepping) => {
  const found = complaints('it', await soak(stepping, STEPS, 5));
  kept.length = 0;
  expect(found.filter((each) => each.startsWith(`Expected ${what} of "it" to grow by at most`))).toHaveLength(1);
});

test('each bound has such a case', () => {
  expect(growing.map(([what]) => what)).toEqual(bounds.map(({ what }) => what));
});
