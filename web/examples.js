/* The examples of one cell. Only the rows in sight are in the document. */

const ITEM_HEIGHT = 64;
const EXCERPT = 240;

const browser = { cell: null, all: [], shown: [], at: -1, search: '', state: '', label: '', turn: 0, loading: false };

const verdictOf = (example) => (example.skipped ? 'skipped' : example.gold >= 0 && example.prediction === example.gold ? 'right' : 'wrong');

const states = [['', 'All'], ['right', 'Right'], ['wrong', 'Wrong'], ['skipped', 'Skipped'], ['truncated', 'Truncated']];

function layBrowser() {
  const search = el('input', { type: 'search', id: 'example-search', placeholder: 'Search questions and choices', 'aria-label': 'Search examples',
    oninput: () => { browser.search = search.value.toLowerCase(); sift(); } });
  const state = el('select', { id: 'example-state', 'aria-label': 'Which examples', onchange: () => { browser.state = state.value; sift(); } },
    ...states.map(([value, name]) => el('option', { value }, name)));
  const label = el('select', { id: 'example-label', 'aria-label': 'Predicted label', onchange: () => { browser.label = label.value; sift(); } });
  byId('examples').replaceChildren(
    el('div', { className: 'tools' }, search, state, label, el('span', { className: 'count', id: 'example-count', role: 'status' })),
    el('div', { className: 'split' },
      el('div', { className: 'list', id: 'example-list', tabIndex: 0, role: 'listbox', 'aria-label': 'Examples', onscroll: drawItems, onkeydown: moveByKey },
        el('div', { id: 'example-room', role: 'presentation' })),
      el('div', { className: 'detail', id: 'example-detail', tabIndex: 0, role: 'region', 'aria-label': 'The example' })));
}

function drawLabelChoice() {
  const count = browser.cell.predicted.length;
  byId('example-label').replaceChildren(el('option', { value: '' }, 'Any prediction'),
    ...Array.from({ length: count }, (_, i) => el('option', { value: i }, `Predicted ${labelName(i, browser.cell.protocol)}`)));
}

async function showExamples(cell) {
  const turn = ++browser.turn;
  Object.assign(browser, { cell, all: [], shown: [], at: -1, label: '', loading: true });
  if (!byId('example-list')) layBrowser();
  byId('examples-title').textContent = `Examples: ${cellTitle(cell)}`;
  drawLabelChoice();
  sift();
  try {
    await loadExamples(cell, (batch) => { browser.all.push(...batch); sift(); }, () => browser.turn === turn);
  } catch (problem) {
    if (browser.turn === turn) byId('example-detail').replaceChildren(el('p', { className: 'empty' }, problem.message));
  }
  if (browser.turn !== turn) return;
  browser.loading = false;
  sift();
}

function matches(example) {
  if (browser.state && browser.state !== verdictOf(example) && !(browser.state === 'truncated' && example.truncated)) return false;
  if (browser.label !== '' && example.prediction !== Number(browser.label)) return false;
  if (!browser.search) return true;
  return example.prompt.toLowerCase().includes(browser.search) ||
    example.choices.some((choice) => choice.toLowerCase().includes(browser.search)) ||
    String(example.row) === browser.search;
}

/* Applies search and filters; keeps the chosen example where it is still there. */
function sift() {
  const chosen = browser.shown[browser.at];
  browser.shown = browser.all.filter(matches);
  browser.at = browser.shown.indexOf(chosen);
  if (browser.at < 0 && browser.shown.length) browser.at = 0;
  const count = byId('example-count');
  count.textContent = browser.loading ? `${browser.shown.length} so far …` : `${browser.shown.length} of ${browser.all.length}`;
  byId('example-room').style.height = `${browser.shown.length * ITEM_HEIGHT}px`;
  drawItems();
  drawDetail();
}

/* What stands out of a prompt: its question, without the instruction that all share. */
function excerpt(prompt) {
  const body = prompt.slice(0, 4000);
  const from = body.search(/\b(Question|Context|Passage): /);
  return body.slice(from > 0 ? from : 0).slice(0, EXCERPT).replace(/\s+/g, ' ');
}

function item(example, index) {
  const verdict = verdictOf(example), protocol = browser.cell.protocol;
  const line = el('div', { className: 'item', id: `example-${index}`, role: 'option', 'aria-selected': String(index === browser.at),
    'aria-setsize': browser.shown.length, 'aria-posinset': index + 1, onclick: () => select(index) },
  el('span', { className: 'top-line' }, el('span', {}, `#${example.row}`), el('span', { className: verdict }, verdict === 'right' ? '✓ right' : verdict === 'wrong' ? '✗ wrong' : '– skipped'),
    el('span', {}, `${labelName(example.prediction, protocol)} for ${labelName(example.gold, protocol)}`),
    known(example.milliseconds) ? el('span', {}, `${short(example.milliseconds)} ms`) : null),
  el('span', { className: 'preview', dir: 'auto' }, excerpt(example.prompt)));
  line.style.top = `${index * ITEM_HEIGHT}px`;
  return line;
}

function drawItems() {
  const list = byId('example-list');
  const first = Math.max(0, Math.floor(list.scrollTop / ITEM_HEIGHT) - 4);
  const last = Math.min(browser.shown.length, first + Math.ceil(list.clientHeight / ITEM_HEIGHT) + 8);
  const items = [];
  for (let i = first; i < last; i++) items.push(item(browser.shown[i], i));
  byId('example-room').replaceChildren(...items);
  if (browser.at >= first && browser.at < last) list.setAttribute('aria-activedescendant', `example-${browser.at}`);
  else list.removeAttribute('aria-activedescendant');
}

function select(index) {
  if (!browser.shown.length) return;
  browser.at = Math.max(0, Math.min(index, browser.shown.length - 1));
  const list = byId('example-list'), top = browser.at * ITEM_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ITEM_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ITEM_HEIGHT - list.clientHeight;
  drawItems();
  drawDetail();
}

function moveByKey(event) {
  const page = Math.max(1, Math.floor(byId('example-list').clientHeight / ITEM_HEIGHT) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const step = steps[event.key];
  select(step === Infinity ? browser.shown.length - 1 : step === -Infinity ? 0 : browser.at + step);
}

function choiceLine(example, i) {
  const gold = i === example.gold, predicted = i === example.prediction, byLength = i === example.byLength;
  const tags = [gold ? 'right answer' : '', predicted ? 'predicted' : '', byLength && example.byLength !== example.prediction ? 'predicted by length' : ''].filter(Boolean);
  return el('div', { className: `choice${gold ? ' gold' : ''}${predicted ? ' predicted' : ''}`, role: 'listitem' },
    el('strong', {}, labelName(i, browser.cell.protocol)), el('span', { className: 'text', dir: 'auto' }, example.choices[i]),
    el('span', { className: 'score' }, known(example.scores[i]) ? example.scores[i].toFixed(3) : ''),
    tags.length ? el('span', { className: 'tags' }, tags.join(', ')) : null);
}

function drawDetail() {
  const example = browser.shown[browser.at], detail = byId('example-detail');
  if (!example) {
    const reason = browser.loading ? 'Loading …' : browser.all.length ? 'No example matches.' : 'No examples are stored for this cell.';
    return detail.replaceChildren(el('p', { className: 'empty' }, reason));
  }
  const verdict = verdictOf(example);
  detail.replaceChildren(...[
    el('p', {}, el('strong', {}, `#${example.row} `), el('span', { className: verdict }, verdict), example.skipped ? `: ${example.skipped}` : '',
      known(example.milliseconds) ? ` · ${short(example.milliseconds)} ms` : '', example.truncated ? ' · the prompt was truncated' : ''),
    el('pre', { dir: 'auto', tabIndex: 0, 'aria-label': 'Prompt' }, example.prompt),
    el('div', { role: 'list', 'aria-label': 'Choices and their scores' }, ...example.choices.map((_, i) => choiceLine(example, i)))]);
}
