// Small helpers that build DOM nodes. Nothing here, nor anywhere on the page, parses HTML from data.

import { icon } from './icons.js';
import { describe } from './errors.js';
import { t } from './i18n.js';

export { icon };

/** `h('p', {class: 'x', onclick: f}, 'text', node, null)`. Strings become text, never markup. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
}

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A button with an icon and a visible text. */
export function button(text, { icon: name, kind = '', ...props } = {}) {
  return h(
    'button',
    { type: 'button', class: `button ${kind}`, ...props },
    name ? icon(name) : null,
    h('span', null, text),
  );
}

/** A button that shows an icon alone; its name is read aloud and shown on hover. */
export function iconButton(name, label, props = {}) {
  return h(
    'button',
    {
      type: 'button',
      class: 'icon-button',
      'aria-label': label,
      title: label,
      ...props,
    },
    icon(name),
  );
}

/** A link that leaves this page for a new tab. */
export function externalLink(text, href, props = {}) {
  return h(
    'a',
    { href, target: '_blank', rel: 'noopener', ...props },
    text,
    icon('external'),
    h('span', { class: 'sr' }, ` ${t('newTab')}`),
  );
}

/** A box that tells something; `kind` is info, warn, bad or ok. */
export function notice(kind, ...children) {
  const names = { info: 'info', warn: 'warn', bad: 'bang', ok: 'check' };
  return h(
    'div',
    { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : null },
    icon(names[kind]),
    h('div', null, ...children),
  );
}

let unique = 0;

/** An id that no other element has. */
export function newId() {
  unique += 1;
  return `s${unique}`;
}

/** Says something to screen readers, politely. */
export function announce(text) {
  const region = document.getElementById('announcer');
  if (!region) return;
  // A new node each time: the same words said twice are read twice.
  region.replaceChildren(h('p', null, text));
}

/** A short message in the corner. Errors stay until they are closed. */
export function toast(text, kind = 'info') {
  const region = document.getElementById('toasts');
  const item = h(
    'div',
    { class: `toast ${kind}`, role: kind === 'bad' ? 'alert' : 'status' },
    h('p', null, text),
    iconButton('close', t('close'), { onclick: () => item.remove() }),
  );
  region.append(item);
  if (kind !== 'bad') setTimeout(() => item.remove(), 6000);
}

/** A modal dialog. Resolves when it closes, with its return value. */
export function openDialog(title, build, { kind = '' } = {}) {
  const id = newId();
  const dialog = h('dialog', { class: `dialog ${kind}`, 'aria-labelledby': id });
  const close = (value) => dialog.close(value);
  dialog.append(
    h(
      'header',
      null,
      h('h2', { id }, title),
      iconButton('close', t('close'), { onclick: () => close('') }),
    ),
    h('div', { class: 'dialog-body' }, build(close, dialog)),
  );
  dialog.addEventListener('click', (event) => {
    // A click on the backdrop reaches the dialog itself.
    if (event.target === dialog && !kind.includes('sticky')) close('');
  });
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Asks before something that cannot be undone. Resolves to whether it was confirmed. */
export async function confirmDialog({ title, body, action }) {
  const answer = await openDialog(
    title,
    (close) => [
      ...body.map((it) => h('p', null, it)),
      h(
        'div',
        { class: 'dialog-actions' },
        button(t('cancel'), { onclick: () => close(''), autofocus: true }),
        button(action, { kind: 'danger', icon: 'trash', onclick: () => close('yes') }),
      ),
    ],
    { kind: 'small' },
  );
  return answer === 'yes';
}

/** Tells an error of the server where a view would have shown its data. */
export function failure(error, retry) {
  return notice(
    'bad',
    h('p', null, describe(error)),
    retry ? button(t('tryAgain'), { icon: 'refresh', onclick: retry }) : null,
  );
}

/** Copies text; works without a secure context too, which an intranet often lacks. */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h('textarea', { class: 'sr', readonly: true });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error(t('copyFailed'));
}

/** Hands a text to the browser as a file. */
export function downloadText(name, text, type = 'text/markdown') {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const sheets = new Map();

/** Loads a style sheet once; resolves when it applies. */
export function styles(name) {
  if (!sheets.has(name)) {
    const link = h('link', { rel: 'stylesheet', href: new URL(name, import.meta.url).href });
    const ready = new Promise((resolve) => {
      link.addEventListener('load', resolve);
      link.addEventListener('error', resolve);
    });
    sheets.set(name, ready);
    document.head.append(link);
  }
  return sheets.get(name);
}

/** The styles of the views beyond the first. */
export const moreStyles = () => styles('more.css');
