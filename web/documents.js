// What is indexed, in which state, and what was left aside and why.

import * as api from './api.js';
import { documentText } from './doctext.js';
import {
  announce,
  button,
  confirmDialog,
  externalLink,
  failure,
  fill,
  h,
  icon,
  newId,
  notice,
  toast,
} from './dom.js';
import { describe } from './errors.js';
import { bytes, date, dateTime, inLanguage, number, score, t } from './i18n.js';
import { closePanel, openPanel } from './panel.js';
import { openUpload } from './upload.js';

const PAGE = 50;
const TYPING_MS = 250;

let view = null;

export const title = () => t('navDocuments');

export async function mount(root, [id]) {
  const me = await api.me();
  view = build(root, me);
  await load();
  if (id) await openDocument(id);
  return leave;
}

function leave() {
  clearTimeout(view?.typing);
  view = null;
}

function build(root, me) {
  const search = h('input', {
    type: 'search',
    id: 'document-search',
    placeholder: t('documentSearch'),
    'aria-label': t('documentSearch'),
  });
  const collection = h('select', { 'aria-label': t('pickCollection') });
  const res = {
    search,
    collection,
    table: h('div', { class: 'document-list' }),
    skipped: h('div'),
    me,
    mayWrite: api.may(me, 'write'),
    count: h('p', { class: 'hint', role: 'status' }),
    cursors: [null],
    typing: null,
    turn: 0,
  };
  const restart = () => {
    res.cursors = [null];
    load();
  };
  search.addEventListener('input', () => {
    clearTimeout(res.typing);
    res.typing = setTimeout(restart, TYPING_MS);
  });
  collection.addEventListener('change', restart);
  const element = h(
    'div',
    { class: 'page drop-page' },
    h(
      'header',
      { class: 'page-head' },
      h(
        'div',
        null,
        h('h1', null, t('navDocuments')),
        h('p', { class: 'lead' }, t('documentsLead')),
      ),
      res.mayWrite
        ? button(t('addDocuments'), { icon: 'upload', kind: 'primary', onclick: () => add([]) })
        : null,
    ),
    h(
      'div',
      { class: 'filters' },
      h('div', { class: 'search-field' }, icon('search'), search),
      collection,
      res.count,
    ),
    res.skipped,
    res.table,
    h('p', { class: 'drop-hint', 'aria-hidden': 'true' }, icon('upload'), t('dropHere')),
  );
  if (res.mayWrite) acceptDrops(element);
  fill(root, element);
  loadCollections(collection);
  return res;
}

function acceptDrops(element) {
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  let depth = 0;
  const mark = (on) => element.classList.toggle('dropping', on);
  element.addEventListener('dragenter', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth += 1;
    mark(true);
  });
  element.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  element.addEventListener('dragleave', () => {
    depth = Math.max(0, depth - 1);
    if (!depth) mark(false);
  });
  element.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark(false);
    add(Array.from(event.dataTransfer.files));
  });
}

async function add(files) {
  await openUpload(files, { collection: view?.collection.value });
  if (!view) return;
  await Promise.all([load(), loadCollections(view.collection)]);
}

async function loadCollections(element) {
  try {
    const all = await api.collections();
    const value = element.value;
    fill(
      element,
      h('option', { value: '' }, t('allCollections')),
      all
        .filter((it) => it.id)
        .map((it) => h('option', { value: it.id }, `${it.id} (${number(it.documents)})`)),
    );
    element.value = value;
    element.hidden = !all.some((it) => it.id);
  } catch {
    // The list of documents tells the same error, once.
    element.hidden = true;
  }
}

async function load() {
  const mine = view;
  mine.turn += 1;
  const { turn } = mine;
  const isLate = () => view !== mine || turn !== mine.turn;
  try {
    const found = await api.documents({
      query: mine.search.value.trim(),
      collection: mine.collection.value,
      limit: PAGE,
      after: mine.cursors.at(-1),
    });
    if (isLate()) return;
    drawTable(found);
    // Paths of files that nobody could give rights to are for administrators.
    if (!api.may(mine.me, 'admin')) return;
    const skipped = await api.skipped();
    if (!isLate()) drawSkipped(skipped);
  } catch (error) {
    if (!isLate()) fill(mine.table, failure(error, load));
  }
}

function drawTable(found) {
  const isFiltered = view.search.value.trim() || view.collection.value;
  view.count.textContent = t('documentCount', { n: found.total ?? found.data.length });
  if (!found.data.length) {
    fill(
      view.table,
      h(
        'div',
        { class: 'blank' },
        icon('documents'),
        h('p', { class: 'blank-title' }, t(isFiltered ? 'nothingFound' : 'emptyTitle')),
        h('p', null, t(isFiltered ? 'nothingFoundHint' : 'emptyLead')),
        isFiltered
          ? null
          : h('p', { class: 'hint' }, t('emptyStep2'), ' ', h('code', null, t('ingestCommand'))),
      ),
    );
    return;
  }
  const head = [
    'columnDocument',
    'columnCollection',
    'columnState',
    'columnSize',
    'columnIngested',
  ];
  fill(
    view.table,
    h(
      'table',
      { class: 'documents' },
      h('caption', { class: 'sr' }, t('navDocuments')),
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          head.map((it) => h('th', { scope: 'col' }, t(it))),
          h('td', null),
        ),
      ),
      h('tbody', null, found.data.map(row)),
    ),
    pager(found),
  );
}

function row(it) {
  return h(
    'tr',
    null,
    h(
      'th',
      { scope: 'row' },
      h(
        'button',
        { type: 'button', class: 'link strong', onclick: () => openDocument(it.id) },
        it.title || it.path,
      ),
      h('span', { class: 'source-place' }, it.path),
    ),
    h(
      'td',
      { 'data-label': t('columnCollection') },
      h(
        'span',
        { class: 'tags' },
        it.collection ?? h('span', { class: 'muted' }, '–'),
        it.groups?.length
          ? h('span', { class: 'tag', title: t('groupsHint') }, icon('key'), it.groups.join(', '))
          : null,
      ),
    ),
    h('td', { 'data-label': t('columnState') }, states(it)),
    h(
      'td',
      { 'data-label': t('columnSize'), class: 'numeric' },
      bytes(it.bytes),
      h('span', { class: 'source-place' }, t('passages', { n: it.chunks })),
    ),
    h('td', { 'data-label': t('columnIngested') }, date(it.ingested_at)),
    h(
      'td',
      { class: 'row-actions' },
      view.mayWrite &&
        h(
          'button',
          {
            type: 'button',
            class: 'icon-button small',
            title: t('delete'),
            'aria-label': t('deleteDocument', { title: it.title || it.path }),
            onclick: () => remove(it),
          },
          icon('trash'),
        ),
    ),
  );
}

const STATES = { indexed: ['ok', 'check'], pending: ['wait', 'jobs'], empty: ['warn', 'warn'] };

function states(it) {
  const [kind, name] = STATES[it.state] ?? ['', 'info'];
  return h(
    'span',
    { class: 'tags' },
    h('span', { class: `tag ${kind}` }, icon(name), t(`state_${it.state}`)),
    it.duplicate_of ? h('span', { class: 'tag warn' }, icon('copy'), t('duplicate')) : null,
    it.findings?.length
      ? h('span', { class: 'tag warn' }, icon('warn'), t('findings', { n: it.findings.length }))
      : null,
  );
}

function pager(found) {
  const { cursors } = view;
  if (cursors.length === 1 && !found.has_more) return null;
  const first = (cursors.length - 1) * PAGE + 1;
  const go = (change) => {
    change();
    load().then(() => document.getElementById('main').scrollTo({ top: 0 }));
  };
  return h(
    'nav',
    { class: 'pager', 'aria-label': t('paging') },
    button(t('previous'), {
      disabled: cursors.length === 1,
      onclick: () => go(() => cursors.pop()),
    }),
    h(
      'span',
      { class: 'hint' },
      t('range', {
        first,
        last: first + found.data.length - 1,
        total: found.total ?? '?',
      }),
    ),
    button(t('next'), {
      disabled: !found.has_more,
      onclick: () => go(() => cursors.push(found.data.at(-1).id)),
    }),
  );
}

function drawSkipped(items) {
  // Drawn again only when it changed, so that what a reader has opened stays open.
  const key = JSON.stringify(items);
  if (key === view.skippedKey) return;
  view.skippedKey = key;
  if (!items.length) {
    fill(view.skipped);
    return;
  }
  fill(
    view.skipped,
    h(
      'details',
      { class: 'skipped' },
      h('summary', null, icon('warn'), t('skipped', { n: items.length })),
      h('p', { class: 'hint' }, t('skippedHint')),
      h(
        'ul',
        null,
        items.map((it) =>
          h(
            'li',
            null,
            h('code', null, it.path),
            h('span', null, inLanguage(it, 'reason')),
            it.at ? h('span', { class: 'hint' }, dateTime(it.at)) : null,
          ),
        ),
      ),
    ),
  );
}

async function remove(it) {
  const sure = await confirmDialog({
    title: t('deleteDocumentTitle'),
    body: [
      t('quoted', { text: it.title || it.path }),
      t(it.uploaded ? 'deleteUploadedBody' : 'deleteFolderBody'),
    ],
    action: t('delete'),
  });
  if (!sure) return;
  try {
    const done = await api.deleteDocument(it.id);
    toast(t(done?.returns ? 'deletedReturns' : 'deleted'), done?.returns ? 'warn' : 'ok');
    closePanel();
    if (view) {
      await Promise.all([load(), loadCollections(view.collection)]);
      document.getElementById('document-search').focus();
    }
  } catch (error) {
    toast(describe(error), 'bad');
  }
}

// One document

async function openDocument(id) {
  const body = openPanel(t('document'));
  fill(body, h('p', { class: 'muted' }, t('loading')));
  try {
    const it = await api.documentById(id);
    fill(body, details(it));
    body.querySelector('.text-slot').replaceWith(textSection(it));
  } catch (error) {
    fill(
      body,
      failure(error, () => openDocument(id)),
    );
  }
}

function details(it) {
  const fact = (key, value) =>
    value === null || value === undefined || value === ''
      ? null
      : h('div', null, h('dt', null, t(key)), h('dd', null, value));
  const duplicate = it.duplicate_of;
  return [
    h('p', { class: 'passage-title' }, it.title || it.path),
    h('p', { class: 'muted small' }, it.path),
    h(
      'p',
      { class: 'passage-links' },
      externalLink(t('openOriginal'), api.originalUrl(it.id)),
      view?.mayWrite
        ? button(t('delete'), { icon: 'trash', kind: 'quiet', onclick: () => remove(it) })
        : null,
    ),
    duplicate
      ? notice(
          'warn',
          h(
            'p',
            null,
            t('duplicateOf'),
            ' ',
            h(
              'button',
              { type: 'button', class: 'link', onclick: () => openDocument(duplicate.id) },
              duplicate.path,
            ),
            ` (${t('alike', { percent: score(duplicate.similarity * 100, 0) })})`,
          ),
        )
      : null,
    it.findings?.length
      ? notice(
          'warn',
          h('p', null, t('findingsTitle')),
          h(
            'ul',
            null,
            inLanguage(it, 'findings').map((finding) => h('li', null, finding)),
          ),
        )
      : null,
    h(
      'dl',
      { class: 'facts' },
      fact('columnState', states(it)),
      fact('columnCollection', it.collection),
      fact('groups', it.groups?.length ? it.groups.join(', ') : t('everyone')),
      fact('language', it.language ? t(`language_${it.language}`) : null),
      fact('columnSize', `${bytes(it.bytes)} · ${t('passages', { n: it.chunks })}`),
      fact('mediaType', it.media_type),
      fact('modified', it.modified ? dateTime(it.modified) : null),
      fact('columnIngested', dateTime(it.ingested_at)),
      fact('licence', it.licence),
      fact('origin', it.uploaded ? t('originUpload') : it.root),
    ),
    h('div', { class: 'text-slot' }),
  ];
}

function textSection(it) {
  const id = newId();
  const slot = h('div', { class: 'doc-text', id });
  const open = button(t('showText'), { icon: 'documents' });
  const element = h(
    'section',
    null,
    h('h3', null, t('extractedText')),
    h('p', { class: 'hint' }, t('extractedTextHint')),
    open,
    slot,
  );
  open.addEventListener('click', async () => {
    open.disabled = true;
    try {
      const { text } = await api.documentText(it.id);
      fill(
        slot,
        text.trim() ? documentText(text, 0, []) : notice('warn', h('p', null, t('noText'))),
      );
      open.remove();
      announce(t('textShown'));
    } catch (error) {
      open.disabled = false;
      fill(slot, failure(error));
    }
  });
  return element;
}
