// Draws a record: ns per parameter over size, both axes logarithmic, for each contender that computes AdamW.

import { svg } from '../tools/chart.js';
import { BASELINE } from './contenders.js';
import type { RunRecord } from './record.js';
import { sizeName } from './table.js';

const [WIDTH, HEIGHT] = [1040, 560];

/** A name starting with the prefix gets the color. Symbols distinguish contenders of one color, also in print. */
const FAMILIES = [
  ['twinstep', '#2563eb'],
  ['JS loop', '#64748b'],
  ['tfjs', '#d97706'],
  ['jax-js', '#059669'],
  ['js-pytorch', '#92400e'],
  ['torch', '#dc2626'],
] as const;
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'arrow', 'pin', 'roundRect'];

interface Line {
  readonly name: string;
  readonly points: readonly (readonly [size: number, ns: number])[];
}

export function draw({ contenders, rows, machine, settings: { sizes } }: RunRecord): string {
  const own = rows.filter(({ optimizer }) => optimizer === 'adamw');
  const computing = contenders
    .filter(({ name, optimizer }) => optimizer === 'adamw' && (machine.hasGpu || !name.includes('webgpu')))
    .map(({ name }): Line => {
      return { name, points: own.filter(({ contender }) => contender === name).map(({ size, ns }) => [size, ns]) };
    })
    .filter(({ points }) => points.length > 0);
  // Sorted by the right ends of the lines, so that the legend has the same order.
  const lines = [...computing.toSorted((a, b) => b.points.at(-1)![1] - a.points.at(-1)![1]), roof(own)];
  return svg(
    {
      grid: { left: 64, top: 48, width: WIDTH - 420, bottom: 56 },
      title: {
        text: 'One step of AdamW (Adam if a library has no AdamW): ns per parameter',
        left: 16,
        top: 10,
        textStyle: { fontSize: 14, fontWeight: 'normal', color: '#1f2937' },
      },
      legend: { orient: 'vertical', left: WIDTH - 340, top: 48, itemGap: 10, textStyle: { fontSize: 12 } },
      xAxis: {
        type: 'log',
        name: 'parameters',
        nameLocation: 'middle',
        nameGap: 32,
        min: Math.min(...sizes),
        max: Math.max(...sizes),
        axisLabel: { formatter: sizeName },
      },
      yAxis: { type: 'log', axisLabel: { formatter: String }, splitLine: { lineStyle: { color: '#e5e7eb' } } },
      series: lines.map(({ name, points }) => ({ name, type: 'line', data: points, ...style(name, computing) })),
    },
    WIDTH,
    HEIGHT,
  );
}

function style(name: string, computing: readonly Line[]): object {
  const family = FAMILIES.find(([start]) => name.startsWith(start));
  if (family === undefined) return { color: '#111827', symbol: 'none', lineStyle: { width: 1.6, type: 'dashed' } };
  const [start, color] = family;
  const ofFamily = computing.filter((each) => each.name.startsWith(start)).map((each) => each.name);
  const symbol = SYMBOLS[ofFamily.indexOf(name) % SYMBOLS.length];
  return { color, symbol, symbolSize: 8, lineStyle: { width: name === BASELINE ? 3.2 : 1.4 } };
}

/** The roof, computed from the baseline: its time, multiplied by the part of the roof that it reaches. */
const roof = (rows: RunRecord['rows']): Line => ({
  name: 'roof: memory moved, or one root and division',
  points: rows
    .filter(({ contender, ratios }) => contender === BASELINE && ratios.roof !== undefined)
    .map(({ size, ns, ratios }) => [size, ns * ratios.roof[1]]),
});
