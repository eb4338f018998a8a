// Why an answer is as it is: ranks and scores of each passage, what was cut, the prompt, the times.

import * as api from './api.js';
import { button, copyText, failure, fill, h, moreStyles, openDialog, toast } from './dom.js';
import { duration, score, t } from './i18n.js';
import { openPassage } from './passage.js';
import { placeOf } from './place.js';

export async function openWhy(answer) {
  await moreStyles();
  const body = h('div', { class: 'why' }, h('p', { class: 'muted' }, t('loading')));
  return openDialog(
    t('whyTitle'),
    (close) => {
      load(answer, body, close);
      return body;
    },
    { kind: 'wide' },
  );
}

async function load(answer, body, close) {
  try {
    const full = await api.answer(answer.id);
    fill(body, explanation(full, close));
  } catch (error) {
    fill(
      body,
      failure(error, () => load(answer, body, close)),
    );
  }
}

function explanation(full, close) {
  const why = full.why ?? { prompt: [], cut: [] };
  return [
    full.understood_as
      ? h('p', null, t('understoodAs'), ' ', h('em', null, full.understood_as))
      : null,
    section('whyPassages', h('p', { class: 'hint' }, t('whyPassagesHint')), passages(full, close)),
    section('whyCut', cut(why.cut ?? [])),
    section('whyTimes', times(full)),
    section('whyPrompt', prompt(why.prompt ?? [], full.context)),
  ];
}

function section(key, ...content) {
  return h('section', null, h('h3', null, t(key)), ...content);
}

function passages(full, close) {
  if (!full.sources.length) return h('p', { class: 'muted' }, t('whyNoPassages'));
  const reranked = full.sources.some(
    (it) => it.score_rerank !== null && it.score_rerank !== undefined,
  );
  const head = [
    'whyPassage',
    'whyWords',
    'whyMeaning',
    reranked ? 'whyRerank' : null,
    'whyFused',
    'whyRelevance',
    'whyCoverage',
  ].filter(Boolean);
  const ranked = (rank, value) =>
    rank
      ? [h('strong', null, t('rank', { rank })), ' ', h('span', { class: 'muted' }, score(value))]
      : h('span', { class: 'muted' }, t('notFound'));
  const row = (it) =>
    h(
      'tr',
      null,
      h(
        'th',
        { scope: 'row' },
        h(
          'button',
          {
            type: 'button',
            class: 'link',
            onclick: () => {
              close();
              openPassage(it);
            },
          },
          `[${it.index}] ${it.title || it.document}`,
        ),
        h('span', { class: 'source-place' }, placeOf(it)),
        it.near_duplicates
          ? h('span', { class: 'hint' }, t('nearDuplicates', { n: it.near_duplicates }))
          : null,
      ),
      h('td', null, ranked(it.rank_bm25, it.score_bm25)),
      h('td', null, ranked(it.rank_dense, it.score_dense)),
      reranked ? h('td', null, score(it.score_rerank)) : null,
      h('td', null, score(it.score)),
      h('td', null, meter(it.relevance)),
      h('td', null, meter(it.coverage)),
    );
  return h(
    'div',
    { class: 'table-scroll', tabindex: '0', role: 'group', 'aria-label': t('whyPassages') },
    h(
      'table',
      { class: 'numbers' },
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          head.map((it) => h('th', { scope: 'col', title: t(`${it}Hint`) }, t(it))),
        ),
      ),
      h('tbody', null, full.sources.map(row)),
    ),
  );
}

/** A share as a bar and a number. */
function meter(value) {
  if (value === null || value === undefined) return '–';
  const bar = h('span', { class: 'meter-bar' });
  bar.style.inlineSize = `${Math.round(Math.max(0, Math.min(1, value)) * 100)}%`;
  return h(
    'span',
    { class: 'meter' },
    h('span', { class: 'meter-track', 'aria-hidden': 'true' }, bar),
    score(value),
  );
}

function cut(items) {
  if (!items.length) return h('p', { class: 'muted' }, t('whyNothingCut'));
  return h(
    'ul',
    { class: 'cut' },
    items.map(({ source, reason }) =>
      h(
        'li',
        null,
        h('span', { class: `tag ${reason}` }, t(`cut_${reason}`)),
        ' ',
        h('strong', null, source.title || source.document),
        ' ',
        h('span', { class: 'source-place' }, placeOf(source)),
        h('span', { class: 'hint' }, t(`cut_${reason}_hint`)),
      ),
    ),
  );
}

function times(full) {
  const steps = ['retrieve', 'rerank', 'prompt', 'first_token', 'total'];
  const known = steps.filter(
    (it) => full.timings_ms?.[it] !== undefined && full.timings_ms[it] !== null,
  );
  return h(
    'dl',
    { class: 'facts' },
    known.map((it) =>
      h(
        'div',
        null,
        h('dt', null, t(`time_${it}`)),
        h('dd', null, duration(full.timings_ms[it] / 1000)),
      ),
    ),
    h(
      'div',
      null,
      h('dt', null, t('generator')),
      h('dd', null, full.generator ?? t('noGenerator')),
    ),
  );
}

function prompt(messages, context) {
  if (!messages.length) return h('p', { class: 'muted' }, t('whyNoPrompt'));
  const text = messages.map((it) => `${it.role}\n${it.content}`).join('\n\n');
  const size = context?.tokens
    ? t(context.tokens_estimated ? 'tokensEstimated' : 'tokens', { n: context.tokens })
    : null;
  return [
    h(
      'p',
      { class: 'row' },
      h(
        'span',
        { class: 'hint' },
        size,
        size ? ' · ' : null,
        t('examplesUsed', { n: context?.examples ?? 0 }),
      ),
      button(t('copy'), {
        icon: 'copy',
        kind: 'quiet',
        onclick: () =>
          copyText(text).then(
            () => toast(t('copied'), 'ok'),
            (error) => toast(error.message, 'bad'),
          ),
      }),
    ),
    messages.map((it) =>
      h(
        'details',
        { class: 'message', open: it === messages.at(-1) },
        h(
          'summary',
          null,
          t(`role_${it.role}`),
          ' ',
          h('span', { class: 'muted' }, t('characters', { n: Array.from(it.content).length })),
        ),
        h('pre', { tabindex: '0' }, it.content),
      ),
    ),
  ];
}
