// Evaluating and training: four views behind one entry of the navigation, each loaded when it is
// opened.

import * as api from '../api.js';
import { failure, fill, h, styles } from '../dom.js';
import { t, useMore } from '../i18n.js';
import { beginButton } from './begin.js';

const VIEWS = [
  { id: 'arena', load: () => import('./arena.js') },
  { id: 'comparisons', admin: true, load: () => import('./comparisons.js') },
  { id: 'datasets', admin: true, load: () => import('./datasets.js') },
  { id: 'runs', admin: true, load: () => import('./runs.js') },
];

export const title = () => t('navLab');

export async function mount(root, [id, ...parameters]) {
  const [me] = await Promise.all([api.me(), useMore('lab'), styles('lab/lab.css')]);
  const views = VIEWS.filter((it) => !it.admin || api.may(me, 'admin'));
  const view = views.find((it) => it.id === id) ?? views[0];
  const body = h('div', { class: 'lab-view' });
  fill(
    root,
    h(
      'div',
      { class: 'page lab' },
      h('header', { class: 'page-head' }, h('h1', null, t('navLab'))),
      h(
        'nav',
        { class: 'lab-tabs', 'aria-label': t('navLab') },
        views.map((it) =>
          h(
            'a',
            { href: `#/lab/${it.id}`, 'aria-current': it === view ? 'page' : null },
            t(`lab_${it.id}`),
          ),
        ),
      ),
      body,
    ),
  );
  try {
    const module = await view.load();
    return await module.mount(body, view.id === id ? parameters : []);
  } catch (error) {
    fill(
      body,
      failure(error, () => mount(root, [id, ...parameters])),
    );
    return null;
  }
}

/** A table whose first column names its rows. */
export function table(caption, head, rows) {
  return h(
    'div',
    { class: 'wide', role: 'region', 'aria-label': caption, tabindex: '0' },
    h(
      'table',
      { class: 'numbers' },
      h('caption', { class: 'sr' }, caption),
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          head.map((it) => h('th', { scope: 'col' }, it)),
        ),
      ),
      h(
        'tbody',
        null,
        rows.map(([name, ...cells]) =>
          h(
            'tr',
            null,
            h('th', { scope: 'row' }, name),
            cells.map((it) => h('td', null, it)),
          ),
        ),
      ),
    ),
  );
}

/** What a view shows where there is nothing yet: what is missing, and what makes it: a command, or
 * the work `begin` begun here. */
export function blank(titleKey, hintKey, command, begin) {
  return h(
    'div',
    { class: 'blank' },
    h('p', { class: 'blank-title' }, t(titleKey)),
    h('p', null, t(hintKey)),
    begin ? beginButton(begin) : null,
    command ? h('code', null, command) : null,
  );
}
