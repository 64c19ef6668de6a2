// Tests Pace, which learns from measured times whether threads share a call.

import { expect, test } from 'vitest';
import { Pace } from '../src/backends/cpu/threads/pace.js';

const BYTES = 100_000;

/**
 * Runs jobs that take the given milliseconds alone or shared. Returns which part of the second half of the jobs was
 * shared.
 */
function learn(alone: (job: number) => number, shared: (job: number) => number, jobs = 4000): number {
  const pace = new Pace();
  let later = 0;
  for (let job = 0; job < jobs; job++) {
    const isShared = pace.prefersShared(BYTES);
    pace.record(BYTES, isShared, (isShared ? shared : alone)(job));
    if (job >= jobs / 2 && isShared) later += 1;
  }
  return later / (jobs / 2);
}

const always = (time: number) => () => time;

test('takes the faster way almost always', () => {
  expect(learn(always(2), always(1))).toBeGreaterThan(0.98);
  expect(learn(always(1), always(2))).toBeLessThan(0.02);
  expect(learn(always(1), always(0.95))).toBeLessThan(0.2);
});

test('finds the other way if it becomes faster', () => {
  expect(learn(always(1), (job) => (job < 1000 ? 3 : 0.5))).toBeGreaterThan(0.9);
  expect(learn(always(1), (job) => (job < 1000 ? 0.5 : 3))).toBeLessThan(0.1);
});

test('measures threads when they are awake', () => {
  let row = 0;
  let last = -1;
  const cold = (job: number): number => {
    row = job === last + 1 ? row + 1 : 0;
    last = job;
    return row < 2 ? 5 : 0.5;
  };
  expect(learn(always(1), cold)).toBeGreaterThan(0.9);
});

test('ignores rare slow jobs', () => {
  expect(learn(always(1), (job) => (job % 50 === 0 ? 100 : 0.5))).toBeGreaterThan(0.95);
});

test.each([0.005, 0.02, 0.1, 1])('with a clock of %f ms, it does not prefer the slower way', (tick) => {
  let now = 0;
  const read = (): number => Math.floor(now / tick) * tick;
  const timed = (time: number) => (): number => {
    const begun = read();
    now += time;
    return read() - begun;
  };
  expect(learn(timed(0.008), timed(0.015), 40_000)).toBeLessThan(0.1);
});
