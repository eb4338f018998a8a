// Signing in with a key, when the server asks for one, and out again. The key itself is not kept:
// the server gives a cookie for it that scripts cannot read.

import * as api from './api.js';
import { h, icon, newId, openDialog } from './dom.js';
import { describe } from './errors.js';
import { t } from './i18n.js';
import { drop, keep } from './store.js';

/** Asks for a key until the server takes one. */
export async function signIn() {
  let done = false;
  while (!done) {
    done = (await openDialog(t('signInTitle'), form, { kind: 'small sticky' })) === 'yes';
    // Escape closes a dialog, but without a key there is nothing to see.
  }
  keep('signed-in', 'yes');
  document.dispatchEvent(new Event('session'));
}

function form(close) {
  const id = newId();
  const key = h('input', {
    id,
    type: 'password',
    autocomplete: 'current-password',
    required: true,
    autofocus: true,
    spellcheck: 'false',
    'aria-describedby': `${id}-error`,
  });
  const error = h('p', { class: 'field-error', id: `${id}-error`, role: 'alert' });
  const element = h(
    'form',
    { class: 'stack' },
    h('p', null, t('signInLead')),
    h('div', { class: 'field' }, h('label', { for: id }, t('key')), key, error),
    h(
      'div',
      { class: 'dialog-actions' },
      h(
        'button',
        { type: 'submit', class: 'button primary' },
        icon('key'),
        h('span', null, t('signIn')),
      ),
    ),
  );
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    error.textContent = '';
    try {
      await api.signIn(key.value.trim());
      close('yes');
    } catch (failed) {
      error.textContent = failed.status === 401 ? t('keyWrong') : describe(failed);
      key.select();
    }
  });
  return element;
}

export async function signOut() {
  await api.signOut();
  drop('signed-in');
  location.reload();
}
