// Draws charts as SVG, with echarts and without a browser.

import * as echarts from 'echarts';

/** Draws an echarts option on a white background. The same option gives the same text. */
export function svg(option: object, width: number, height: number): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({ animation: false, backgroundColor: '#fff', ...option });
  // echarts numbers charts and styles across the whole process. Number them from 0 in each chart instead.
  const names = new Map<string, string>();
  const text = chart.renderToSVGString().replaceAll(/\bzr\d+-[\w-]+/g, (name) => {
    if (!names.has(name)) names.set(name, `n${names.size}`);
    return names.get(name)!;
  });
  chart.dispose();
  return text;
}

/** Returns a line in the panel with that index. */
export const line = (panel: number, data: readonly (readonly number[])[], color: string | undefined) => ({
  type: 'line',
  showSymbol: false,
  data,
  color,
  lineStyle: { width: 1.6 },
  xAxisIndex: panel,
  yAxisIndex: panel,
});
