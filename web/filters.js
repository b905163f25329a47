/* What is shown: one set of filters for the tables and the charts. */

const filters = { model: '', family: '', size: '', device: '', protocol: '', dtype: '', hidden: new Set() };
let changed = () => {};

function onFilter(handler) {
  changed = handler;
}

/** Parameters in millions, from the count or else from the label ("135M", "1.1B"). */
function millions(model) {
  if (model.parameters > 0) return model.parameters / 1e6;
  const match = /^([\d.]+)\s*([MB])/i.exec(model.parameters_label);
  return match ? Number(match[1]) * (match[2].toUpperCase() === 'B' ? 1000 : 1) : NaN;
}

const sizes = [
  { name: 'up to 150M', fits: (m) => m <= 150 },
  { name: '150M to 400M', fits: (m) => m > 150 && m <= 400 },
  { name: '400M to 700M', fits: (m) => m > 400 && m <= 700 },
  { name: 'over 700M', fits: (m) => m > 700 },
];

const choosers = [
  { key: 'family', title: 'Family', read: (row) => row.model.family },
  { key: 'size', title: 'Size', read: (row) => (sizes.find((s) => s.fits(millions(row.model))) || { name: '' }).name,
    order: sizes.map((s) => s.name) },
  { key: 'device', title: 'Device', read: (row) => row.device },
  { key: 'protocol', title: 'Protocol', read: (row) => row.group.protocol },
  { key: 'dtype', title: 'Weights', read: (row) => row.group.dtype },
];

const visibleTasks = () => allTasks().filter((task) => !filters.hidden.has(task.name));

function visibleRows() {
  const text = filters.model.toLowerCase();
  return rows.filter((row) =>
    (row.model.name.toLowerCase().includes(text) || row.model.id.toLowerCase().includes(text)) &&
    choosers.every(({ key, read }) => !filters[key] || read(row) === filters[key]));
}

function chooser({ key, title, read, order }) {
  const values = unique(rows.map(read)).filter(Boolean);
  if (order) values.sort((a, b) => order.indexOf(a) - order.indexOf(b));
  else values.sort();
  if (values.length < 2) return null;
  const select = el('select', { onchange: () => { filters[key] = select.value; changed(); } },
    el('option', { value: '' }, 'All'), ...values.map((value) => el('option', { value }, value)));
  select.id = `filter-${key}`;
  select.value = filters[key];
  return el('label', {}, title, select);
}

function taskChip(task) {
  const box = el('input', { type: 'checkbox', checked: !filters.hidden.has(task.name), value: task.name,
    onchange: () => {
      if (box.checked) filters.hidden.delete(task.name);
      else filters.hidden.add(task.name);
      changed();
    } });
  return el('label', { className: 'chip' }, box, el('span', {}, task.title));
}

function drawFilters() {
  const form = byId('filters');
  if (!rows.length) return form.replaceChildren();
  if (form.contains(document.activeElement)) return undefined; // a live run must not take the field from under the fingers
  const search = el('input', { type: 'search', id: 'filter-model', placeholder: 'any', value: filters.model,
    oninput: () => { filters.model = search.value; changed(); } });
  form.onsubmit = (event) => event.preventDefault();
  const tasks = allTasks();
  return form.replaceChildren(...[
    el('label', {}, 'Model', search),
    ...choosers.map(chooser),
    tasks.length > 1 ? el('fieldset', {}, el('legend', {}, 'Tasks'), ...tasks.map(taskChip)) : null,
  ].filter(Boolean));
}
