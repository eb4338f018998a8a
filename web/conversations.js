// The list of recent conversations: at the side, or in a dialog on narrow screens.

import * as api from './api.js';
import { confirmDialog, failure, fill, h, iconButton, openDialog, toast } from './dom.js';
import { describe } from './errors.js';
import { date, t } from './i18n.js';

let list = null;
let current = null;
let known = [];
let forget = () => {};

/** Shows the list in `element` from now on; `deleted(id)` is called for each deleted one. */
export function initConversations(element, deleted) {
  list = element;
  forget = deleted;
  refreshConversations();
}

export function currentConversation(id) {
  current = id;
  draw();
}

export async function refreshConversations() {
  try {
    known = await api.conversations();
    draw();
  } catch (error) {
    if (list) fill(list, h('p', { class: 'hint' }, describe(error)));
  }
}

function draw() {
  if (list) fill(list, items());
}

function items(leave = () => {}) {
  if (!known.length) return h('p', { class: 'hint' }, t('noConversations'));
  return h(
    'ul',
    { class: 'conversations' },
    known.map((it) =>
      h(
        'li',
        null,
        h(
          'a',
          {
            href: `#/ask/${encodeURIComponent(it.id)}`,
            'aria-current': it.id === current ? 'true' : null,
            onclick: leave,
            title: it.title,
          },
          h('span', { class: 'conversation-title' }, it.title),
          h('span', { class: 'sr' }, `, ${date(it.updated)}`),
        ),
        iconButton('trash', t('deleteConversation', { title: it.title }), {
          class: 'icon-button small',
          onclick: () => remove(it, leave),
        }),
      ),
    ),
  );
}

async function remove(conversation, leave) {
  const sure = await confirmDialog({
    title: t('deleteConversationTitle'),
    body: [t('quoted', { text: conversation.title }), t('deleteConversationBody')],
    action: t('delete'),
  });
  if (!sure) return;
  try {
    await api.deleteConversation(conversation.id);
  } catch (error) {
    toast(describe(error), 'bad');
    return;
  }
  leave();
  forget(conversation.id);
  await refreshConversations();
}

/** The same list in a dialog. */
export function openHistory() {
  return openDialog(
    t('recent'),
    (close) => {
      const body = h('div', { class: 'history' }, h('p', { class: 'muted' }, t('loading')));
      api.conversations().then(
        (it) => {
          known = it;
          fill(
            body,
            items(() => close('')),
          );
        },
        (error) => fill(body, failure(error)),
      );
      return body;
    },
    { kind: 'small' },
  );
}
