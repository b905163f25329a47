/* What every page is checked for. */
import assert from 'node:assert/strict';

/** The texts of all elements that match, without what only screen readers get. */
export const texts = (page, selector) => page.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((e) => {
  const copy = e.cloneNode(true);
  copy.querySelectorAll('.unseen, .interval, .mark').forEach((x) => x.remove());
  return copy.textContent.trim();
})`);

/** No console errors; no requests but the page itself (and, live, its own server's). */
export function checkQuiet(page, requests) {
  assert.deepEqual(page.problems, []);
  const outside = page.requests.filter((url) => !url.startsWith('data:') && !url.startsWith('blob:'));
  assert.ok(outside.length <= requests, `requests: ${outside.join(' ')}`);
}

/* Relative luminance and contrast as WCAG 2 defines them. */
const contrastInPage = `(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const backOf = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll('main *, header *')) {
    if (e.classList.contains('unseen') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height || e.closest('[hidden]') || e.tagName === 'OPTION') continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(backOf(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(e.tagName + '.' + e.className + ' "' + e.textContent.slice(0, 30) + '" ' + ratio.toFixed(2));
  }
  return poor;
})()`;

/** Basics of access: names for controls, one h1, headings in order, table headers, contrast, language, no positive tabindex. */
export async function checkAccess(page) {
  const { nodes } = await page.send('Accessibility.getFullAXTree');
  const needNames = new Set(['button', 'link', 'textbox', 'searchbox', 'combobox', 'checkbox', 'radio', 'img', 'listbox', 'region', 'table', 'progressbar']);
  const nameless = nodes.filter((node) => !node.ignored && needNames.has(node.role?.value) && node.role.value !== 'table' && !node.name?.value);
  assert.deepEqual(nameless.map((node) => node.role.value), [], 'every control has a name');
  assert.equal(await page.evaluate("document.querySelectorAll('h1').length"), 1);
  const levels = await page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].filter((h) => h.offsetParent).map((h) => Number(h.tagName[1]))");
  levels.forEach((level, i) => assert.ok(!i || level <= levels[i - 1] + 1, `headings in order: ${levels}`));
  assert.equal(await page.evaluate('document.documentElement.lang'), 'en');
  assert.equal(await page.evaluate("document.querySelectorAll('[tabindex]:not([tabindex=\"0\"]):not([tabindex=\"-1\"])').length"), 0);
  assert.equal(await page.evaluate("[...document.querySelectorAll('#table td')].every((c) => c.closest('table').querySelector('thead th[scope=col]'))"), true);
  assert.deepEqual(await page.evaluate(contrastInPage), [], 'text stands out from its background');
}
