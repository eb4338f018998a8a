// The page's frame: navigation, language, theme, and which view is shown.

import { onUnauthorized } from './api.js';
import * as ask from './ask.js';
import { initConversations, openHistory, refreshConversations } from './conversations.js';
import { button, failure, fill, h, icon, iconButton, moreStyles, toast } from './dom.js';
import { describe } from './errors.js';
import { LANGUAGES, choose, current, t, use } from './i18n.js';
import { closePanel, initPanel } from './panel.js';
import { drop, keep, kept } from './store.js';

/**
 * The views, in the order of the navigation. A view module has `title()` and `mount(root,
 * parameters)`, which may return what to do when the view is left.
 */
const VIEWS = [
  { id: 'ask', icon: 'ask', label: 'navAsk', short: 'navAskShort', load: async () => ask },
  {
    id: 'documents',
    icon: 'documents',
    label: 'navDocuments',
    load: () => import('./documents.js'),
  },
  { id: 'jobs', icon: 'jobs', label: 'navJobs', load: () => import('./jobs.js') },
  {
    id: 'lab',
    icon: 'lab',
    label: 'navLab',
    short: 'navLabShort',
    load: () => import('./lab/lab.js'),
  },
  { id: 'health', icon: 'health', label: 'navHealth', load: () => import('./health.js') },
];

const login = () => import('./login.js');

let leave = null;
/** Counts navigations, so that a slow view does not draw over a later one. */
let turn = 0;

function route() {
  const [id, ...parameters] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const view = VIEWS.find((it) => it.id === id) ?? VIEWS[0];
  return { view, parameters: view.id === id ? parameters : [] };
}

async function show() {
  turn += 1;
  const mine = turn;
  const { view, parameters } = route();
  leave?.();
  leave = null;
  closePanel();
  markCurrent(view);
  const main = document.getElementById('main');
  main.dataset.view = view.id;
  try {
    const [module] = await Promise.all([view.load(), view.id === 'ask' ? null : moreStyles()]);
    if (mine !== turn) return;
    document.title = `${module.title()} · Souffleur`;
    const left = await module.mount(main, parameters);
    if (mine === turn) leave = left ?? null;
    else left?.();
  } catch (error) {
    if (mine === turn)
      fill(
        main,
        failure(error, () => show()),
      );
  }
}

// The frame

function markCurrent(view) {
  for (const link of document.querySelectorAll('[data-view]')) {
    if (link.dataset.view === view.id) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function frame() {
  document.getElementById('skip').textContent = t('skip');
  const label = (it, name) => t((name === 'tabbar' && it.short) || it.label);
  const links = (name) =>
    h(
      'nav',
      { class: name, 'aria-label': t('navigation') },
      h(
        'ul',
        null,
        VIEWS.map((it) =>
          h(
            'li',
            null,
            h(
              'a',
              { href: `#/${it.id}`, 'data-view': it.id },
              icon(it.icon),
              h('span', null, label(it, name)),
            ),
          ),
        ),
      ),
    );
  const conversations = h('div', { id: 'conversations' });
  fill(
    document.getElementById('side'),
    h(
      'div',
      { class: 'side-head' },
      h(
        'a',
        { class: 'brand', href: '#/ask', 'aria-label': 'Souffleur' },
        brand(),
        h('span', null, 'Souffleur'),
      ),
      h('span', { class: 'gap' }),
      iconButton('history', t('recent'), {
        class: 'icon-button narrow-only',
        onclick: openHistory,
      }),
      h('span', { class: 'narrow-only settings' }, settings()),
    ),
    links('nav'),
    h(
      'section',
      { class: 'side-section wide-only', 'aria-label': t('recent') },
      h(
        'div',
        { class: 'side-title' },
        h('h2', null, t('recent')),
        h(
          'a',
          {
            class: 'icon-button small',
            href: '#/ask/new',
            'aria-label': t('newQuestion'),
            title: t('newQuestion'),
          },
          icon('plus'),
        ),
      ),
      conversations,
    ),
    h('div', { class: 'side-foot wide-only' }, settings()),
  );
  fill(document.getElementById('tabs'), links('tabbar'));
  markCurrent(route().view);
  initConversations(conversations, ask.forget);
}

/** The prompter's box at the front of the stage, and the whisper that comes out of it. */
function brand() {
  const svg = icon('ask');
  svg.setAttribute('class', 'logo');
  const [box, whisper] = [
    'M2.5 20a7 7 0 0 1 14 0z',
    'M15 9.8a8 8 0 0 1 4.7 4.7M16.3 5.5a12 12 0 0 1 6 6',
  ];
  svg.firstChild.setAttribute('d', box);
  const second = svg.firstChild.cloneNode();
  second.setAttribute('d', whisper);
  svg.append(second);
  return svg;
}

function settings() {
  const other = current() === 'fr' ? 'en' : 'fr';
  const theme = kept('theme') ?? 'auto';
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[theme];
  const icons = { auto: 'auto', light: 'sun', dark: 'moon' };
  return [
    button(LANGUAGES[other], {
      kind: 'quiet',
      lang: other,
      class: 'button quiet language',
      onclick: async () => {
        await choose(other);
        frame();
        await show();
        focusShown('.language');
      },
    }),
    iconButton(icons[theme], `${t('theme')}${t('colon')} ${t(`theme_${theme}`)}`, {
      class: 'icon-button theme',
      onclick: () => {
        setTheme(next);
        frame();
        focusShown('.theme');
      },
    }),
    kept('signed-in')
      ? iconButton('leave', t('signOut'), {
          onclick: () =>
            login()
              .then((it) => it.signOut())
              .catch((error) => toast(describe(error), 'bad')),
        })
      : null,
  ];
}

/** The frame was drawn anew: the focus goes back to where it was. */
function focusShown(selector) {
  Array.from(document.querySelectorAll(selector))
    .find((it) => it.offsetParent)
    ?.focus();
}

function setTheme(theme) {
  if (theme === 'auto') {
    drop('theme');
    delete document.documentElement.dataset.theme;
  } else {
    keep('theme', theme);
    document.documentElement.dataset.theme = theme;
  }
}

/** `/` leads to the question, from anywhere but a field. */
function shortcuts(event) {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, select, dialog, [contenteditable]')) return;
  event.preventDefault();
  const box = document.getElementById('question') ?? document.querySelector('input[type=search]');
  if (box) box.focus();
  else location.hash = '#/ask';
}

async function start() {
  await use();
  onUnauthorized(async () => (await login()).signIn());
  initPanel();
  frame();
  document.addEventListener('session', () => {
    frame();
    refreshConversations();
  });
  document.addEventListener('keydown', shortcuts);
  // The address's fragment names the view, so the skip link moves the focus itself.
  document.getElementById('skip').addEventListener('click', (event) => {
    event.preventDefault();
    document.getElementById('main').focus();
  });
  addEventListener('hashchange', () => show());
  await show();
}

start();
