// Datasets: rows with where they come from, approved, changed and rejected one by one.

import { announce, button, failure, fill, h, icon, newId, toast } from '../dom.js';
import { describe } from '../errors.js';
import { has, number, t } from '../i18n.js';
import * as api from './api.js';
import { beginButton } from './begin.js';
import { blank } from './lab.js';

const PAGE = 20;
const TYPING_MS = 250;
const STATES = ['', 'open', 'approved', 'rejected', 'changed'];

export async function mount(root, [id, kind]) {
  fill(root, h('p', { class: 'muted' }, t('loading')));
  const all = await api.datasets();
  const dataset = all.find((it) => it.id === id);
  if (!dataset) {
    fill(root, list(all));
    return null;
  }
  return rowsView(root, dataset, kind in dataset.kinds ? kind : Object.keys(dataset.kinds)[0]);
}

const kindName = (kind) => t(`kind_${kind}`);

function list(all) {
  if (!all.length) {
    return blank('datasetsNone', 'datasetsNoneHint', 'souffleur dataset build', 'dataset');
  }
  return [
    h('p', { class: 'lead' }, t('datasetsLead')),
    beginButton('dataset'),
    h(
      'ul',
      { class: 'lab-list' },
      all.map((it) =>
        h(
          'li',
          { class: 'card' },
          h('h2', null, it.name),
          h('p', { class: 'hint' }, it.path),
          h(
            'ul',
            { class: 'kind-list' },
            Object.entries(it.kinds).map(([kind, counts]) =>
              h(
                'li',
                null,
                h('a', { href: `#/lab/datasets/${it.id}/${kind}` }, kindName(kind)),
                ' ',
                countsText(counts),
              ),
            ),
          ),
        ),
      ),
    ),
  ];
}

function countsText({ rows, approved, rejected, changed, unreadable }) {
  const parts = [t('rowsN', { n: rows })];
  for (const [key, n] of Object.entries({ approved, rejected, changed, unreadable })) {
    if (n) parts.push(`${number(n)} ${t(`rows_${key}`)}`);
  }
  return parts.join(', ');
}

function rowsView(root, dataset, kind) {
  const view = { id: dataset.id, kind, state: '', q: '', offset: 0, turn: 0, typing: null };
  view.rows = h('div', { class: 'dataset-rows' });
  view.count = h('p', { class: 'hint', role: 'status' });
  const state = h(
    'select',
    { 'aria-label': t('rowState') },
    STATES.map((it) => h('option', { value: it }, t(it ? `state_${it}` : 'state_all'))),
  );
  state.addEventListener('change', () => {
    view.state = state.value;
    view.offset = 0;
    load(view);
  });
  const search = h('input', {
    type: 'search',
    placeholder: t('rowSearch'),
    'aria-label': t('rowSearch'),
  });
  search.addEventListener('input', () => {
    clearTimeout(view.typing);
    view.typing = setTimeout(() => {
      view.q = search.value.trim();
      view.offset = 0;
      load(view);
    }, TYPING_MS);
  });
  const kinds = Object.keys(dataset.kinds);
  fill(
    root,
    h('a', { class: 'lab-back', href: '#/lab/datasets' }, t('datasetsAll')),
    h('h2', null, `${dataset.name} · ${kindName(kind)}`),
    kinds.length > 1
      ? h(
          'p',
          { class: 'kind-links' },
          kinds.map((it) =>
            it === kind
              ? h('strong', null, kindName(it))
              : h('a', { href: `#/lab/datasets/${dataset.id}/${it}` }, kindName(it)),
          ),
        )
      : null,
    h(
      'div',
      { class: 'filters' },
      h('div', { class: 'search-field' }, icon('search'), search),
      state,
      view.count,
    ),
    view.rows,
  );
  load(view);
  return () => {
    clearTimeout(view.typing);
    view.turn = -1;
  };
}

async function load(view) {
  if (view.turn < 0) return;
  view.turn += 1;
  const mine = view.turn;
  const { kind, state, q, offset } = view;
  try {
    const found = await api.rows(view.id, { kind, state, q, offset, limit: PAGE });
    if (mine !== view.turn) return;
    view.count.textContent = t('rowsN', { n: found.total });
    fill(
      view.rows,
      found.data.length
        ? found.data.map((it) => rowCard(view.id, it))
        : h('p', { class: 'muted' }, t('rowsNone')),
      pager(view, found.total),
    );
  } catch (error) {
    if (mine === view.turn)
      fill(
        view.rows,
        failure(error, () => load(view)),
      );
  }
}

function pager(view, total) {
  if (total <= PAGE) return null;
  const go = (offset) => {
    view.offset = offset;
    load(view);
    document.getElementById('main').scrollTop = 0;
  };
  const last = Math.min(view.offset + PAGE, total);
  return h(
    'div',
    { class: 'pager' },
    button(t('previous'), { disabled: !view.offset, onclick: () => go(view.offset - PAGE) }),
    h('span', { class: 'numeric' }, t('fromTo', { from: view.offset + 1, to: last, total })),
    button(t('next'), { disabled: last >= total, onclick: () => go(last) }),
  );
}

function rowCard(dataset, row) {
  const element = h('article', { class: 'card row-card' });
  const draw = (it) => fill(element, rowParts(dataset, it, draw));
  draw(row);
  return element;
}

function rowParts(dataset, row, redraw) {
  const own = row.changed ?? row.texts;
  const fields = own.map((text, i) => textField(row, text, i));
  const texts = () => fields.map((it) => it.area.value);
  const status = h('span', { class: `tag ${tagOf(row.decision)}` }, t(`state_${row.decision}`));
  const send = async (decision, given, said) => {
    for (const it of element.querySelectorAll('button')) it.disabled = true;
    try {
      const told = await api.decide(dataset, row.id, { decision, texts: given });
      redraw(told);
      announce(said);
    } catch (error) {
      for (const it of element.querySelectorAll('button')) it.disabled = false;
      toast(describe(error), 'bad');
    }
  };
  const isNamed = Boolean(row.id);
  const act = (key, name, kind, decision, given) =>
    button(t(key), {
      icon: name,
      kind,
      disabled: !isNamed,
      'data-action': key,
      onclick: () => send(decision, given(), t(`said_${decision}`)),
    });
  const element = h(
    'div',
    { class: 'row-actions' },
    act('approve', 'check', 'primary', 'approved', texts),
    act('reject', 'close', 'danger', 'rejected', () => row.changed ?? []),
    row.decision === 'open' && !row.changed
      ? null
      : act('reopen', 'refresh', 'quiet', 'open', () => []),
  );
  return [
    h(
      'div',
      { class: 'card-head' },
      status,
      row.changed ? h('span', { class: 'tag run' }, t('state_changed')) : null,
      row.label === null
        ? null
        : h(
            'span',
            { class: `tag ${row.label ? 'ok' : 'bad'}` },
            t(row.label ? 'labelGood' : 'labelBad'),
          ),
      h('span', { class: 'hint' }, provenance(row.meta)),
    ),
    row.question ? h('h3', null, row.question) : null,
    fields.map((it) => it.element),
    isNamed ? null : h('p', { class: 'hint' }, t('rowUnnamed')),
    element,
    details(row),
  ];
}

const tagOf = (decision) => ({ approved: 'ok', rejected: 'bad' })[decision] ?? '';

function textField(row, text, i) {
  const id = newId();
  const keys = row.kind === 'preference' ? ['textChosen', 'textRejected'] : ['textAnswer'];
  const lines = Math.min(12, Math.max(2, Math.ceil(text.length / 90)));
  const area = h('textarea', { id, rows: String(lines) });
  area.value = text;
  return {
    area,
    element: h(
      'div',
      { class: 'field' },
      h('label', { for: id }, t(keys[i] ?? 'textAnswer')),
      area,
    ),
  };
}

/** Where a row comes from, in one line. */
function provenance(meta) {
  const made = meta.made_by;
  return [
    meta.path,
    meta.page ? t('pageShort', { page: meta.page }) : null,
    made && has(`made_${made}`) ? t(`made_${made}`) : made,
    meta.generator,
    meta.split ? t(`split_${meta.split}`) : null,
    meta.language,
    meta.licence,
  ]
    .filter(Boolean)
    .join(' · ');
}

function details(row) {
  const context = row.meta.context ?? [];
  return h(
    'details',
    { class: 'small' },
    h('summary', null, t('rowShown')),
    row.meta.quote ? h('blockquote', null, row.meta.quote) : null,
    row.meta.checks?.length
      ? h('p', { class: 'hint' }, `${t('rowChecks')}${t('colon')} ${row.meta.checks.join(', ')}`)
      : null,
    context.map((it) =>
      h(
        'div',
        { class: 'row-passage' },
        h(
          'p',
          { class: 'hint' },
          it.path,
          ' ',
          it.gold ? h('span', { class: 'tag ok' }, t('rowGold')) : null,
        ),
        h('p', null, it.text),
      ),
    ),
    h('p', { class: 'hint' }, t('rowPrompt')),
    row.prompt.map((it) =>
      h('details', { class: 'message' }, h('summary', null, it.role), h('pre', null, it.content)),
    ),
  );
}
