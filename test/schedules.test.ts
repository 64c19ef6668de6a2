// Tests twinstep/schedules: properties of every schedule, edge cases, and values of PyTorch, Optax and Hugging Face.

import { readFileSync } from 'node:fs';
import * as schedules from 'twinstep/schedules';
import type { Schedule } from 'twinstep/schedules';
import { describe, expect, test } from 'vitest';
import { cosPi } from '../src/math/cospi.js';
import { make, text, type Call } from '../tools/schedule-calls.js';
import { draw, panels } from '../tools/schedules-picture.js';
import { SCHEDULE } from './support/tolerances.js';

interface Golden extends Call {
  readonly source: string;
  readonly values: number[];
  readonly beta1?: number[];
}

interface Plateau {
  readonly options: schedules.ReduceOnPlateauOptions;
  readonly source: string;
  /** null stands for NaN. */
  readonly metrics: (number | null)[];
  /** After each metric: best, num_bad_epochs, cooldown_counter, last_epoch and the multiplier. */
  readonly states: (number | null)[][];
}

const golden = JSON.parse(readFileSync(new URL('golden/schedules.json', import.meta.url), 'utf8')) as {
  cases: Golden[];
  plateaus: Plateau[];
  cosPi: [number, number][];
};
const {
  chained,
  constant,
  cosineAnnealing,
  cosineAnnealingWarmRestarts,
  cosineDecay,
  exponential,
  inverseSqrt,
  linear,
  linearWarmup,
  multiStep,
  oneCycle,
  polynomial,
  reduceOnPlateau,
  sequential,
  step,
  warmupStableDecay,
} = schedules;

const first = (schedule: Schedule, count: number): number[] => Array.from({ length: count }, (_, t) => schedule(t));
// Passes values that the types refuse.
const any = (value: unknown): never => value as never;
const FAR = [1e3, 1e6, 2 ** 31, 2 ** 31 + 1, Number.MAX_SAFE_INTEGER];

describe.each(golden.cases.map((each) => [text(each), each] as const))(
  '%s',
  (...[, { source, values, beta1, ...of }]) => {
    test(`matches ${source}`, () => {
      const ours = first(make(of), values.length);
      for (const [t, expected] of values.entries()) {
        const bound = SCHEDULE.relative * expected + SCHEDULE.absolute;
        expect(Math.abs(ours[t] - expected), `step ${t}: ${ours[t]} and ${expected}`).toBeLessThanOrEqual(bound);
      }
      if (beta1 === undefined) return;
      const pairs = values.map((_, t) => (make(of) as schedules.OneCycle).betas(0.99)(t));
      expect(pairs.map(([, beta2]) => beta2)).toEqual(values.map(() => 0.99));
      for (const [t, expected] of beta1.entries()) {
        expect(Math.abs(pairs[t][0] - expected), `beta1 of step ${t}`).toBeLessThanOrEqual(SCHEDULE.relative);
      }
    });

    test('stays between 0 and 1 at any step', () => {
      const schedule = make(of);
      for (const value of [...first(schedule, 400), ...FAR.map(schedule)]) {
        expect(value >= 0 && value <= 1 + 2 ** -52, String(value)).toBe(true);
      }
    });

    test('does not depend on the order of calls', () => {
      const steps = [...Array(200).keys(), ...FAR];
      const backwards = make(of);
      const forwards = make(of);
      const expected = steps.map(forwards);
      expect(steps.toReversed().map(backwards).toReversed()).toEqual(expected);
      expect(steps.map(forwards)).toEqual(expected);
    });

    test.each([-1, 0.5, NaN, Infinity, 2 ** 53, any('1'), any(undefined)])('refuses step %s', (bad) => {
      const shown = typeof bad === 'string' ? '"1"' : String(bad);
      expect(() => make(of)(bad)).toThrow(`Expected completed steps to be a whole number of at least 0, got ${shown}.`);
    });
  },
);

test('every schedule has a golden case', () => {
  const covered = [...golden.cases.map(({ call }) => call), 'reduceOnPlateau'];
  expect([...new Set(covered)].toSorted()).toEqual(Object.keys(schedules).toSorted());
});

describe('edge cases', () => {
  const edges: [string, Schedule, number[]][] = [
    ['a constant of no steps is 1', constant({ totalIters: 0 }), [1, 1]],
    ['linear with no steps is at its end', linear({ totalIters: 0, endFactor: 0.25 }), [0.25, 0.25]],
    ['a warm-up of no steps is 1', linearWarmup({ totalIters: 0 }), [1, 1]],
    ['a warm-up of no steps continues at once', linearWarmup({ totalIters: 0 }, step({ stepSize: 1, gamma: 0.5 })), [1, 0.5]],
    ['a warm-up of one step takes one', linearWarmup({ totalIters: 1 }), [0, 1, 1]],
    ['a warm-up begins at startFactor', linearWarmup({ totalIters: 2, startFactor: 0.5 }), [0.5, 0.75, 1, 1]],
    ['a decay of no steps is at its end', cosineDecay({ decaySteps: 0, alpha: 0.125 }), [0.125, 0.125]],
    ['cosineDecay stays at its end', cosineDecay({ decaySteps: 2, alpha: 0.25 }), [1, 0.625, 0.25, 0.25, 0.25]],
    ['cosineAnnealing rises again', cosineAnnealing({ tMax: 2 }), [1, 0.5, 0, 0.5, 1, 0.5]],
    ['a polynomial of no steps is 0', polynomial({ totalIters: 0 }), [0, 0]],
    ['a polynomial with power 0 is 1', polynomial({ totalIters: 2, power: 0 }), [1, 1, 1, 1]],
    ['multiStep without milestones is 1', multiStep({ milestones: [] }), [1, 1]],
    ['milestones may be unsorted and repeated', multiStep({ milestones: [3, 1, 1, 0], gamma: 0.5 }), [0.5, 0.125, 0.125, 0.0625]],
    ['step with a gamma of 0 is 0 after the first stair', step({ stepSize: 2, gamma: 0 }), [1, 1, 0, 0, 0]],
    ['exponential with a gamma of 0 is 0 after the first step', exponential({ gamma: 0 }), [1, 0, 0]],
    ['warmupStableDecay without steps', warmupStableDecay({ warmupSteps: 0, stableSteps: 0, decaySteps: 0, minLrRatio: 0.5 }), [0.5, 0.5]],
    ['inverseSqrt without warm-up', inverseSqrt({ warmupSteps: 0, timescale: 1 }), [1, Math.SQRT1_2]],
    ['one cycle of one step is at its end', oneCycle({ totalSteps: 1, divFactor: 2, finalDivFactor: 2 }), [0.25, 0.25]],
    ['one cycle whose rise has no steps begins at the peak', oneCycle({ totalSteps: 4, pctStart: 0.25 }), [1]],
    ['a sequence of one', sequential([step({ stepSize: 1, gamma: 0.5 })], []), [1, 0.5, 0.25]],
    ['a sequence with a phase of no steps', sequential([() => 1, () => 2, (t) => 3 + t], [2, 2]), [1, 1, 3, 4]],
    ['a chain of one', chained(step({ stepSize: 1, gamma: 0.5 })), [1, 0.5, 0.25]],
  ]; // prettier-ignore
  test.each(edges)('%s', (...[, schedule, values]) => {
    expect(first(schedule, values.length)).toEqual(values);
  });

  test('cosineAnnealing repeats exactly', () => {
    const schedule = cosineAnnealing({ tMax: 37, minLrRate: 0.1 });
    for (let t = 0; t < 74; t++) {
      for (const waves of [1, 2, 1000, 1e10]) expect(schedule(t + 74 * waves)).toBe(schedule(t));
    }
  });

  test.each([
    [1, 2],
    [3, 2],
    [10, 3],
    [7, 10],
    [1, 1000],
  ])('warm restarts with t0 = %i and tMult = %i are 1 only at restarts', (t0, tMult) => {
    const schedule = cosineAnnealingWarmRestarts({ t0, tMult, minLrRate: 0.01 });
    for (let start = t0, length = t0 * tMult; start + length < Number.MAX_SAFE_INTEGER;) {
      expect(schedule(start)).toBe(1);
      expect(schedule(start - 1) < 1 || length === tMult).toBe(true);
      expect(schedule(start + 1)).toBe(cosineDecay({ decaySteps: length, alpha: 0.01 })(1));
      start += length;
      length *= tMult;
    }
  });

  test('one cycle peaks at 1 with the least momentum, and stays at its end', () => {
    const cycle = oneCycle({ totalSteps: 100 });
    expect([cycle(0), cycle(29), cycle(99)]).toEqual([0.04, 1, 0.04 / 1e4]);
    expect([0, 29, 99].map(cycle.momentum)).toEqual([0.95, 0.85, 0.95]);
    expect(first(cycle, 100).filter((value) => value === 1)).toHaveLength(1);
    for (const beyond of [100, 101, 1e9]) expect([cycle(beyond), cycle.momentum(beyond)]).toEqual([0.04 / 1e4, 0.95]);
    expect(cycle.betas(0.999)(29)).toEqual([0.85, 0.999]);
  });

  test('step() has stairs of exactly stepSize, even very long ones', () => {
    const last = Number.MAX_SAFE_INTEGER;
    for (const stepSize of [3, 7, 10, 2 ** 20 + 1, last]) {
      const stairs = step({ stepSize, gamma: 1 - 2 ** -50 });
      const edge = last - (last % stepSize);
      expect(stairs(edge - 1) > stairs(edge), String(stepSize)).toBe(true);
    }
  });

  test('an undefined option has its default', () => {
    const undefinedOptions = { factor: undefined, totalIters: undefined } as unknown as schedules.ConstantOptions;
    expect(first(constant(undefinedOptions), 9)).toEqual(first(constant(), 9));
  });

  test('schedules copy the arrays passed to them', () => {
    const milestones = [1];
    const parts = [constant({ factor: 0.5 }), constant({ factor: 0.25 })];
    const [stairs, row] = [multiStep({ milestones, gamma: 0.5 }), sequential(parts, milestones)];
    milestones[0] = 5;
    parts.reverse();
    expect([first(stairs, 3), first(row, 3)]).toEqual([[1, 0.5, 0.5], [0.5, 0.25, 0.25]]); // prettier-ignore
  });
});

describe('bad options throw', () => {
  const whole = 'to be a whole number of at least';
  const refused: [() => unknown, string][] = [
    [() => cosineAnnealing({ tMax: 0 }), `Expected tMax ${whole} 1, got 0.`],
    [() => cosineAnnealing({ tMax: 1.5 }), `Expected tMax ${whole} 1, got 1.5.`],
    [() => cosineAnnealing(any({})), `Expected tMax ${whole} 1, got undefined.`],
    [() => cosineAnnealing(any({ tMax: null })), `Expected tMax ${whole} 1, got null.`],
    [() => cosineAnnealing(any({ T_max: 10 })), 'Unknown option "T_max", got 10; cosineAnnealing has "tMax", "minLrRate".'],
    [() => cosineAnnealing(any(10)), 'Expected the options of cosineAnnealing to be a record, got 10.'],
    [() => cosineAnnealing(any(undefined)), 'Expected the options of cosineAnnealing to be a record, got undefined.'],
    [() => cosineAnnealing({ tMax: 5, minLrRate: -1 }), 'Expected minLrRate to be a finite number of at least 0, got -1.'],
    [() => cosineDecay({ decaySteps: -1 }), `Expected decaySteps ${whole} 0, got -1.`],
    [() => cosineDecay({ decaySteps: 5, exponent: Infinity }), 'Expected exponent to be a finite number of at least 0, got Infinity.'],
    [() => cosineAnnealingWarmRestarts({ t0: 5, tMult: 1.5 }), `Expected tMult ${whole} 1, got 1.5.`],
    [() => cosineAnnealingWarmRestarts({ t0: 0 }), `Expected t0 ${whole} 1, got 0.`],
    [() => constant({ factor: 2 }), 'Expected factor to be a number from 0 to 1, got 2.'],
    [() => linear({ startFactor: NaN }), 'Expected startFactor to be a number from 0 to 1, got NaN.'],
    [() => linear({ totalIters: -5 }), `Expected totalIters ${whole} 0, got -5.`],
    [() => polynomial({ power: -1 }), 'Expected power to be a finite number of at least 0, got -1.'],
    [() => exponential(any({})), 'Expected gamma to be a finite number of at least 0, got undefined.'],
    [() => exponential(any({ gamma: '0.9' })), 'Expected gamma to be a finite number of at least 0, got "0.9".'],
    [() => step({ stepSize: 0 }), `Expected stepSize ${whole} 1, got 0.`],
    [() => multiStep({ milestones: [3, -1] }), 'Expected milestones to be an array of whole numbers of at least 0, got [3, -1].'],
    [() => multiStep(any({ milestones: 30 })), 'Expected milestones to be an array of whole numbers of at least 0, got 30.'],
    [() => inverseSqrt({ warmupSteps: 5, timescale: 0 }), 'Expected timescale to be a finite number of more than 0, got 0.'],
    [() => inverseSqrt({ warmupSteps: NaN }), `Expected warmupSteps ${whole} 0, got NaN.`],
    [() => oneCycle({ totalSteps: 0 }), `Expected totalSteps ${whole} 1, got 0.`],
    [() => oneCycle({ totalSteps: 5, pctStart: 30 }), 'Expected pctStart to be a number from 0 to 1, got 30.'],
    [() => oneCycle(any({ totalSteps: 5, annealStrategy: 'cosine' })), 'Expected annealStrategy to be one of "cos", "linear", got "cosine".'],
    [() => oneCycle(any({ totalSteps: 5, threePhase: 1 })), 'Expected threePhase to be true or false, got 1.'],
    [() => oneCycle({ totalSteps: 5, maxMomentum: 1 }), 'Expected maxMomentum to be a number of at least 0 and less than 1, got 1.'],
    [() => oneCycle({ totalSteps: 5 }).betas(1), 'Expected beta2 to be a number of at least 0 and less than 1, got 1.'],
    [() => warmupStableDecay(any({ warmupSteps: 1, decaySteps: 1 })), `Expected stableSteps ${whole} 0, got undefined.`],
    [
      () => warmupStableDecay(any({ warmupSteps: 1, stableSteps: 1, decaySteps: 1, decayType: 'sqrt' })),
      'Expected decayType to be one of "linear", "cosine", "1-sqrt", got "sqrt".',
    ],
    [() => linearWarmup({ totalIters: 5 }, any(0.5)), 'Expected the second argument of linearWarmup to be a function from completed steps to a multiplier of lr, got 0.5.'],
    [() => sequential([], []), 'Expected the schedules of sequential to be an array of at least one, got [].'],
    [() => sequential([linear()], [3]), 'Expected milestones to be an array of length 0, one less than the schedules, got [3].'],
    [() => sequential([linear(), linear(), linear()], [3, 2]), 'Expected milestones to be in ascending order, got [3, 2].'],
    [() => sequential([linear(), any(1)], [3]), 'Expected schedules[1] of sequential to be a function from completed steps'],
    [() => chained(), 'Expected the schedules of chained to be an array of at least one, got [].'],
    [() => chained(any({ gamma: 1 })), 'Expected schedules[0] of chained to be a function from completed steps'],
    [() => reduceOnPlateau({ factor: 1 }), 'Expected factor to be a number of at least 0 and less than 1, got 1.'],
    [() => reduceOnPlateau(any({ mode: 'least' })), 'Expected mode to be one of "min", "max", got "least".'],
    [() => reduceOnPlateau(any({ last_epoch: 1 })), 'Unknown option "last_epoch", got 1; reduceOnPlateau has "mode", "factor",'],
    [
      () => cosineAnnealing(any({ tMax: 100, etaMin: 1e-5 })),
      'etaMin is an absolute lr in PyTorch, and cosineAnnealing takes minLrRate, a fraction of lr: divide it by lr, got 0.00001.',
    ],
    [() => cosineAnnealingWarmRestarts(any({ t0: 5, eta_min: 0 })), 'cosineAnnealingWarmRestarts takes minLrRate, a fraction of lr'],
    [() => reduceOnPlateau(any({ min_lr: 0.1 })), 'min_lr is an absolute lr in PyTorch, and reduceOnPlateau takes minLrRate'],
    [() => reduceOnPlateau(any({ eps: 0 })), 'eps is an absolute lr in PyTorch, and reduceOnPlateau takes minReduction'],
    [() => step(any({ stepSize: 5, eps: 0 })), 'Unknown option "eps", got 0; step has "stepSize", "gamma".'],
    [() => reduceOnPlateau().step(any('0.5')), 'Expected the metric to be a number, got "0.5".'],
  ]; // prettier-ignore
  test.each(refused.map(([refuse, message]) => [message, refuse] as const))('%s', (message, refuse) => {
    expect(refuse).toThrow(message);
  });
});

describe('reduceOnPlateau', () => {
  const metrics = ({ metrics: given }: Plateau): number[] => given.map((metric) => metric ?? NaN);

  test.each(golden.plateaus.map((each) => [each.source, each] as const))('matches %s', (...[, plateau]) => {
    const schedule = reduceOnPlateau(plateau.options);
    for (const [t, metric] of metrics(plateau).entries()) {
      schedule.step(metric);
      const { best, num_bad_epochs, cooldown_counter, last_epoch, multiplier } = schedule.stateDict();
      const [expected, ...others] = plateau.states[t].toReversed();
      expect([last_epoch, cooldown_counter, num_bad_epochs, best], `metric ${t}`).toEqual(others);
      expect(Math.abs(multiplier - expected!), `metric ${t}`).toBeLessThanOrEqual(SCHEDULE.relative * expected!);
      expect([0, 17, 1e9].map(schedule)).toEqual([multiplier, multiplier, multiplier]);
    }
  });

  test.each(golden.plateaus.map((each) => [each.source, each] as const))(
    'resumes like an uninterrupted run: %s',
    (...[, plateau]) => {
      const all = metrics(plateau);
      for (let broken = 0; broken <= all.length; broken += 3) {
        const [before, after] = [reduceOnPlateau(plateau.options), reduceOnPlateau(plateau.options)];
        for (const metric of all.slice(0, broken)) before.step(metric);
        after.loadStateDict(JSON.parse(JSON.stringify(before.stateDict())));
        for (const metric of all.slice(broken)) {
          for (const each of [before, after]) each.step(metric);
          expect(after.stateDict()).toEqual(before.stateDict());
        }
      }
    },
  );

  // After a best of 100: a metric just beyond the threshold, and one just short of it.
  test.each([
    [{}, 99.98, 99.995],
    [{ threshold: 0.1 }, 89, 91],
    [{ threshold: 0.1, thresholdMode: 'abs' }, 99.8, 99.95],
    [{ threshold: 0.1, mode: 'max' }, 111, 109],
    [{ threshold: 0.1, mode: 'max', thresholdMode: 'abs' }, 100.2, 100.05],
  ] as const)('with %j %f is better than 100, and %f is not', (options, better, worse) => {
    const isBetter = (metric: number): boolean => {
      const schedule = reduceOnPlateau(options);
      for (const each of [100, metric]) schedule.step(each);
      return schedule.stateDict().num_bad_epochs === 0;
    };
    expect([better, worse].map(isBetter)).toEqual([true, false]);
  });

  const good = { best: 1, num_bad_epochs: 0, cooldown_counter: 0, last_epoch: 1, multiplier: 0.5 };
  const bad: [unknown, string][] = [
    [null, 'Expected the state of reduceOnPlateau to be a record with "best", "num_bad_epochs",'],
    [{ ...good, best: NaN }, 'Expected best in the state of reduceOnPlateau to be a number, or null, got NaN.'],
    [{ ...good, num_bad_epochs: -1 }, 'Expected num_bad_epochs in the state of reduceOnPlateau to be a whole number of at least 0, less than 2^53 - 1, got -1.'],
    [{ ...good, cooldown_counter: 0.5 }, 'Expected cooldown_counter in the state of reduceOnPlateau to be a whole number of at least 0, less than 2^53 - 1, got 0.5.'],
    [{ ...good, last_epoch: undefined }, 'Expected last_epoch in the state of reduceOnPlateau to be a whole number of at least 0, less than 2^53 - 1, got undefined.'],
    [{ ...good, multiplier: 2 }, 'Expected multiplier in the state of reduceOnPlateau to be a number from 0 to 1, got 2.'],
  ]; // prettier-ignore
  test.each(bad)('refuses the state %j', (dict, message) => {
    const schedule = reduceOnPlateau();
    for (const metric of [3, 2, 5]) schedule.step(metric);
    const before = schedule.stateDict();
    expect(() => schedule.loadStateDict(dict)).toThrow(message);
    expect(schedule.stateDict()).toEqual(before);
  });

  test('is part of the state of schedules composed of it', () => {
    const build = (): { plateau: schedules.ReduceOnPlateau; whole: schedules.ScheduleMemory & Schedule } => {
      const plateau = reduceOnPlateau({ patience: 0, factor: 0.5 });
      const row = sequential([linear(), linearWarmup({ totalIters: 2 }, plateau)], [5]);
      return { plateau, whole: chained(row, constant({ totalIters: 0 })) as never };
    };
    const [one, two] = [build(), build()];
    for (const metric of [1, 1, 1]) one.plateau.step(metric);
    expect(one.whole(100)).toBe(0.25);
    const dict = structuredClone(one.whole.stateDict());
    expect(dict).toEqual({
      schedules: [{ schedules: [null, { schedules: [one.plateau.stateDict()] }] }, null],
    });
    two.whole.loadStateDict(dict);
    expect(two.plateau.stateDict()).toEqual(one.plateau.stateDict());
    expect(two.whole(100)).toBe(0.25);
    const [row] = dict.schedules as { schedules: unknown[] }[];
    const refused: [unknown, string][] = [
      [{}, 'Expected the state of a schedule to be a record with 2 schedules, got an Object.'],
      [{ schedules: [row] }, 'Expected the state of a schedule to be a record with 2 schedules, got an Object.'],
      [
        { schedules: [row, 1] },
        'Expected schedules[1] in the state of a schedule to be null: that schedule has no state, got 1.',
      ],
      [
        { schedules: [{ schedules: [0, row.schedules[1]] }, null] },
        'Expected schedules[0] in the state of a schedule to be null: that schedule has no state, got 0.',
      ],
    ];
    for (const [other, message] of refused) {
      const fresh = build();
      expect(() => fresh.whole.loadStateDict(other)).toThrow(message);
      expect(fresh.plateau.stateDict()).toEqual(build().plateau.stateDict());
    }
    expect('stateDict' in chained(linear())).toBe(false);
  });
});

describe('cosPi', () => {
  test('has an error of at most one ulp', () => {
    for (const [x, expected] of golden.cosPi) {
      // An ulp is 2^-52 of the power of two below.
      const ulp = expected === 0 ? 0 : 2 ** (Math.floor(Math.log2(Math.abs(expected))) - 52);
      expect(Math.abs(cosPi(x) - expected), `cosPi(${x})`).toBeLessThanOrEqual(ulp);
    }
  });

  test('is exact at multiples of 1/2', () => {
    expect([0, 0.5, 1, 1.5, 2, 2.5, 1e15].map(cosPi)).toEqual(
      [1, 0, -1, 0, 1, 0, 1].map((x) => (x === 0 ? expect.closeTo(0, 300) : x)),
    );
  });

  test('never rises from 0 to 1, and never falls from 1 to 2', () => {
    for (let k = 0; k < 20_000; k++) {
      expect(cosPi((k + 1) / 20_000) <= cosPi(k / 20_000)).toBe(true);
      expect(cosPi(1 + (k + 1) / 20_000) >= cosPi(1 + k / 20_000)).toBe(true);
    }
  });
});

test('docs/schedules.svg shows the current values of every schedule', () => {
  expect([...new Set(panels.map(({ of }) => of.call))].toSorted()).toEqual(Object.keys(schedules).toSorted());
  const committed = readFileSync(new URL('../docs/schedules.svg', import.meta.url), 'utf8');
  // toBe would print both files. Draw twice: the second drawing must not depend on the first.
  expect([draw() === committed, draw() === committed], 'run `npm run plots`').toEqual([true, true]);
});

test('uses only exact functions of Math, so that values do not depend on the engine', () => {
  const source = readFileSync(new URL('../dist/schedules.js', import.meta.url), 'utf8').replace(
    /\/\*[^]*?\*\/|\/\/.*/g,
    '',
  );
  const functions = new Set(source.match(/Math\.\w+/g));
  expect([...functions].toSorted()).toEqual(['Math.PI', 'Math.floor', 'Math.max', 'Math.min', 'Math.sqrt']);
  expect(source.match(/\S+ \*\* \S+/g)).toEqual(['(2 ** 27']);
});
