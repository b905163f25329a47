/* The tables: one measure at a time, a row for each model under each set of conditions. */

let measure = 'accuracy';
let order = { key: 'model', descending: false };
let openCell = () => {};

function onOpenCell(handler) {
  openCell = handler;
}

const shownMeasures = () => report.measures.filter((m, i) =>
  i < 4 || report.cells.some((cell) => known(cell.values[m.key])));

function drawMeasures() {
  byId('measures').replaceChildren(...shownMeasures().map((m) => {
    const radio = el('input', { type: 'radio', name: 'measure', value: m.key, checked: m.key === measure,
      onchange: () => {
        measure = m.key;
        drawTable();
      } });
    return el('label', { className: 'chip' }, radio, el('span', {}, m.title));
  }));
}

/* Columns: what to show, and what to sort by. */
function columnsOf(tasks) {
  const varying = (read) => unique(rows.map(read)).length > 1;
  const text = (key, title, read) => ({ key, title, left: true, read, sort: read });
  const columns = [
    text('model', 'Model', (row) => row.model.name),
    { key: 'parameters', title: 'Parameters', read: (row) => row.model.parameters_label, sort: (row) => millions(row.model) },
  ];
  const optional = [
    text('device', 'Device', (row) => row.device),
    text('run', 'Run', (row) => row.run),
    text('protocol', 'Protocol', (row) => row.group.protocol),
    text('dtype', 'Weights', (row) => row.group.dtype),
    text('precision', 'Precision', (row) => row.group.precision),
    { key: 'shots', title: 'Shots', read: (row) => String(row.group.shots), sort: (row) => row.group.shots },
  ];
  columns.push(...optional.filter((column) => varying(column.read)));
  for (const task of tasks)
    columns.push({ key: `task:${task.name}`, title: task.title, task: task.name,
      sort: (row) => { const cell = row.cells[task.name]; return cell && cell.done ? cell.values[measure] : null; } });
  columns.push({ key: 'average', title: 'Avg.', average: true, sort: (row) => average(row, measure, tasks) });
  return columns;
}

/* Unknown values come last, whichever way. */
function sortRows(shown, columns) {
  const column = columns.find((c) => c.key === order.key) || columns[0];
  const sign = order.descending ? -1 : 1;
  const byName = (a, b) => (a.model.name < b.model.name ? -1 : a.model.name > b.model.name ? 1 : 0);
  return [...shown].sort((a, b) => {
    const left = column.sort(a), right = column.sort(b);
    const leftKnown = typeof left === 'string' || known(left), rightKnown = typeof right === 'string' || known(right);
    if (leftKnown !== rightKnown) return leftKnown ? -1 : 1;
    if (left === right || !leftKnown) return byName(a, b);
    return (left < right ? -1 : 1) * sign;
  });
}

function headerCell(column) {
  const sorted = column.key === order.key;
  const header = el('th', { scope: 'col', className: column.left ? 'left' : '' },
    el('button', { type: 'button', onclick: () => {
      const first = !!(column.task || column.average) && measureOf(measure).more_is_better;
      order = { key: column.key, descending: sorted ? !order.descending : first };
      drawTable();
      const again = [...document.querySelectorAll('#table thead button')].find((b) => b.textContent === column.title);
      if (again) again.focus();
    } }, column.title));
  header.setAttribute('aria-sort', sorted ? (order.descending ? 'descending' : 'ascending') : 'none');
  return header;
}

function mark(sign, meaning) {
  return [el('span', { className: 'mark', 'aria-hidden': 'true', title: meaning }, sign),
    el('span', { className: 'unseen' }, ` (${meaning})`)];
}

const likeChance = 'not distinguishable from chance';
const collapsed = 'one label for nearly all examples';
const swapping = 'timed while pages came back from swap: not to be trusted';

function valueCell(cell, traits) {
  if (!cell) return el('td', {}, el('span', { className: 'unseen' }, 'not planned'));
  const open = (text, label) => el('button', { type: 'button', title: label, onclick: () => openCell(cell) }, text);
  if (cell.waiting) return el('td', { className: 'waiting' }, open('…', `${cell.verdict}: ${cell.n + cell.skipped} of ${cell.planned} examples`));
  if (!cell.done) return el('td', { className: 'nan' }, open('nan', `${cell.verdict}: ${cell.reason}`));
  const value = cell.values[traits.key];
  if (!known(value)) return el('td', { className: 'waiting' }, open('n/a', 'not measured'));
  const content = el('td', {}, open(fixed(value, traits.decimals), 'show this cell'));
  if (traits.key === 'accuracy') {
    if (cell.best) content.className = 'top';
    if (cell.meaning.like_chance) content.append(...mark('°', likeChance));
    if (cell.meaning.collapsed) content.append(...mark('†', collapsed));
    if (known(cell.meaning.low))
      content.append(el('span', { className: 'interval' }, `${fixed(cell.meaning.low, 1)}–${fixed(cell.meaning.high, 1)}`));
  }
  if (traits.key === 'inference_time' && cell.timed_while_swapping) content.append(...mark('‡', swapping));
  return content;
}

function bodyCell(row, column, traits, tasks) {
  if (column.task) return valueCell(row.cells[column.task], traits);
  if (column.average) return el('td', { className: 'average' }, fixed(average(row, measure, tasks), traits.decimals));
  if (column.key === 'model') return el('th', { scope: 'row', title: row.model.id }, row.model.name);
  return el('td', { className: column.left ? 'left' : '' }, column.read(row));
}

function drawTable() {
  const tasks = visibleTasks(), shown = visibleRows(), traits = measureOf(measure), columns = columnsOf(tasks);
  if (!rows.length) {
    byId('table').replaceChildren(el('p', { className: 'empty' }, 'No cell is planned in this run yet.'));
    return;
  }
  const table = el('table', {},
    el('caption', {}, `${traits.title} (${traits.unit})${kindNote(traits.key)}; ${shown.length} of ${rows.length} rows`),
    el('thead', {}, el('tr', {}, ...columns.map(headerCell))),
    el('tbody', {}, ...sortRows(shown, columns).map((row) =>
      el('tr', {}, ...columns.map((column) => bodyCell(row, column, traits, tasks))))));
  byId('table').replaceChildren(table);
  drawLegend();
}

/* What the measure is, where that is not always the same. */
function kindNote(key) {
  if (key === 'inference_time' && report.cells.some((cell) => cell.shared_time))
    return report.cells.every((cell) => cell.shared_time || !cell.done)
      ? ', wall time of examples computed together, per example' : ', of one example alone or (wall time) together with others';
  if (key !== 'peak_memory') return '';
  const kinds = unique(report.cells.map((cell) => cell.memory_kind).filter(Boolean));
  if (kinds.length > 1) return ', of the GPU where there is one, else of the process';
  return kinds[0] === 'peak_gpu_gb' ? ', of the GPU' : ', of the process';
}

function drawLegend() {
  const legend = byId('legend');
  const cells = report.cells.filter((cell) => cell.done);
  const items = [];
  if (measure === 'inference_time' && cells.some((cell) => cell.timed_while_swapping))
    items.push(el('span', {}, el('span', { className: 'mark' }, '‡'), ` ${swapping}`));
  if (measure !== 'accuracy') return legend.replaceChildren(...items);
  if (cells.some((cell) => known(cell.meaning.low))) items.push(el('span', {}, 'small figures: Wilson 95 % interval'));
  if (cells.some((cell) => cell.meaning.like_chance)) items.push(el('span', {}, el('span', { className: 'mark' }, '°'), ` ${likeChance} (p ≥ 0.05)`));
  if (cells.some((cell) => cell.meaning.collapsed)) items.push(el('span', {}, el('span', { className: 'mark' }, '†'), ' one label for at least 95 % of the examples'));
  if (cells.some((cell) => cell.best)) items.push(el('span', {}, el('span', { className: 'swatch' }), ' not significantly below the best of its task (McNemar, Holm)'));
  legend.replaceChildren(...items);
}

/** Reasons for nan and what is not finished. */
function drawMissing() {
  const name = (cell) => `${cell.model.name} on ${cell.task_title}${report.groups.length > 1 ? ` (${cell.deviceName}, ${cell.protocol}, ${cell.dtype})` : ''}`;
  const failed = report.cells.filter((cell) => !cell.done && !cell.waiting);
  const waiting = report.cells.filter((cell) => cell.waiting);
  const parts = [];
  if (failed.length)
    parts.push(el('h3', {}, `${failed.length} could not run`), el('ul', {}, ...failed.map((cell) =>
      el('li', {}, `${name(cell)}: ${cell.verdict}${cell.reason ? `, ${cell.reason}` : ''}`))));
  if (waiting.length) {
    const listed = waiting.slice(0, 12).map((cell) =>
      el('li', {}, `${name(cell)}: ${cell.verdict}, ${cell.n + cell.skipped} of ${cell.planned} examples`));
    if (waiting.length > 12) listed.push(el('li', {}, `and ${waiting.length - 12} more`));
    parts.push(el('h3', {}, `${waiting.length} not finished`), el('ul', {}, ...listed));
    if (!live) parts.push(el('p', { className: 'small' }, 'The same run command finishes what is missing.'));
  }
  byId('missing').replaceChildren(...parts);
}
