// The view in which questions are asked: a box, and the conversation above it.

import * as api from './api.js';
import { draftReader, finishedText, turnView } from './answer.js';
import { currentConversation, refreshConversations } from './conversations.js';
import {
  announce,
  button,
  downloadText,
  failure,
  fill,
  h,
  icon,
  iconButton,
  notice,
  toast,
} from './dom.js';
import { describe } from './errors.js';
import { number, t } from './i18n.js';
import { closePanel } from './panel.js';
import { keep, kept } from './store.js';

/** What outlives the view: a reader may look at the documents while an answer is written. */
const state = {
  conversation: null,
  title: null,
  turns: [],
  running: null,
  collections: [],
  documents: null,
  mayAdd: true,
  adapters: [],
  models: [],
};

let view = null;

export const title = () => t('navAsk');

/** Shows the conversation `id`, the current one, or with `new` an empty one. */
export async function mount(root, [id]) {
  view = build(root);
  draw();
  loadChoices();
  if (id === 'new' || (!id && !state.turns.length)) startNew();
  else if (id && id !== state.conversation) await openConversation(id);
  if (!matchMedia('(max-width: 859px)').matches) view.box.focus();
  return () => {
    view = null;
  };
}

function build(root) {
  const thread = h('div', { class: 'thread' });
  const welcome = h('div', { class: 'welcome' });
  const head = h('div', { class: 'thread-head' });
  const element = h('div', { class: 'ask' }, head, thread, welcome);
  const res = { element, thread, welcome, head, ...composer() };
  element.append(res.form);
  fill(root, element);
  return res;
}

function composer() {
  const box = h('textarea', {
    id: 'question',
    rows: '1',
    placeholder: t('questionPlaceholder'),
    maxlength: '4000',
    enterkeyhint: 'send',
    autocomplete: 'off',
    'aria-describedby': 'question-hint',
  });
  const collection = h('select', { id: 'collection' });
  const mode = h('select', { id: 'mode' });
  const submit = h('button', { type: 'submit', class: 'send' });
  const form = h(
    'form',
    { class: 'composer' },
    h('label', { class: 'sr', for: 'question' }, t('questionLabel')),
    h(
      'div',
      { class: 'composer-box' },
      box,
      h(
        'div',
        { class: 'composer-row' },
        h(
          'label',
          { class: 'pick' },
          h('span', { class: 'sr' }, t('pickCollection')),
          icon('documents'),
          collection,
        ),
        h('label', { class: 'pick' }, h('span', { class: 'sr' }, t('pickMode')), icon('ask'), mode),
        submit,
      ),
    ),
    h('p', { class: 'sr', id: 'question-hint' }, t('questionHint')),
  );
  const grow = () => {
    box.style.blockSize = 'auto';
    box.style.blockSize = `${Math.min(box.scrollHeight + 2, innerHeight * 0.35)}px`;
  };
  box.addEventListener('input', grow);
  box.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!state.running) form.requestSubmit();
    }
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (state.running) {
      stop();
      return;
    }
    const question = box.value.trim();
    if (!question) {
      box.focus();
      return;
    }
    box.value = '';
    grow();
    run(question);
  });
  collection.addEventListener('change', () => keep('collection', collection.value));
  mode.addEventListener('change', () => {
    keep('mode', mode.value);
    drawMode();
  });
  return { form, box, grow, collection, mode, submit };
}

// Choices: collections and ways of answering

async function loadChoices() {
  if (!view) return;
  try {
    const [collections, models, documents, me] = await Promise.all([
      api.collections(),
      api.models(),
      api.documents({ limit: 1 }),
      api.me(),
    ]);
    Object.assign(state, {
      collections,
      models,
      documents: documents.total,
      mayAdd: api.may(me, 'write'),
    });
  } catch (error) {
    if (view && !state.turns.length) fill(view.welcome, failure(error, loadChoices));
    return;
  }
  draw();
}

/** Ways of answering that the server's models allow, as `[value, text]`. */
function modes() {
  const ids = state.models.map((it) => it.id);
  const adapters = ids.filter((it) => it.startsWith('ft:')).map((it) => it.slice(3));
  return [
    ['rag', t('mode_rag')],
    ['extract', t('mode_extract')],
    ids.includes('base') ? ['base', t('mode_base')] : null,
    ...adapters
      .filter((it) => ids.includes(`rag+ft:${it}`))
      .map((it) => [`rag+ft:${it}`, t('mode_ragAdapter', { name: it })]),
    ...adapters.map((it) => [`ft:${it}`, t('mode_adapter', { name: it })]),
  ].filter(Boolean);
}

function requestOf(question) {
  const mode = view?.mode.value || 'rag';
  const [kind, adapter] = mode.includes('ft:') ? mode.split('ft:') : [mode, null];
  return {
    question,
    collection: view?.collection.value || null,
    mode: { 'rag+': 'rag', '': 'base' }[kind] ?? kind,
    adapter,
    conversation: state.conversation,
  };
}

/** The same question once more, outside the conversation: it goes on from the first answer. */
function requestAgain({ question, answer }) {
  const understood = answer.understood_as ?? question;
  return { ...requestOf(understood), conversation: null, again: answer.id };
}

function drawChoices() {
  const option = (value, text) => h('option', { value }, text);
  const named = state.collections.filter((it) => it.id);
  fill(
    view.collection,
    option('', t('allCollections')),
    named.map((it) => option(it.id, it.id)),
  );
  select(view.collection, kept('collection'));
  view.collection.parentElement.hidden = !named.length;
  fill(
    view.mode,
    modes().map(([value, text]) => option(value, text)),
  );
  select(view.mode, kept('mode'));
  drawMode();
}

function drawMode() {
  const alone = view.mode.value === 'base' || view.mode.value.startsWith('ft:');
  view.form.classList.toggle('unchecked', alone);
  view.collection.disabled = alone;
}

function select(element, value) {
  const known = Array.from(element.options).some((it) => it.value === value);
  element.value = known ? value : (element.options[0]?.value ?? '');
}

// Drawing

function draw() {
  if (!view) return;
  const isEmpty = !state.turns.length;
  view.element.classList.toggle('is-empty', isEmpty);
  drawChoices();
  drawSubmit();
  drawHead();
  view.welcome.hidden = !isEmpty;
  view.form.hidden = false;
  view.grow();
  if (isEmpty) drawWelcome();
  fill(
    view.thread,
    state.turns.map((turn) => {
      turn.view = turnView(turn, {
        retry: () => retry(turn),
        requestAgain: () => requestAgain(turn),
      });
      return turn.view.element;
    }),
  );
}

function drawHead() {
  if (!state.turns.length) {
    fill(view.head);
    return;
  }
  fill(
    view.head,
    h('h1', { class: 'sr' }, state.title ?? state.turns[0].question),
    button(t('newQuestion'), {
      icon: 'plus',
      kind: 'quiet',
      onclick: () => {
        location.hash = '#/ask/new';
      },
    }),
    h('span', { class: 'gap' }),
    iconButton('download', t('exportConversation'), {
      onclick: async () => {
        const { conversationMarkdown } = await import('./export.js');
        downloadText(
          'conversation.md',
          conversationMarkdown(state.title ?? state.turns[0].question, state.turns),
        );
      },
    }),
  );
}

function drawSubmit() {
  const running = Boolean(state.running);
  view.submit.setAttribute('aria-label', running ? t('stop') : t('askButton'));
  view.submit.title = running ? t('stop') : t('askButton');
  view.submit.classList.toggle('running', running);
  fill(view.submit, icon(running ? 'stop' : 'send'));
}

function drawWelcome() {
  const total = state.documents;
  if (total === null) {
    fill(view.welcome, h('h1', null, t('welcomeTitle')));
    return;
  }
  if (!total) {
    // There is nothing to ask about.
    view.form.hidden = true;
    fill(
      view.welcome,
      h('h1', null, t('emptyTitle')),
      h('p', { class: 'lead' }, t('emptyLead')),
      h(
        'ol',
        { class: 'steps' },
        state.mayAdd
          ? h(
              'li',
              null,
              t('emptyStep1'),
              ' ',
              h('a', { class: 'button primary', href: '#/documents' }, t('emptyAdd')),
            )
          : null,
        h('li', null, t('emptyStep2'), ' ', h('code', null, t('ingestCommand'))),
        h('li', null, t('emptyStep3')),
      ),
    );
    return;
  }
  const named = state.collections.filter((it) => it.id && it.documents);
  fill(
    view.welcome,
    h('h1', null, t('welcomeTitle')),
    h('p', { class: 'lead' }, t('welcomeLead', { n: total })),
    named.length
      ? h(
          'div',
          { class: 'collection-chips', role: 'group', 'aria-label': t('pickCollection') },
          named.map((it) =>
            h(
              'button',
              {
                type: 'button',
                class: 'chip-button',
                onclick: () => {
                  view.collection.value = it.id;
                  view.collection.dispatchEvent(new Event('change'));
                  view.box.focus();
                },
              },
              it.id,
              h('span', { class: 'count' }, number(it.documents)),
            ),
          ),
        )
      : null,
    h(
      'ul',
      { class: 'promises' },
      [
        ['check', 'promiseChecked'],
        ['documents', 'promisePassage'],
        ['info', 'promiseRefuse'],
      ].map(([name, key]) => h('li', null, icon(name), h('span', null, t(key)))),
    ),
  );
}

// Asking

function startNew() {
  stop();
  Object.assign(state, { conversation: null, title: null, turns: [] });
  currentConversation(null);
  closePanel();
  if (location.hash !== '#/ask') history.replaceState(null, '', '#/ask');
  draw();
}

async function openConversation(id) {
  stop();
  Object.assign(state, { conversation: id, title: null, turns: [] });
  currentConversation(id);
  fill(view.welcome, h('p', { class: 'muted' }, t('loading')));
  try {
    const found = await api.conversation(id);
    if (state.conversation !== id) return;
    state.title = found.title;
    state.turns = found.turns.map((it) => ({
      question: it.question,
      draft: '',
      answer: { ...it.answer, understood_as: it.understood_as ?? it.answer.understood_as },
      feedback: it.feedback ?? null,
    }));
    draw();
    view?.thread.lastElementChild?.scrollIntoView({ block: 'start' });
  } catch (error) {
    state.conversation = null;
    if (!view) return;
    if (error.status === 404)
      fill(view.welcome, notice('warn', h('p', null, t('conversationGone'))));
    else
      fill(
        view.welcome,
        failure(error, () => openConversation(id)),
      );
  }
}

function retry(turn) {
  state.turns = state.turns.filter((it) => it !== turn);
  run(turn.question);
}

function stop() {
  state.running?.abort();
}

async function run(question) {
  const request = requestOf(question);
  const turn = {
    question,
    draft: '',
    stage: null,
    sources: null,
    answer: null,
    error: null,
    stopped: false,
  };
  const controller = new AbortController();
  state.turns.push(turn);
  state.running = controller;
  draw();
  turn.view.element.scrollIntoView({ block: 'start', behavior: 'smooth' });
  announce(t('stage_searching'));
  try {
    await follow(turn, request, controller.signal);
  } catch (error) {
    if (controller.signal.aborted) turn.stopped = true;
    else turn.error = error;
    announce(turn.stopped ? t('stopped') : describe(error));
  }
  if (state.running === controller) state.running = null;
  if (view) drawSubmit();
  turn.view.update();
}

async function follow(turn, request, signal) {
  const read = draftReader();
  for await (const [name, data] of api.ask(request, signal)) {
    if (name === 'status') turn.stage = data;
    else if (name === 'sources') turn.sources = data.sources;
    else if (name === 'text') {
      turn.draft += data.text;
      turn.stage = { state: 'writing' };
      read(turn.draft);
    } else if (name === 'answer') finish(turn, data);
    else if (name === 'error') throw api.streamError(data);
    turn.view.update();
  }
  if (!turn.answer) throw new TypeError('the stream ended early');
}

function finish(turn, answer) {
  turn.answer = answer;
  announce(finishedText(answer));
  if (!answer.conversation || !state.turns.includes(turn)) return;
  state.conversation = answer.conversation;
  state.title ??= turn.question;
  // The address now leads back to this conversation, also after a reload.
  if (location.hash.startsWith('#/ask') || !location.hash) {
    history.replaceState(null, '', `#/ask/${encodeURIComponent(answer.conversation)}`);
  }
  currentConversation(answer.conversation);
  refreshConversations();
}

/** Forgets the conversation on the page when it was deleted. */
export function forget(id) {
  if (id !== state.conversation) return;
  if (view) location.hash = '#/ask/new';
  else Object.assign(state, { conversation: null, title: null, turns: [] });
  toast(t('conversationDeleted'));
}
