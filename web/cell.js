/* One cell: its numbers, its two distributions, how it stands among the models of its task. */

let cellIndex = -1;

function cellTitle(cell) {
  const row = rows.find((r) => r.cells[cell.task] === cell);
  return `${cell.model.name} on ${cell.task_title}${row && report.groups.length > 1 ? ` · ${conditions(row)}` : ''}`;
}

function drawCellChoice() {
  const select = el('select', { id: 'cell-select', 'aria-label': 'Cell', onchange: () => showCell(report.cells[select.value]) },
    ...report.cells.map((cell) => el('option', { value: cell.index }, cellTitle(cell))));
  select.value = cellIndex;
  byId('cell-choice').replaceChildren(...(report.cells.length ? [select] : []));
}

function fact(title, value) {
  return el('div', {}, el('dt', {}, title), el('dd', {}, value));
}

const percent = (value, decimals = 2) => (known(value) ? `${value.toFixed(decimals)} %` : '–');

function probability(p) {
  if (!known(p)) return '–';
  return p < 0.001 ? 'p < 0.001' : `p = ${p.toFixed(3)}`;
}

function drawFacts(cell) {
  const m = cell.meaning;
  const facts = [fact('State', cell.done ? 'done' : `${cell.verdict}${cell.reason ? `: ${cell.reason}` : ''}`)];
  if (cell.n) facts.push(
    fact('Accuracy', `${percent(cell.values.accuracy)} (${cell.correct} of ${cell.n})`),
    fact('Wilson 95 % interval', `${fixed(m.low, 2)} – ${percent(m.high)}`),
    fact('Standard error', percent(m.standard_error)),
    fact('Chance', `${percent(m.chance)}, ${probability(m.p_chance)}`),
    fact('Commonest right answer', percent(m.majority)));
  for (const traits of report.measures.slice(1))
    if (known(cell.values[traits.key])) facts.push(fact(traits.title, `${fixed(cell.values[traits.key], traits.decimals)} ${traits.unit}`));
  if (cell.rank) facts.push(fact('Group on this task', String(cell.rank)));
  if (cell.skipped) facts.push(fact('Skipped', String(cell.skipped)));
  if (cell.truncated) facts.push(fact('Truncated prompts', String(cell.truncated)));
  const rest = cell.measures.length ? el('details', { className: 'card', style: 'padding: .6rem 1rem; margin-bottom: 1rem' },
    el('summary', {}, `All ${cell.measures.length} measures of the run`),
    el('div', { className: 'scroll' }, el('table', {}, el('tbody', {}, ...cell.measures.map((measured) =>
      el('tr', {}, el('th', { scope: 'row' }, measured.name), el('td', {}, known(measured.value) ? short(measured.value) : 'n/a'),
        el('td', { className: 'left' }, measured.unit), el('td', { className: 'left' }, measured.note))))))) : null;
  byId('cell-facts').replaceChildren(...[el('dl', { className: 'facts card' }, ...facts), rest].filter(Boolean));
}

function drawHistogram(cell) {
  const times = cell.milliseconds, bins = times.histogram.length, step = (times.p99 - times.least) / bins;
  const edge = (i) => times.least + i * step;
  const names = times.histogram.map((_, i) => `${short(edge(i))}${i === bins - 1 ? ' and more' : `–${short(edge(i + 1))}`}`);
  drawChart('cell-times', 240, {
    type: 'bar',
    data: { labels: names, datasets: [{ label: 'examples', data: times.histogram, backgroundColor: seriesColor(0), categoryPercentage: 1, barPercentage: .94 }] },
    options: { scales: { x: { title: { display: true, text: 'Inference time (ms)' }, grid: { display: false } }, y: { beginAtZero: true, title: { display: true, text: 'Examples' }, ticks: { precision: 0 } } }, plugins: { legend: { display: false } } },
  }, { head: ['Time (ms)', 'Examples'], body: times.histogram.map((count, i) => [names[i], String(count)]) });
}

function drawCellLabels(cell) {
  const names = cell.predicted.map((_, i) => labelName(i, cell.protocol));
  drawChart('cell-labels', 240, {
    type: 'bar',
    data: { labels: names, datasets: [
      { label: 'predicted', data: cell.predicted, backgroundColor: seriesColor(0), borderRadius: 3, maxBarThickness: 40 },
      { label: 'right answers', data: cell.gold, backgroundColor: seriesColor(1), borderRadius: 3, maxBarThickness: 40 } ] },
    options: { scales: { y: { beginAtZero: true, title: { display: true, text: 'Examples' }, ticks: { precision: 0 } }, x: { grid: { display: false } } }, plugins: { legend: { position: 'top', align: 'start' } } },
  }, { head: ['Label', 'Predicted', 'Right answers'], body: names.map((name, i) => [name, String(cell.predicted[i]), String(cell.gold[i])]) });
}

function rankingCard(cell) {
  const group = report.groups.find((g) => g.rows.some((row) => row.cells.includes(cell.index)));
  const ranking = group && group.rankings.find((r) => r.task === cell.task);
  if (!ranking || ranking.order.length < 2 || !ranking.order.some((place) => place.cell === cell.index)) return null;
  const against = (other) => ranking.pairs.find((p) => (p.a === cell.index && p.b === other) || (p.b === cell.index && p.a === other));
  return el('figure', { className: 'chart third' },
    el('div', { className: 'head' }, el('h3', {}, `Models on ${cell.task_title}`)),
    el('div', { className: 'scroll', style: 'max-height: 300px; overflow: auto', tabIndex: 0, role: 'region', 'aria-label': 'Ranking' }, el('table', {},
      el('thead', {}, el('tr', {}, ...['Model', 'Accuracy (%)', 'Group', 'Against this one'].map((t) => el('th', { scope: 'col' }, t)))),
      el('tbody', {}, ...ranking.order.map((place) => {
        const other = report.cells[place.cell], pair = against(place.cell);
        return el('tr', {}, el('th', { scope: 'row' }, other.model.name), el('td', {}, fixed(other.values.accuracy, 2)),
          el('td', {}, String(place.group)), el('td', {}, pair ? probability(pair.p_holm) : 'this one'));
      })))));
}

function drawCellCharts(cell) {
  for (const id of ['cell-times', 'cell-labels'])
    if (drawn.has(id)) {
      drawn.get(id).destroy();
      drawn.delete(id);
    }
  const times = canChart() && cell.milliseconds.n > 0, labels = canChart() && cell.n > 0 && cell.predicted.length > 0;
  byId('cell-charts').replaceChildren(...[
    times ? chartCard('cell-times', 'Latency', 'third') : null,
    labels ? chartCard('cell-labels', 'Labels', 'third') : null,
    rankingCard(cell)].filter(Boolean));
  if (canChart()) setChartDefaults();
  if (times) drawHistogram(cell);
  if (labels) drawCellLabels(cell);
}

function drawCell() {
  const cell = report.cells[cellIndex];
  if (!cell) return;
  drawFacts(cell);
  drawCellCharts(cell);
}

function showCell(cell) {
  cellIndex = cell.index;
  drawCellChoice();
  drawCell();
  showExamples(cell);
}
