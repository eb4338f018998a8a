// The language of the page: the reader's choice, else the browser's, else English.

const STORE = 'souffleur.language';
export const LANGUAGES = { fr: 'Français', en: 'English' };

let language = 'en';
let strings = {};

function stored() {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null;
  }
}

function preferred() {
  const wanted = [stored(), ...(navigator.languages ?? [navigator.language])];
  const known = wanted.map((it) => it?.slice(0, 2).toLowerCase()).find((it) => it in LANGUAGES);
  return known ?? 'en';
}

/** French typography: no-break spaces before high punctuation and inside quotation marks. */
function typeset(text) {
  return text
    .replace(/ ([;!?%])/g, '\u202f$1')
    .replace(/ (:)/g, '\u00a0$1')
    .replace(/« /g, '«\u00a0')
    .replace(/ »/g, '\u00a0»')
    .replace(/'/g, '’');
}

async function load(path, wanted) {
  const words = (await import(`${path}${wanted}.js`)).default;
  return wanted === 'fr'
    ? Object.fromEntries(Object.entries(words).map(([key, text]) => [key, typeset(text)]))
    : words;
}

/** Loads the words of a language. */
export async function use(wanted = preferred()) {
  strings = await load('./', wanted);
  language = wanted;
  document.documentElement.lang = wanted;
}

/** Adds the words of views that few readers open, from a folder. */
export async function useMore(folder) {
  strings = { ...strings, ...(await load(`./${folder}/`, language)) };
}

/** Switches and remembers. */
export async function choose(wanted) {
  try {
    localStorage.setItem(STORE, wanted);
  } catch {
    // Storage may be forbidden: then the choice lasts as long as the page.
  }
  await use(wanted);
}

export function current() {
  return language;
}

/** A field of the server's that comes in English, and in French under a name that ends so. */
export function inLanguage(item, field) {
  return (language === 'fr' && item[`${field}_fr`]) || item[field];
}

/** Whether the page has words for something that the server names. */
export function has(key) {
  return key in strings;
}

/**
 * A text in the page's language. `{name}` is filled from `values`; with a number `n`, the form
 * `key_one` or `key_other` is taken.
 */
export function t(key, values = {}) {
  let text = strings[key];
  if (text === undefined && 'n' in values) {
    const form = new Intl.PluralRules(language).select(values.n) === 'one' ? 'one' : 'other';
    text = strings[`${key}_${form}`];
  }
  if (text === undefined) return key;
  const shown = (value) => (typeof value === 'number' ? number(value) : String(value));
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? shown(values[name]) : whole,
  );
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** A score with fixed digits, or a dash where there is none. */
export function score(value, digits = 2) {
  if (value === null || value === undefined) return '–';
  return new Intl.NumberFormat(language, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

/** A time of the server: ISO 8601, or seconds since 1970. */
function moment(value) {
  return new Date(typeof value === 'number' ? value * 1000 : value);
}

export function date(value) {
  if (!value) return '–';
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(moment(value));
}

export function dateTime(value) {
  if (!value) return '–';
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(
    moment(value),
  );
}

/** The seconds between two times of the server; to now without the second. */
export function secondsBetween(start, end) {
  return ((end ? moment(end) : new Date()) - moment(start)) / 1000;
}

export function bytes(value) {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];
  let unit = 0;
  let amount = value;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return new Intl.NumberFormat(language, {
    style: 'unit',
    unit: units[unit],
    unitDisplay: unit ? 'short' : 'long',
    maximumFractionDigits: unit && amount < 10 ? 1 : 0,
  }).format(amount);
}

export function duration(seconds) {
  if (seconds < 1) return `${number(seconds * 1000)} ms`;
  if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return t('days', { n: Math.floor(hours / 24) });
}
