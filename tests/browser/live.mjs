/* The page of tinyllm serve in Chromium, while the run grows: node live.mjs TINYLLM MAKE_RUN SCRATCH. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { get } from 'node:http';
import { Browser, findBrowser } from './browser.mjs';
import { checkAccess, texts } from './checks.mjs';

if (!findBrowser()) {
  console.log('skipped: no Chromium here');
  process.exit(77);
}
const [tinyllm, makeRun, scratch] = process.argv.slice(2);
const directory = `${scratch}/run`;

/** Starts the server and gives its address. */
function serve() {
  const server = spawn(tinyllm, ['serve', directory, '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    server.stdout.setEncoding('utf8').once('data', (line) => resolve({ server, url: line.trim() }));
    server.once('exit', (status) => reject(new Error(`tinyllm serve ended with ${status}`)));
  });
}

/* The page may look while a run is being written: each state is waited for, to its last part. */
async function growsWhileLookedAt(page) {
  assert.match(await page.evaluate("document.getElementById('message').textContent"), /no cells yet/);
  execFileSync(makeRun, [directory, '2', '2', '30']);
  await page.until("document.getElementById('progress-text').textContent.includes('120 of 120 examples · 4 of 4 cells')");
  await page.until("document.querySelectorAll('#table tbody tr').length === 2");
  /* As if the run had grown between the report and the first event: the next one brings it. */
  await page.evaluate("(() => { document.querySelector('#table tbody').replaceChildren(); reportVersion = 'an older one'; })()");
  await page.until("document.querySelectorAll('#table tbody tr').length === 2");
  execFileSync(makeRun, [directory, '3', '3', '30', 'troubled']);
  await page.until("document.getElementById('progress-text').textContent.includes('now tiny-c-60M on OBQA: 7 of 30')");
  await page.until("document.getElementById('missing').textContent.includes(\"97 % of the system's memory\")");
  await page.until("document.querySelector('[role=progressbar]').getAttribute('aria-valuenow') === '90'");
  await page.until("document.querySelectorAll('#table tbody tr').length === 3");
  await page.until("document.querySelectorAll('#table thead th').length === 6");
  assert.deepEqual(await texts(page, '#table thead th'), ['Model', 'Parameters', 'ARC-e', 'BoolQ', 'OBQA', 'Avg.']);
}

async function showsExamples(page) {
  await page.evaluate('showCell(report.cells[1])');
  await page.until("document.getElementById('example-count')?.textContent === '30 of 30'");
  await page.evaluate("(() => { const s = document.getElementById('example-search'); s.value = 'number17 '; s.dispatchEvent(new Event('input')); })()");
  assert.match(await page.evaluate("document.getElementById('example-detail').textContent"), /#17 /);
}

async function refuses(url) {
  assert.equal((await fetch(url, { method: 'POST', body: 'x' })).status, 405);
  assert.equal((await fetch(`${url}nothing`)).status, 404);
  assert.equal((await fetch(`${url}../../etc/passwd`)).status, 404);
  assert.equal((await fetch(`${url}examples?cell=99&from=0`)).status, 404);
  assert.equal((await fetch(`${url}examples?cell=x&from=0`)).status, 400);
  const foreign = await new Promise((resolve) => get(url, { headers: { Host: 'example.org' } }, (answer) => resolve(answer.statusCode)));
  assert.equal(foreign, 403);
}

mkdirSync(directory);
const { server, url } = await serve();
const browser = await Browser.start();
try {
  const page = await browser.open(url);
  await growsWhileLookedAt(page);
  await showsExamples(page);
  await checkAccess(page);
  assert.deepEqual(page.problems, []);
  assert.deepEqual(page.requests.filter((request) => !request.startsWith(url) && !request.startsWith('data:')), []);
  await refuses(url);
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  assert.equal(await ended, 0, 'stops at once, with a page still listening');
  console.log('ok: live');
} finally {
  server.kill();
  await browser.stop();
}
