/* The page from disk in Chromium: node report.mjs TINYLLM MAKE_RUN SCRATCH. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { Browser, findBrowser } from './browser.mjs';
import { checkAccess, checkQuiet, texts } from './checks.mjs';

if (!findBrowser()) {
  console.log('skipped: no Chromium here');
  process.exit(77);
}
const [tinyllm, makeRun, scratch] = process.argv.slice(2);

function makePage(name, ...fixture) {
  execFileSync('rm', ['-rf', `${scratch}/${name}`]);
  execFileSync(makeRun, [`${scratch}/${name}`, ...fixture.map(String)]);
  execFileSync(tinyllm, ['report', `${scratch}/${name}`, '--html', `${scratch}/${name}.html`], { stdio: ['ignore', 'ignore', 'inherit'] });
  return `file://${scratch}/${name}.html`;
}

const reportOf = (name) => JSON.parse(execFileSync(tinyllm, ['report', `${scratch}/${name}`, '--format', 'json'], { encoding: 'utf8', maxBuffer: 1 << 28 }));

const column = (page, index) => texts(page, `#table tbody tr > :nth-child(${index})`);
const enter = (page, id, value, event) => page.evaluate(
  `(() => { const e = document.getElementById('${id}'); e.value = ${JSON.stringify(value)}; e.dispatchEvent(new Event('${event}')); })()`);
const click = (page, selector) => page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);

async function sortsAndFilters(browser) {
  const page = await browser.open(makePage('plain', 6, 3, 60, 'troubled', 'loglikelihood'));
  assert.equal((await column(page, 1)).length, 12);
  assert.deepEqual(await texts(page, '#table thead th'), ['Model', 'Parameters', 'Protocol', 'ARC-e', 'BoolQ', 'OBQA', 'Avg.']);
  await page.evaluate("[...document.querySelectorAll('#table thead button')].find((b) => b.textContent === 'ARC-e').click()");
  const values = (await column(page, 4)).map((text) => Number.parseFloat(text));
  assert.deepEqual(values, [...values].sort((a, b) => b - a), 'ARC-e sorted, best first');
  assert.equal(await page.evaluate("document.querySelector('th[aria-sort=descending]').textContent"), 'ARC-e');
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'ARC-e', 'focus stays');
  await page.evaluate("document.activeElement.click()");
  assert.deepEqual((await column(page, 4)).map((text) => Number.parseFloat(text)), values.reverse());
  await enter(page, 'filter-protocol', 'study', 'change');
  assert.equal((await column(page, 1)).length, 6);
  await enter(page, 'filter-model', 'TINY-C', 'input');
  assert.deepEqual(await column(page, 1), ['tiny-c-60M']);
  await click(page, '#filters input[value=boolq]');
  assert.deepEqual(await texts(page, '#table thead th'), ['Model', 'Parameters', 'Protocol', 'ARC-e', 'OBQA', 'Avg.']);
  await click(page, '#measures input[value=model_size]');
  assert.deepEqual(await column(page, 6), ['228.00']);
  await page.evaluate("visibleRows()[0].cells.arc_easy.timed_while_swapping = true");
  await click(page, '#measures input[value=inference_time]');
  assert.match(await page.evaluate("document.querySelector('#table tbody').textContent"), /20.88‡/, 'marked where it was timed while swapping');
  assert.match(await page.evaluate("document.getElementById('legend').textContent"), /‡ timed while pages came back from swap/);
  assert.match(await page.evaluate("document.getElementById('missing').textContent"), /tiny-f-120M on BoolQ.*oom_killed, 97 % of the system's memory/);
  assert.match(await page.evaluate("document.getElementById('missing').textContent"), /tiny-f-120M on OBQA.*running, 15 of 60 examples/);
  checkQuiet(page, 1);
  await page.close();
}

async function chartsShowTheStore(browser) {
  const page = await browser.open(`file://${scratch}/plain.html`);
  const report = reportOf('plain');
  const averages = Object.fromEntries(report.groups[0].rows.map((row) => [row.model.name, row.averages]));
  for (const [id, key] of [['bars-accuracy', 'accuracy'], ['bars-time', 'inference_time'], ['bars-memory', 'peak_memory']]) {
    const data = await page.evaluate(`(({ labels, datasets }) => ({ labels, values: datasets[0].data }))(drawn.get('${id}').data)`);
    assert.equal(data.labels.length, 6);
    data.labels.forEach((model, i) => assert.ok(Math.abs(data.values[i] - averages[model][key]) < 1e-9, `${id} of ${model}`));
    const painted = await page.evaluate(`(() => { const c = document.getElementById('${id}'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()`);
    assert.ok(painted > 2000, `${id} is drawn`);
  }
  const front = await page.evaluate("drawn.get('scatter').data.datasets.find((d) => d.front).data.map((p) => [p.x, p.y])");
  assert.ok(front.length > 1 && front.every(([x, y], i) => !i || (x > front[i - 1][0] && y > front[i - 1][1])), 'the front rises');
  const labels = await page.evaluate("drawn.get('labels').data.datasets.map((d) => d.data[1])");
  assert.ok(Math.abs(labels.reduce((a, b) => a + b) - 100) < 1e-9, 'shares of labels add up');
  await enter(page, 'cost', 'energy', 'change');
  assert.match((await texts(page, '#scatter-data thead th')).join(' '), /Energy/);
  checkQuiet(page, 1);
  await page.close();
}

async function examplesAreFound(browser) {
  const page = await browser.open(`file://${scratch}/plain.html`);
  assert.equal(await page.evaluate("document.querySelectorAll('.item').length"), 0, 'nothing is unpacked before it is looked at');
  await page.evaluate("[...document.querySelectorAll('#table td button')][1].click()");
  await page.until("document.getElementById('example-count').textContent === '60 of 60'");
  assert.ok(await page.evaluate("document.querySelectorAll('.item').length") < 40, 'only rows in sight are drawn');
  await enter(page, 'example-search', 'Number42 comes', 'input');
  assert.match(await page.evaluate("document.getElementById('example-count').textContent"), /^1 of 60$/);
  assert.match(await page.evaluate("document.getElementById('example-detail').textContent"), /#42 .*number42 comes first\?.*the first one/s);
  await enter(page, 'example-search', '', 'input');
  await page.evaluate("document.getElementById('example-list').focus()");
  await page.press('End');
  assert.match(await page.evaluate("document.getElementById('example-detail').textContent"), /#59 /);
  await enter(page, 'example-state', 'right', 'change');
  const shown = await page.evaluate("document.getElementById('example-count').textContent");
  const cell = await page.evaluate('cellIndex');
  assert.equal(shown, `${reportOf('plain').cells[cell].correct} of 60`);
  checkQuiet(page, 1);
  await page.close();
}

async function hostileTextStaysText(browser) {
  const page = await browser.open(makePage('hostile', 3, 2, 30, 'hostile'));
  await page.evaluate("document.getElementById('cell').scrollIntoView()");
  await page.until("document.getElementById('example-count')?.textContent === '30 of 30'");
  assert.equal(await page.evaluate('typeof window.hacked'), 'undefined');
  assert.equal(await page.evaluate("document.querySelectorAll('img, main b').length"), 0);
  assert.match(await page.evaluate("document.querySelector('.detail pre').textContent"), /<\/script><script>window\.hacked = 1<\/script><img src=x/);
  await page.evaluate('select(1)');
  assert.equal(await page.evaluate("document.querySelector('.detail pre').textContent.length"), 100000);
  assert.ok(await page.evaluate("document.querySelector('.item .preview').textContent.length") < 300);
  assert.ok((await column(page, 1)).some((text) => text.includes('</td><b onmouseover=alert(1)>|x`')));
  checkQuiet(page, 1);
  await page.close();
}

/* The best of three, since others may be at work on the machine. */
async function largeOpensSoon(browser) {
  const url = makePage('large', 20, 7, 1000);
  let page, best = Infinity;
  for (let i = 0; i < 3 && best > 2000; i++) {
    if (page) await page.close();
    page = await browser.open(url);
    best = Math.min(best, page.openedIn);
  }
  console.log(`20 models × 7 tasks × 1000 examples: opened in ${best} ms`);
  assert.ok(best < 2000, `opened in ${best} ms`);
  await page.evaluate('showCell(report.cells[139])');
  await page.until("document.getElementById('example-count')?.textContent === '1000 of 1000'");
  checkQuiet(page, 1);
  await page.close();
}

async function emptySaysSo(browser) {
  const page = await browser.open(makePage('empty', 0, 0, 0));
  assert.match(await page.evaluate("document.getElementById('message').textContent"), /no cells yet/);
  checkQuiet(page, 1);
  await page.close();
}

async function smallAndDark(browser) {
  for (const options of [{ width: 390, height: 844, phone: true }, { dark: true }]) {
    const page = await browser.open(`file://${scratch}/plain.html`, options);
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), options.width || 1300, 'nothing sticks out sideways');
    await page.evaluate('showCell(report.cells[0])');
    await page.until("document.getElementById('example-count')?.textContent === '60 of 60'");
    await checkAccess(page);
    await page.close();
  }
}

const browser = await Browser.start();
try {
  for (const test of [sortsAndFilters, chartsShowTheStore, examplesAreFound, hostileTextStaysText, emptySaysSo, smallAndDark, largeOpensSoon]) {
    await test(browser);
    console.log(`ok: ${test.name}`);
  }
} finally {
  await browser.stop();
}
