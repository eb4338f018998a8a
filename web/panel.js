// The panel at the side: a passage, a document. A sheet at the bottom on narrow screens, where it
// covers the page and takes its place for the keyboard too.

import { h, fill, iconButton, newId } from './dom.js';
import { t } from './i18n.js';

const narrow = matchMedia('(max-width: 1099px)');

let opener = null;
let onClose = null;

function parts() {
  return {
    panel: document.getElementById('panel'),
    main: document.getElementById('shell'),
    scrim: document.getElementById('scrim'),
  };
}

function setInert() {
  const { panel, main } = parts();
  main.inert = !panel.hidden && narrow.matches;
  document.body.classList.toggle('has-panel', !panel.hidden);
}

/** Opens the panel with a title; returns the element that takes the content. */
export function openPanel(title, { closed } = {}) {
  const { panel, scrim } = parts();
  if (panel.hidden) opener = document.activeElement;
  onClose?.();
  onClose = closed ?? null;
  const id = newId();
  const body = h('div', { class: 'panel-body', tabindex: '0' });
  const heading = h('h2', { id, tabindex: '-1' }, title);
  panel.setAttribute('aria-labelledby', id);
  fill(
    panel,
    h(
      'header',
      { class: 'panel-head' },
      heading,
      iconButton('close', t('close'), { onclick: closePanel }),
    ),
    body,
  );
  panel.hidden = false;
  scrim.hidden = false;
  setInert();
  heading.focus({ preventScroll: true });
  return body;
}

export function closePanel() {
  const { panel, scrim } = parts();
  if (panel.hidden) return;
  panel.hidden = true;
  scrim.hidden = true;
  setInert();
  onClose?.();
  onClose = null;
  if (opener?.isConnected) opener.focus();
  opener = null;
}

export function initPanel() {
  const { scrim } = parts();
  scrim.addEventListener('click', closePanel);
  narrow.addEventListener('change', setInert);
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) closePanel();
  });
}
