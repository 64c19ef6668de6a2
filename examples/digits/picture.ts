// Draws the loss curves as SVG: the losses at the top, their distance from PyTorch's below.

import { line, svg } from '../../tools/chart.js';

export interface Curve {
  readonly optimizer: string;
  readonly backend: string;
  readonly losses: readonly number[];
}

interface Options {
  /** The number of steps to average losses over: an epoch, so that every image counts once. */
  readonly window: number;
  /** The largest allowed distance, drawn as a line. */
  readonly limit: number;
}

const colors: Readonly<Record<string, string>> = { adam: '#2563eb', adamw: '#d97706', adamwScheduleFree: '#059669' };
const dashes: Readonly<Record<string, 'solid' | 'dashed' | 'dotted'>> = { wasm: 'dashed', webgpu: 'dotted' };

/** Returns the SVG. `pytorch` has PyTorch's losses by optimizer. */
export function draw(
  curves: readonly Curve[],
  pytorch: Readonly<Record<string, readonly number[]>>,
  { window, limit }: Options,
): string {
  const runningMean = (values: readonly number[]): number[][] =>
    values.slice(window - 1).map((_, i) => [i + window, mean(values.slice(i, i + window))]);
  const named = (name: string, panel: number, data: number[][], lineStyle: object, color: string | undefined) => {
    const plain = line(panel, data, color);
    return { ...plain, name, lineStyle: { ...plain.lineStyle, ...lineStyle } };
  };
  const series = [
    ...Object.entries(pytorch).map(([optimizer, losses]) =>
      named(`PyTorch ${optimizer}`, 0, runningMean(losses), { width: 9, opacity: 0.3 }, colors[optimizer]),
    ),
    ...curves.flatMap(({ optimizer, backend, losses }) => {
      const name = `${optimizer} on ${backend}`;
      const style = { type: dashes[backend] ?? 'solid' };
      const distances = losses.map((loss, t) => [t + 1, Math.abs(loss - pytorch[optimizer][t]) || 1e-9]);
      return [
        named(name, 0, runningMean(losses), style, colors[optimizer]),
        named(name, 1, distances, style, colors[optimizer]),
      ];
    }),
    named('most allowed', 1, [[1, limit], [curves[0].losses.length, limit]], {}, '#dc2626'), // prettier-ignore
  ];

  const xAxis = { type: 'value', nameLocation: 'middle', nameGap: 28, max: 'dataMax' };
  const yAxis = { type: 'log', nameLocation: 'middle', nameGap: 56 };
  const option = {
    title: { text: 'Handwritten digits: every backend on PyTorch’s loss curve', left: 'center', top: 10 },
    legend: {
      bottom: 8,
      itemWidth: 40,
      itemGap: 32,
      icon: 'path://M0,0 H40 V3 H0 Z',
      data: [...new Set(series.map(({ name }) => name))].map((name) => ({
        name,
        itemStyle: { opacity: name.startsWith('PyTorch') ? 0.3 : 1 },
      })),
    },
    grid: [
      { left: 90, right: 30, top: 55, height: 320 },
      { left: 90, right: 30, top: 440, height: 200 },
    ],
    xAxis: [
      { ...xAxis, gridIndex: 0 },
      { ...xAxis, gridIndex: 1, name: 'step' },
    ],
    yAxis: [
      { ...yAxis, gridIndex: 0, name: `loss, mean of ${window} steps`, min: 0.03, max: 3 },
      {
        ...yAxis,
        gridIndex: 1,
        name: 'distance from PyTorch',
        min: 1e-9,
        max: 1e-2,
        axisLabel: { formatter: powerOfTen },
      },
    ],
    series,
  };
  return svg(option, 960, 860);
}

const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
const powerOfTen = (value: number): string => value.toExponential(0);
