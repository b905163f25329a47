/* Chart.js 2, which older systems have, draws the same charts when it is told so in its own words. */

const isChart2 = typeof Chart !== 'undefined' && !Chart.getChart;

function axisForChart2(axis, overlaid) {
  const { type, stacked, title = {}, ticks = {}, grid = {}, beginAtZero, min, max, suggestedMin } = axis;
  const limits = Object.fromEntries(Object.entries({ beginAtZero, min, max, suggestedMin }).filter(([, value]) => value !== undefined));
  const logarithmic = type === 'logarithmic' ? { callback: short, maxTicksLimit: 8 } : {};
  return { ...(type ? { type } : {}), stacked: stacked || overlaid, gridLines: { color: color('line'), zeroLineColor: color('line'), ...grid },
    scaleLabel: { display: !!title.display, labelString: title.text }, ticks: { ...ticks, ...limits, ...logarithmic } };
}

function forChart2({ type, data, options, plugins }) {
  const { x = {}, y = {} } = options.scales, { legend = {}, tooltip } = options.plugins;
  const flat = options.indexAxis === 'y', overlaid = data.datasets.some((set) => set.grouped === false);
  const label = tooltip && ((item, all) => {
    const dataset = all.datasets[item.datasetIndex];
    return tooltip.callbacks.label({ dataset, raw: dataset.data[item.index] });
  });
  return {
    type: flat ? 'horizontalBar' : type,
    data: { ...data, datasets: data.datasets.map((set) => ({ lineTension: 0, showLine: set.type === 'line', ...set })) },
    options: { layout: options.layout || {}, scales: { xAxes: [axisForChart2(x, overlaid && !flat)], yAxes: [axisForChart2(y, overlaid && flat)] },
      legend: { ...legend, labels: { usePointStyle: true, boxWidth: 8 } }, tooltips: label ? { callbacks: { label } } : {} },
    plugins: plugins || [],
  };
}
