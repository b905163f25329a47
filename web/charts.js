/* Charts, with Chart.js. Each has a table of the same numbers beside it, for those who cannot see it. */

const shapes = ['circle', 'triangle', 'rect', 'rectRot', 'star', 'crossRot', 'cross', 'dash'];
const drawn = new Map(); // canvas id → Chart
const narrow = () => window.matchMedia('(max-width: 720px)').matches;
const seriesColor = (i) => color(`series-${i % 8 + 1}`);

function setChartDefaults() {
  if (isChart2) {
    Object.assign(Chart.defaults.global, { defaultFontColor: color('muted'), defaultFontFamily: getComputedStyle(document.body).fontFamily,
      animation: { duration: 0 }, maintainAspectRatio: false });
    return;
  }
  Chart.defaults.color = color('muted');
  Chart.defaults.borderColor = color('line');
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.animation = false;
  Chart.defaults.maintainAspectRatio = false;
  Object.assign(Chart.defaults.plugins.legend.labels, { usePointStyle: true, boxWidth: 8, boxHeight: 8 });
}

/** A card with a chart's title, controls, canvas and table; `width` is wide, half or third. */
function chartCard(id, title, width, controls = []) {
  return el('figure', { className: `chart ${width}` },
    el('div', { className: 'head' }, el('h3', {}, title), ...controls),
    el('div', { className: 'canvas' }, el('canvas', { id, role: 'img', 'aria-label': title })),
    el('details', {}, el('summary', {}, 'The numbers'), el('div', { className: 'scroll', id: `${id}-data`, tabIndex: 0 })));
}

/** Draws anew; `table` is {head: [...], body: [[...]]}. */
function drawChart(id, height, config, table) {
  const canvas = byId(id);
  if (!canvas) return;
  if (drawn.has(id)) drawn.get(id).destroy();
  canvas.parentElement.style.height = `${height}px`;
  drawn.set(id, new Chart(canvas, isChart2 ? forChart2(config) : config));
  canvas.setAttribute('aria-label', `${canvas.closest('.chart').querySelector('h3').textContent}: ${table.body.length} values, in the table below`);
  byId(`${id}-data`).replaceChildren(el('table', {},
    el('thead', {}, el('tr', {}, ...table.head.map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, ...table.body.map((line) => el('tr', {}, ...line.map((text, i) =>
      (i ? el('td', {}, text) : el('th', { scope: 'row' }, text))))))));
}

/* ---- the study's three: bars by model, grouped by device ---- */

const bars = [
  { id: 'bars-accuracy', key: 'accuracy', title: 'Average accuracy' },
  { id: 'bars-time', key: 'inference_time', title: 'Average inference time' },
  { id: 'bars-memory', key: 'peak_memory', title: 'Peak memory' },
];

function drawBars({ id, key, title }) {
  const traits = measureOf(key), tasks = visibleTasks(), shown = visibleRows();
  const models = unique(shown.map((row) => row.model.name)).sort();
  const series = unique(shown.map(conditions));
  const value = new Map(shown.map((row) => [`${row.model.name}\n${conditions(row)}`, average(row, key, tasks)]));
  const at = (model, name) => value.get(`${model}\n${name}`) ?? NaN;
  const flat = narrow() || models.length > 12;
  const datasets = series.map((name, i) => ({
    label: name,
    data: models.map((model) => (known(at(model, name)) ? at(model, name) : null)),
    backgroundColor: seriesColor(i), borderRadius: 3, maxBarThickness: 34, categoryPercentage: .78, barPercentage: .9,
  }));
  const numbers = { beginAtZero: true, title: { display: true, text: `${traits.title} (${traits.unit})` } };
  const names = { grid: { display: false }, ticks: { autoSkip: false } };
  drawChart(id, flat ? 70 + models.length * (12 + 11 * series.length) : 320, {
    type: 'bar',
    data: { labels: models, datasets },
    options: {
      indexAxis: flat ? 'y' : 'x',
      scales: flat ? { x: numbers, y: names } : { y: numbers, x: names },
      plugins: { legend: { display: series.length > 1, position: 'top', align: 'start' },
        tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${fixed(item.raw, traits.decimals)} ${traits.unit}` } } },
    },
  }, { head: ['Model', ...series], body: models.map((model) => [model, ...series.map((name) => fixed(at(model, name), traits.decimals))]), title });
}

/* ---- accuracy against cost ---- */

const costs = [['inference_time', 'latency'], ['peak_memory', 'memory'], ['energy', 'energy'], ['model_size', 'model size']];
let cost = 'inference_time';

function costChooser() {
  const offered = costs.filter(([key]) => report.cells.some((cell) => known(cell.values[key])));
  if (offered.length && !offered.some(([key]) => key === cost)) cost = offered[0][0];
  const select = el('select', { id: 'cost', 'aria-label': 'Cost', onchange: () => { cost = select.value; drawScatter(); } },
    ...offered.map(([key, name]) => el('option', { value: key }, `against ${name}`)));
  select.value = cost;
  return select;
}

/** Points that no other beats in both: cheapest first. */
function paretoFront(points) {
  const front = [];
  let best = -Infinity;
  for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y))
    if (point.y > best) {
      front.push(point);
      best = point.y;
    }
  return front;
}

/* Writes the names of the points on the front beside them. */
const frontNames = {
  id: 'frontNames',
  afterDatasetsDraw(chart) {
    const index = chart.data.datasets.findIndex((set) => set.front);
    if (index < 0) return;
    const { ctx, chartArea } = chart;
    ctx.save();
    ctx.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
    ctx.fillStyle = color('text');
    const taken = [];
    chart.getDatasetMeta(index).data.forEach((element, i) => {
      const point = element._model || element; // Chart.js 2, later
      const name = chart.data.datasets[index].data[i].name, width = ctx.measureText(name).width;
      const x = Math.max(chartArea.left + 2, Math.min(point.x - width / 2, chartArea.right - width));
      const free = [-11, 20, -25, 34].map((shift) => point.y + shift).find((y) =>
        taken.every((box) => x > box.x + box.width + 4 || x + width + 4 < box.x || Math.abs(y - box.y) > 12));
      if (free === undefined) return;
      taken.push({ x, y: free, width });
      ctx.fillText(name, x, free);
    });
    ctx.restore();
  },
};

function drawScatter() {
  const tasks = visibleTasks(), traits = measureOf(cost);
  const points = visibleRows().map((row) => ({
    x: average(row, cost, tasks), y: average(row, 'accuracy', tasks),
    name: row.model.name, family: row.model.family || 'other', conditions: conditions(row),
  })).filter((point) => known(point.x) && point.x > 0 && known(point.y));
  const families = unique(points.map((point) => point.family)).sort();
  const datasets = families.map((family, i) => ({
    label: family, data: points.filter((point) => point.family === family),
    pointStyle: shapes[i % shapes.length], backgroundColor: seriesColor(i), borderColor: seriesColor(i),
    pointRadius: 6, pointHoverRadius: 8, borderWidth: 1.5,
  }));
  const front = paretoFront(points);
  if (front.length) datasets.push({ label: 'Pareto front', type: 'line', data: front, front: true, stepped: false,
    borderColor: color('muted'), borderDash: [5, 4], borderWidth: 1.5, pointRadius: 0, fill: false, pointStyle: 'line' });
  const least = Math.min(...points.map((p) => p.x)), spread = Math.max(...points.map((p) => p.x)) / least;
  drawChart('scatter', narrow() ? 360 : 420, {
    type: 'scatter',
    data: { datasets },
    options: {
      layout: { padding: { top: 14, right: 12 } },
      scales: {
        x: { type: spread > 8 ? 'logarithmic' : 'linear', suggestedMin: spread > 8 ? undefined : 0, min: spread > 8 ? least / 1.4 : undefined, title: { display: true, text: `${traits.title} (${traits.unit}), average` } },
        y: { title: { display: true, text: 'Accuracy (%), average' } },
      },
      plugins: { legend: { position: 'top', align: 'start' },
        tooltip: { callbacks: { label: (item) => ` ${item.raw.name} (${item.raw.conditions}): ${fixed(item.raw.y, 2)} %, ${fixed(item.raw.x, traits.decimals)} ${traits.unit}` } } },
    },
    plugins: [frontNames],
  }, { head: ['Model', 'Conditions', 'Accuracy (%)', `${traits.title} (${traits.unit})`, 'On the front'],
    body: points.map((p) => [p.name, p.conditions, fixed(p.y, 2), fixed(p.x, traits.decimals), front.includes(p) ? 'yes' : '']) });
}

/* ---- of one task: latency spread and predicted labels, model by model ---- */

let chartTask = '';

function taskChooser() {
  const tasks = allTasks();
  if (!tasks.some((task) => task.name === chartTask)) chartTask = tasks.length ? tasks[0].name : '';
  const make = (label) => {
    const select = el('select', { 'aria-label': label, onchange: () => {
      chartTask = select.value;
      document.querySelectorAll('.task-choice').forEach((other) => { other.value = chartTask; });
      drawSpread();
      drawLabels();
    } }, ...tasks.map((task) => el('option', { value: task.name }, task.title)));
    select.className = 'task-choice';
    select.value = chartTask;
    return select;
  };
  return make;
}

const rowName = (row) => (report.groups.length > 1 ? `${row.model.name} · ${conditions(row)}` : row.model.name);

function drawSpread() {
  const shown = visibleRows().map((row) => ({ name: rowName(row), cell: row.cells[chartTask] }))
    .filter(({ cell }) => cell && cell.milliseconds.n);
  const span = (from, to) => shown.map(({ cell }) => [cell.milliseconds[from], cell.milliseconds[to]]);
  const set = (label, from, to, shade) => ({ label, data: span(from, to), backgroundColor: shade, borderSkipped: false, borderRadius: 2, grouped: false, maxBarThickness: 14 });
  drawChart('spread', 80 + 24 * shown.length, {
    type: 'bar',
    data: { labels: shown.map(({ name }) => name), datasets: [
      set('least to median', 'least', 'median', seriesColor(0)),
      set('median to 90 %', 'median', 'p90', seriesColor(4)),
      set('90 % to 99 %', 'p90', 'p99', seriesColor(1)) ] },
    options: { indexAxis: 'y', scales: { x: { beginAtZero: true, title: { display: true, text: 'Inference time of an example (ms)' } }, y: { grid: { display: false }, ticks: { autoSkip: false } } },
      plugins: { legend: { position: 'top', align: 'start' }, tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${short(item.raw[0])} to ${short(item.raw[1])} ms` } } } },
  }, { head: ['Model', 'Least', 'Median', '90 %', '99 %', 'Most (ms)'],
    body: shown.map(({ name, cell }) => [name, ...['least', 'median', 'p90', 'p99', 'most'].map((k) => fixed(cell.milliseconds[k], 2))]) });
}

function drawLabels() {
  const shown = visibleRows().map((row) => ({ name: rowName(row), cell: row.cells[chartTask] }))
    .filter(({ cell }) => cell && cell.n && cell.predicted.length);
  if (shown.length) shown.unshift({ name: 'right answers', cell: { ...shown[0].cell, predicted: shown[0].cell.gold } });
  const labels = Math.max(0, ...shown.map(({ cell }) => cell.predicted.length));
  const share = (cell, i) => 100 * (cell.predicted[i] || 0) / cell.n;
  drawChart('labels', 80 + 24 * shown.length, {
    type: 'bar',
    data: { labels: shown.map(({ name }) => name), datasets: Array.from({ length: labels }, (_, i) => ({
      label: shown.length ? labelName(i, shown[0].cell.protocol) : '', data: shown.map(({ cell }) => share(cell, i)),
      backgroundColor: seriesColor(i), borderColor: color('card'), borderWidth: { right: 1.5 }, maxBarThickness: 14 })) },
    options: { indexAxis: 'y', scales: { x: { stacked: true, max: 100, title: { display: true, text: 'Share of the answers (%)' } }, y: { stacked: true, grid: { display: false }, ticks: { autoSkip: false } } },
      plugins: { legend: { position: 'top', align: 'start' }, tooltip: { callbacks: { label: (item) => ` ${item.dataset.label}: ${fixed(item.raw, 1)} %` } } } },
  }, { head: ['Model', ...Array.from({ length: labels }, (_, i) => `${shown.length ? labelName(i, shown[0].cell.protocol) : i} (%)`)],
    body: shown.map(({ name, cell }) => [name, ...Array.from({ length: labels }, (_, i) => fixed(share(cell, i), 1))]) });
}

/* ---- all ---- */

const canChart = () => typeof Chart !== 'undefined';

function layCharts() {
  const grid = byId('chart-grid');
  if (!canChart() || !report.cells.length) {
    grid.replaceChildren(el('p', { className: 'empty' }, report.cells.length ? 'The charts are missing from this page.' : 'Nothing to draw yet.'));
    return;
  }
  const choose = taskChooser();
  grid.replaceChildren(
    ...bars.map(({ id, title }) => chartCard(id, title, 'third')),
    chartCard('scatter', 'Accuracy against cost', 'wide', [costChooser()]),
    chartCard('spread', 'Latency', 'half', [choose('Task of the latency chart')]),
    chartCard('labels', 'Predicted labels', 'half', [choose('Task of the label chart')]));
}

function drawCharts() {
  if (!canChart() || !report.cells.length) return;
  setChartDefaults();
  bars.forEach(drawBars);
  drawScatter();
  drawSpread();
  drawLabels();
}
