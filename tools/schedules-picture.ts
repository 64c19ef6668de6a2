// Draws all schedules: a small chart for each, with the call as its title.

import type { OneCycle, ReduceOnPlateau, Schedule } from 'twinstep/schedules';
import { line, svg } from './chart.js';
import { call, make, text, type Call } from './schedule-calls.js';

interface Panel {
  readonly of: Call;
  /** Draws beta1 instead of the multiplier of lr. */
  readonly beta1?: boolean;
}

/** The panels, in the order of the table in docs/schedules.md. */
export const panels: readonly Panel[] = [
  { of: call('constant', { factor: 0.5, totalIters: 30 }) },
  { of: call('linear', { startFactor: 1, endFactor: 0.1, totalIters: 80 }) },
  { of: call('linearWarmup', { totalIters: 20 }, call('cosineDecay', { decaySteps: 80 })) },
  { of: call('cosineAnnealing', { tMax: 40, minLrRate: 0.1 }) },
  { of: call('cosineDecay', { decaySteps: 80, alpha: 0.1 }) },
  { of: call('cosineAnnealingWarmRestarts', { t0: 15, tMult: 2 }) },
  { of: call('polynomial', { totalIters: 80, power: 2 }) },
  { of: call('exponential', { gamma: 0.97 }) },
  { of: call('step', { stepSize: 20, gamma: 0.5 }) },
  { of: call('multiStep', { milestones: [30, 80], gamma: 0.3 }) },
  { of: call('inverseSqrt', { warmupSteps: 10 }) },
  { of: call('warmupStableDecay', { warmupSteps: 15, stableSteps: 45, decaySteps: 40, decayType: '1-sqrt' }) },
  { of: call('oneCycle', { totalSteps: 100 }) },
  { of: call('oneCycle', { totalSteps: 100 }), beta1: true },
  { of: call('oneCycle', { totalSteps: 100, threePhase: true, annealStrategy: 'linear' }) },
  {
    of: call(
      'sequential',
      [call('linearWarmup', { totalIters: 10 }), call('exponential', { gamma: 0.95 }), call('cosineDecay', { decaySteps: 40 })],
      [10, 60],
    ),
  },
  { of: call('chained', call('exponential', { gamma: 0.98 }), call('step', { stepSize: 25, gamma: 0.6 })) },
  { of: call('reduceOnPlateau', { factor: 0.5 }) },
]; // prettier-ignore

const STEPS = 100;
const COLUMNS = 3;
const [WIDTH, HEIGHT] = [400, 210];
const LINE_HEIGHT = 15;
const steps = [...Array(STEPS + 1).keys()];

/** A loss that falls for 35 steps, then again for 15 steps from step 60 on. */
const loss = (t: number): number => 1 / (1 + Math.min(t, 35) + Math.min(Math.max(t - 60, 0), 15));

function values({ of, beta1 }: Panel): number[] {
  const schedule: Schedule = make(of);
  if (beta1) return steps.map((schedule as OneCycle).momentum);
  return steps.map((t) => {
    const value = schedule(t);
    if ('step' in schedule) (schedule as ReduceOnPlateau).step(loss(t));
    return value;
  });
}

/** Returns the title of a panel, in lines that fit. */
function title({ of, beta1 }: Panel): string[] {
  const [start, ...words] = `${text(of)}${beta1 ? '.momentum' : ''}`.split(/(?<=,) (?=[a-z])/);
  const lines = [start];
  for (const word of words) {
    const joined = `${lines.at(-1)} ${word}`;
    if (joined.length <= 52) lines[lines.length - 1] = joined;
    else lines.push(`  ${word}`);
  }
  return lines;
}

export function draw(): string {
  const place = (i: number) => ({ x: (i % COLUMNS) * WIDTH, y: Math.floor(i / COLUMNS) * HEIGHT });
  const grids = panels.map((_, i) => ({
    left: place(i).x + 48,
    top: place(i).y + 66,
    width: WIDTH - 72,
    height: HEIGHT - 98,
  }));
  const option = {
    title: panels.map((panel, i) => ({
      text: title(panel).join('\n'),
      left: place(i).x + 44,
      top: place(i).y + 57 - title(panel).length * LINE_HEIGHT,
      padding: 0,
      textStyle: {
        fontSize: 11,
        lineHeight: LINE_HEIGHT,
        fontWeight: 'normal',
        fontFamily: 'monospace',
        color: '#1f2937',
      },
    })),
    grid: grids,
    xAxis: panels.map((_, gridIndex) => ({
      type: 'value',
      gridIndex,
      max: STEPS,
      interval: 20,
      splitLine: { show: false },
    })),
    yAxis: panels.map(({ beta1 }, gridIndex) => ({
      type: 'value',
      gridIndex,
      min: beta1 ? 0.8 : 0,
      max: 1,
      interval: beta1 ? 0.05 : 0.25,
    })),
    series: panels.map((panel, i) => {
      const drawn = values(panel);
      const data = drawn.map((value, t) => [t, value]);
      // A schedule with few different values is constant in between: draw it in steps.
      const isLevels = new Set(drawn).size < STEPS / 4;
      return { ...line(i, data, panel.beta1 ? '#d97706' : '#2563eb'), step: isLevels && 'end' };
    }),
  };
  return svg(option, COLUMNS * WIDTH, Math.ceil(panels.length / COLUMNS) * HEIGHT);
}
