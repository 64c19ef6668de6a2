// The loss curves as an SVG.

import * as echarts from 'echarts';

export interface Curve {
  readonly name: string;
  readonly values: readonly number[];
  /** Wide and pale, to lie behind the others. */
  readonly isBackground: boolean;
}

/** Loss against step, the loss on a logarithmic axis. */
export function draw(title: string, curves: readonly Curve[]): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 960, height: 540 });
  chart.setOption({
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, left: 'center', top: 10 },
    legend: { bottom: 10, data: curves.map(({ name }) => name) },
    grid: { left: 80, right: 30, top: 60, bottom: 100 },
    xAxis: { type: 'value', name: 'step', nameLocation: 'middle', nameGap: 30, max: 'dataMax' },
    yAxis: {
      type: 'log',
      name: 'loss (mean cross-entropy)',
      nameLocation: 'middle',
      nameGap: 50,
      min: 0.02,
      minorTick: { show: true },
      minorSplitLine: { show: true },
      axisLabel: { formatter: (value: number) => Number(value.toPrecision(2)).toString() },
    },
    series: curves.map(({ name, values, isBackground }, i) => ({
      name,
      type: 'line',
      showSymbol: false,
      lineStyle: isBackground
        ? { width: 7, opacity: 0.3 }
        : { width: 1.4, type: (['solid', 'dashed', 'dotted'] as const)[i % 3] },
      data: values.map((value, step) => [step + 1, value]),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return svg;
}
