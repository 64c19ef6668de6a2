// Whether threads share a call: what is learnt from how long it took.

import { expect, test } from 'vitest';
import { Pace } from '../src/backends/cpu/threads/pace.js';

const BYTES = 100_000;

/** Goes through jobs that take so many milliseconds, alone and shared, and tells how many of the later half were shared. */
function learn(alone: (job: number) => number, shared: (job: number) => number, jobs = 4000): number {
  const pace = new Pace();
  let later = 0;
  for (let job = 0; job < jobs; job++) {
    const isShared = pace.prefersShared(BYTES);
    pace.took(BYTES, isShared, (isShared ? shared : alone)(job));
    if (job >= jobs / 2 && isShared) later += 1;
  }
  return later / (jobs / 2);
}

const always = (time: number) => () => time;

test('the faster way is gone, and the other costs little', () => {
  expect(learn(always(2), always(1))).toBeGreaterThan(0.98);
  expect(learn(always(1), always(2))).toBeLessThan(0.02);
  expect(learn(always(1), always(0.95))).toBeLessThan(0.2);
});

test('what becomes faster is found', () => {
  expect(learn(always(1), (job) => (job < 1000 ? 3 : 0.5))).toBeGreaterThan(0.9);
  expect(learn(always(1), (job) => (job < 1000 ? 0.5 : 3))).toBeLessThan(0.1);
});

test('threads that have to be woken first count as they are when awake', () => {
  let row = 0;
  let last = -1;
  const cold = (job: number): number => {
    row = job === last + 1 ? row + 1 : 0;
    last = job;
    return row < 2 ? 5 : 0.5;
  };
  expect(learn(always(1), cold)).toBeGreaterThan(0.9);
});

test('a job that is held up does not decide', () => {
  expect(learn(always(1), (job) => (job % 50 === 0 ? 100 : 0.5))).toBeGreaterThan(0.95);
});

test.each([0.005, 0.02, 0.1, 1])('on a clock of %f ms, the slower way is not taken for the faster one', (tick) => {
  let now = 0;
  const read = (): number => Math.floor(now / tick) * tick;
  const timed = (time: number) => (): number => {
    const begun = read();
    now += time;
    return read() - begun;
  };
  expect(learn(timed(0.008), timed(0.015), 40_000)).toBeLessThan(0.1);
});
