// A record as a picture: ns per parameter over size, both logarithmic, of all who compute AdamW on this machine.

import { svg } from '../tools/chart.js';
import { BASELINE, contenderOf } from './contenders.js';
import type { Record } from './record.js';
import { sizeName } from './table.js';

const [WIDTH, HEIGHT] = [960, 560];
// Told apart in print, too, by their symbols.
const COLORS = ['#2563eb', '#d97706', '#059669', '#7c3aed', '#db2777', '#64748b', '#0891b2', '#92400e', '#4d7c0f'];
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond'];

export function draw({ rows, settings: { sizes } }: Record): string {
  const own = rows.filter(({ optimizer }) => optimizer === 'adamw');
  const names = [...new Set(own.map(({ contender }) => contender))];
  const computing = names.filter((name) => contenderOf(name).optimizer !== 'probe');
  const lines = [{ name: 'roof', points: roofOf(own) }, ...computing.map((name) => ({ name, points: of(own, name) }))];
  return svg(
    {
      grid: { left: 64, top: 48, width: WIDTH - 380, bottom: 56 },
      title: {
        text: 'One step of AdamW (Adam where a peer has no AdamW): ns per parameter',
        left: 16,
        top: 10,
        textStyle: { fontSize: 14, fontWeight: 'normal', color: '#1f2937' },
      },
      legend: { orient: 'vertical', left: WIDTH - 300, top: 48, itemGap: 9, textStyle: { fontSize: 12 } },
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
      series: lines.map(({ name, points }, i) => ({
        name,
        type: 'line',
        data: points,
        color: name === 'roof' ? '#111827' : COLORS[(i - 1) % COLORS.length],
        symbol: name === 'roof' ? 'none' : SYMBOLS[i % SYMBOLS.length],
        symbolSize: 7,
        lineStyle: { width: name === BASELINE ? 3 : 1.6, type: name === 'roof' ? 'dashed' : 'solid' },
      })),
    },
    WIDTH,
    HEIGHT,
  );
}

const of = (rows: Record['rows'], name: string): number[][] =>
  rows.filter(({ contender }) => contender === name).map(({ size, ns }) => [size, ns]);

/** Of the baseline: the part of the roof that it reaches, of its own time. */
const roofOf = (rows: Record['rows']): number[][] =>
  rows
    .filter(({ contender, ratios }) => contender === BASELINE && ratios.roof !== undefined)
    .map(({ size, ns, ratios }) => [size, ns * ratios.roof[1]]);
