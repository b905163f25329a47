'use strict';
/* Elements and numbers. Text from data goes through textContent alone, so that it stays text. */

/** Makes an element: el('p', {className: 'small'}, 'text', otherElement). */
function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.includes('-') || name === 'role' || name === 'for') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** A number with fixed decimals; "–" where it is not known. Halves go to the even digit, as in the printed tables. */
function fixed(value, decimals) {
  if (!known(value)) return '–';
  if (Math.abs(value * 2 ** (decimals + 1)) % 2 !== 1) return value.toFixed(decimals);
  const below = Math.floor(value * 10 ** decimals);
  return ((below % 2 === 0 ? below : below + 1) / 10 ** decimals).toFixed(decimals);
}

/** A number with about three digits. */
const short = (value) => (known(value) ? String(Number(value.toPrecision(3))) : '–');

function duration(seconds) {
  if (!known(seconds)) return '–';
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** Seconds since 1970, or any text that names a time. */
function date(value) {
  if (!known(value)) return value ? String(value) : '–';
  return new Date(value * 1000).toISOString().replace('T', ' ').slice(0, 16) + ' UTC';
}

const unique = (values) => [...new Set(values)];

/** "B" for the protocols that ask for a letter, "2" for choices scored by likelihood. */
function labelName(label, protocol) {
  if (label < 0 || !known(label)) return 'none';
  return protocol === 'loglikelihood' ? String(label + 1) : String.fromCharCode(65 + label);
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
