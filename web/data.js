/* The report: inside the page, or fetched from the run that is served. Examples come later, cell by
 * cell, when somebody looks at them. */

const live = !byId('report');
let report = { runs: [], devices: [], cells: [], groups: [], measures: [] };
let reportVersion = null; // of the run, where it is served
let rows = []; // one for each model under the same conditions

function embedded(id) {
  const element = byId(id);
  return element ? JSON.parse(element.textContent) : null;
}

async function loadReport() {
  if (live) {
    const answer = await fetch('report.json');
    report = await answer.json();
    reportVersion = answer.headers.get('ETag');
  } else {
    report = embedded('report');
  }
  report.cells.forEach((cell, index) => {
    cell.index = index;
    cell.deviceName = report.devices[cell.device].name;
    cell.runName = report.runs[cell.run].name;
  });
  rows = report.groups.flatMap((group) =>
    group.rows.map((row) => ({
      model: row.model,
      group,
      device: report.devices[group.device].name,
      run: report.runs[group.run].name,
      cells: Object.fromEntries(
        row.cells.map((cell, i) => [group.tasks[i].name, cell === null ? null : report.cells[cell]])),
    })));
  noteRanks();
}

/* The group of each cell in the ranking of its task. */
function noteRanks() {
  for (const group of report.groups)
    for (const ranking of group.rankings)
      for (const place of ranking.order) report.cells[place.cell].rank = place.group;
}

/** The tasks of all groups, in the order of the tables. */
function allTasks() {
  const tasks = new Map();
  for (const group of report.groups) for (const task of group.tasks) tasks.set(task.name, task.title);
  return [...tasks].map(([name, title]) => ({ name, title }));
}

const measureOf = (key) => report.measures.find((measure) => measure.key === key);

/** Mean of a measure over the given tasks that succeeded. */
function average(row, key, tasks) {
  const values = tasks.map((task) => row.cells[task.name])
    .filter((cell) => cell && cell.done && known(cell.values[key]))
    .map((cell) => cell.values[key]);
  return values.length ? values.reduce((a, b) => a + b) / values.length : NaN;
}

/** What tells this row's conditions from those of others: "Board · q8". */
function conditions(row) {
  const varying = (read) => unique(rows.map(read)).length > 1;
  const parts = [];
  const readers = [(r) => r.device, (r) => r.group.protocol, (r) => r.group.dtype,
    (r) => (r.group.precision === 'exact' ? '' : r.group.precision), (r) => (r.group.shots ? `${r.group.shots}-shot` : '')];
  for (const read of readers) if (varying(read) && read(row)) parts.push(read(row));
  const runsOfDevice = unique(rows.filter((r) => r.device === row.device).map((r) => r.run));
  if (runsOfDevice.length > 1) parts.push(row.run);
  return parts.join(' · ') || row.device;
}

/* ---- examples ---- */

async function openChunk(id) {
  const packed = Uint8Array.from(atob(byId(`chunk-${id}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).json();
}

/* [row, prompt, choices, gold, prediction, by length, scores, milliseconds, truncated, skipped] */
function toExample([row, prompt, choices, gold, prediction, byLength, scores, milliseconds, truncated, skipped]) {
  return { row, prompt, choices, gold, prediction, byLength, scores, milliseconds, truncated: !!truncated, skipped: skipped || '' };
}

/** Calls `take` with arrays of examples until the cell's are all there, or `wanted()` turns false. */
async function loadExamples(cell, take, wanted) {
  return live ? fetchExamples(cell, take, wanted) : unpackExamples(cell, take, wanted);
}

async function fetchExamples(cell, take, wanted) {
  let from = 0;
  while (from !== null && wanted()) {
    const batch = await (await fetch(`examples?cell=${cell.index}&from=${from}`)).json();
    if (wanted()) take(batch.items.map(toExample));
    from = batch.next;
  }
}

let chunkIndex = null;

async function unpackExamples(cell, take, wanted) {
  chunkIndex = chunkIndex || embedded('chunks');
  const place = chunkIndex && chunkIndex.cells[cell.index];
  if (!place) return;
  if (typeof DecompressionStream === 'undefined')
    throw new Error('This browser cannot unpack the examples (it lacks DecompressionStream).');
  const shared = chunkIndex.questions[place.questions];
  const questions = new Map();
  for (let id = shared.first; id < shared.last && wanted(); id++)
    for (const [row, ...question] of await openChunk(id)) questions.set(row, question);
  for (let id = place.first; id < place.last && wanted(); id++) {
    const answers = await openChunk(id);
    if (wanted()) take(answers.map(([row, ...answer]) => {
      const question = answer.length > 6 ? answer.slice(6) : questions.get(row) || ['', [], -1];
      return toExample([row, ...question, ...answer.slice(0, 6)]);
    }));
  }
}
