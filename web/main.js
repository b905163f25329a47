/* Puts the page together. */

const themes = ['auto', 'light', 'dark'];

function setTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const names = { auto: 'as the system', light: 'light', dark: 'dark' };
  const button = byId('theme');
  button.textContent = { auto: '◐', light: '☀', dark: '☾' }[theme];
  button.setAttribute('aria-label', `Colours: ${names[theme]}`);
  button.onclick = () => {
    setTheme(themes[(themes.indexOf(theme) + 1) % themes.length]);
    drawCharts();
    drawCell();
  };
}

function summaryCard(title, value, more) {
  return el('div', { className: 'card' }, el('dl', {}, el('dt', {}, title), el('dd', {}, value)), more ? el('p', { className: 'small' }, more) : null);
}

/** A line about a device from what the run noted of it. */
function deviceLine(facts) {
  if (!facts) return '';
  const parts = [];
  if (facts.cpu) parts.push(String(facts.cpu));
  if (facts.gpu) parts.push(String(facts.gpu));
  if (facts.processors) parts.push(`${facts.processors} processors`);
  if (known(facts.memory_mb)) parts.push(`${(facts.memory_mb / 1024).toFixed(1)} GB`);
  return parts.join(', ');
}

function drawSummary() {
  const done = report.cells.filter((cell) => cell.done);
  const examples = report.cells.reduce((sum, cell) => sum + cell.n, 0);
  const models = unique(report.cells.map((cell) => cell.model.id)).length;
  const times = report.cells.flatMap((cell) => [cell.started, cell.finished]).filter(known);
  const cards = report.devices.map((device) => summaryCard('Device', device.name, deviceLine(device.facts)));
  cards.push(
    summaryCard('Models × tasks', `${models} × ${allTasks().length}`, `${done.length} of ${report.cells.length} cells done`),
    summaryCard('Examples', examples.toLocaleString('en'), report.cells.some((c) => c.skipped) ? `${report.cells.reduce((s, c) => s + c.skipped, 0)} skipped` : ''));
  if (times.length) cards.push(summaryCard('When', date(Math.min(...times)), `over ${duration(Math.max(...times) - Math.min(...times))}`));
  for (const run of report.runs)
    if (run.facts && run.facts.command) cards.push(el('div', { className: 'card wide' }, el('span', { className: 'small' }, 'To reproduce'), el('code', { tabIndex: 0 }, commandText(run.facts.command))));
  byId('summary').replaceChildren(...cards);
  const names = report.devices.map((device) => device.name).join(', ');
  byId('subtitle').textContent = [names, report.runs.map((run) => run.name).join(', ')].filter(Boolean).join(' · ');
  document.title = `tinyllm report${names ? `: ${names}` : ''}`;
}

/** Commands are stored as a string or as a list of arguments. */
function commandText(command) {
  if (!Array.isArray(command)) return String(command);
  return command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replaceAll("'", "'\\''")}'`)).join(' ');
}

function drawAbout() {
  const paragraphs = [
    'Accuracy is the share of right answers. The interval is Wilson’s at 95 %; a mark ° says that an exact binomial test cannot tell the cell from guessing, † that the model gave one label nearly always.',
    'Two models on the same examples are compared with McNemar’s exact test, corrected after Holm over all pairs of the task. A group of a task ends at the first model that is significantly below the group’s best.',
    'Inference time is the mean over examples of the forward pass alone. Avg. is the plain mean of the cells that succeeded, over the tasks that are shown.',
  ];
  const facts = report.runs.map((run, i) => el('details', {}, el('summary', {}, `What is known of ${run.name}`),
    el('pre', { tabIndex: 0 }, JSON.stringify({ ...run.facts, devices: report.devices.filter((_, d) => report.cells.some((c) => c.run === i && c.device === d)) }, null, 2))));
  byId('about-text').replaceChildren(...paragraphs.map((text) => el('p', {}, text)), ...facts);
}

/** Everything that depends on the data; the cell in sight stays. */
function drawAll() {
  drawSummary();
  drawFilters();
  drawMeasures();
  drawTable();
  drawMissing();
  layCharts();
  drawCharts();
  drawAbout();
  if (!report.cells.length) {
    byId('message').textContent = 'This run has no cells yet: nothing was planned, or it has just been started.';
    byId('message').hidden = false;
    byId('cell').hidden = true;
    return;
  }
  byId('cell').hidden = false;
  if (cellIndex < 0) cellIndex = Math.max(0, report.cells.findIndex((cell) => cell.n > 0));
  drawCellChoice();
  drawCell();
}

async function start() {
  setTheme('auto');
  onFilter(() => {
    drawTable();
    drawCharts();
  });
  onOpenCell((cell) => {
    showCell(cell);
    byId('cell').scrollIntoView();
    byId('cell-select').focus({ preventScroll: true });
  });
  try {
    await loadReport();
  } catch (problem) {
    byId('message').textContent = `The report could not be read: ${problem.message}`;
    byId('message').hidden = false;
    return;
  }
  drawAll();
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { drawCharts(); drawCell(); });
  window.matchMedia('(max-width: 720px)').addEventListener('change', drawCharts);
  /* Examples are read once the section comes into sight, or a cell is chosen. */
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting) || !report.cells.length) return;
    observer.disconnect();
    if (!browser.cell) showExamples(report.cells[cellIndex]);
  }).observe(byId('cell'));
  if (live) listen(() => loadReport().then(drawAll, () => {})); // the next event asks again
  document.documentElement.dataset.ready = 'true';
}

start();
