// How the server is: its models, its index, its queue, how long answers take.

import * as api from './api.js';
import { failure, fill, h, icon, notice } from './dom.js';
import { duration, number, t } from './i18n.js';

const POLL_MS = 5_000;

export const title = () => t('navHealth');

export async function mount(root) {
  const body = h('div', { class: 'health' }, h('p', { class: 'muted' }, t('loading')));
  fill(
    root,
    h(
      'div',
      { class: 'page' },
      h(
        'header',
        { class: 'page-head' },
        h('div', null, h('h1', null, t('navHealth')), h('p', { class: 'lead' }, t('healthLead'))),
        h('a', { class: 'button', href: 'docs' }, t('apiPage')),
      ),
      body,
    ),
  );
  let left = false;
  const load = async () => {
    if (document.hidden) return;
    try {
      const status = await api.status();
      if (!left) fill(body, tiles(status));
    } catch (error) {
      if (!left) fill(body, failure(error, load));
    }
  };
  await load();
  const timer = setInterval(load, POLL_MS);
  return () => {
    left = true;
    clearInterval(timer);
  };
}

/** A model may be named by its id, or described by an object. */
function modelText(model) {
  if (!model) return null;
  if (typeof model === 'string') return model;
  if (model.kind === 'none') return null;
  return model.host ? t('modelOn', { name: model.id, host: model.host }) : model.id;
}

function tiles(status) {
  return [
    verdict(status),
    h(
      'div',
      { class: 'tiles' },
      modelTile(status.models),
      indexTile(status.index),
      queueTile(status.queue),
      latencyTile(status.latency_ms),
    ),
    h(
      'p',
      { class: 'hint' },
      t('versionLine', { version: status.version, time: duration(status.uptime_s) }),
    ),
  ];
}

/** One sentence that says whether all is well. */
function verdict({ index, models, queue }) {
  if (!index.documents) return notice('warn', h('p', null, t('healthEmpty')));
  if (queue.waiting >= queue.limit) return notice('warn', h('p', null, t('healthBusy')));
  if (index.pending) return notice('info', h('p', null, t('healthPending', { n: index.pending })));
  if (!modelText(models.generator)) return notice('info', h('p', null, t('healthQuotes')));
  return notice('ok', h('p', null, t('healthGood')));
}

function tile(name, key, ...content) {
  return h('section', { class: 'card tile' }, h('h2', null, icon(name), t(key)), ...content);
}

function fact(key, value) {
  return h(
    'div',
    null,
    h('dt', null, t(key)),
    h('dd', null, value ?? h('span', { class: 'muted' }, t('none'))),
  );
}

function modelTile(models) {
  const adapters = (models.adapters ?? []).map((it) => it.name ?? it);
  return tile(
    'ask',
    'tileModels',
    h(
      'dl',
      { class: 'facts' },
      fact('generator', modelText(models.generator)),
      fact('embedder', modelText(models.embedder)),
      fact('reranker', modelText(models.reranker)),
      adapters.length ? fact('adapters', adapters.join(', ')) : null,
    ),
  );
}

function indexTile(index) {
  const collections = Array.isArray(index.collections)
    ? index.collections.length
    : index.collections;
  return tile(
    'documents',
    'tileIndex',
    h(
      'div',
      { class: 'figures' },
      figure(index.documents, t('figureDocuments', { n: index.documents })),
      figure(index.chunks, t('figurePassages', { n: index.chunks })),
      // Told to administrators only: it counts documents of all groups.
      index.pending === undefined
        ? null
        : figure(index.pending, t('figurePending', { n: index.pending })),
      collections === undefined
        ? null
        : figure(collections, t('figureCollections', { n: collections })),
    ),
  );
}

function figure(value, label) {
  return h('p', { class: 'figure' }, h('strong', null, number(value)), h('span', null, label));
}

function queueTile(queue) {
  const dots = Math.min(queue.limit, 24);
  const used = queue.limit ? Math.round((queue.waiting / queue.limit) * dots) : 0;
  return tile(
    'jobs',
    'tileQueue',
    h(
      'div',
      { class: 'figures' },
      figure(queue.running, t('figureRunning', { n: queue.running })),
      figure(queue.waiting, t('figureWaiting', { n: queue.waiting })),
    ),
    h(
      'p',
      { class: 'queue-dots', 'aria-hidden': 'true' },
      Array.from({ length: dots }, (_, i) => h('span', { class: i < used ? 'full' : null })),
    ),
    h('p', { class: 'hint' }, t('queueLimit', { n: queue.limit })),
  );
}

function latencyTile(latency) {
  const row = (key, it) =>
    h(
      'tr',
      null,
      h('th', { scope: 'row' }, t(key)),
      ['p50', 'p95'].map((p) =>
        h(
          'td',
          { class: 'numeric' },
          it?.[p] === null || it?.[p] === undefined ? '–' : duration(it[p] / 1000),
        ),
      ),
    );
  return tile(
    'health',
    'tileLatency',
    h(
      'table',
      { class: 'plain' },
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          h('td', null),
          h('th', { scope: 'col' }, t('median')),
          h('th', { scope: 'col' }, t('p95')),
        ),
      ),
      h(
        'tbody',
        null,
        row('latencySearch', latency.search),
        row('latencyFirst', latency.first_token),
        row('latencyAsk', latency.ask),
      ),
    ),
    h('p', { class: 'hint' }, t('latencyHint')),
  );
}
