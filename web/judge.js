// The form that a link below an answer in a chat tool leads to, at /judge#LINK. Whoever has the link
// needs no key; what stands after the # is sent to the server by this page alone.

import * as api from './api.js';
import { button, externalLink, failure, fill, h, icon, notice } from './dom.js';
import { feedbackForm } from './feedback.js';
import { t, use } from './i18n.js';
import { markdown } from './markdown.js';
import { SHAPES, markSentences } from './verdicts.js';

const main = document.getElementById('main');

function draw(link, answer) {
  const title = h('h1', null, answer.question);
  document.title = `${answer.question} · Souffleur`;
  fill(
    main,
    h(
      'article',
      { class: 'judged' },
      h('header', { class: 'stack' }, title, h('p', { class: 'muted' }, t('judgeLead'))),
      text(answer),
      sources(answer),
      judging(link, answer),
    ),
  );
}

/** The answer as the chat tool showed it, with marks that lead to its sources, and verdicts. */
function text({ answer, language, sentences, sources: known, refused }) {
  const mark = (n) => {
    const source = known.find((it) => it.index === n);
    if (!source) return null;
    const name = t('openSource', { n, title: source.title });
    const props = { class: 'cite', 'data-source': String(n), 'aria-label': name };
    return h('a', { ...props, href: source.url, title: source.title }, String(n));
  };
  const verdict = ({ verdict: name }) =>
    refused || !(name in SHAPES)
      ? ''
      : h(
          'span',
          { class: `badge ${name}`, title: t(`verdict_${name}`) },
          icon(SHAPES[name]),
          h('span', { class: 'sr' }, t(`verdict_${name}`)),
        );
  const element = h('div', { class: 'prose', lang: language });
  element.append(markdown(answer, mark));
  markSentences(element, sentences, mark, verdict);
  return element;
}

function sources({ sources: known }) {
  if (!known.length) return null;
  const line = ({ index, title, heading, url }) =>
    h('li', { value: index }, externalLink(title, url), heading ? ` · ${heading}` : null);
  return h(
    'section',
    { 'aria-label': t('sources') },
    h('h2', { class: 'small' }, t('sources')),
    h('ol', { class: 'judged-sources' }, known.map(line)),
  );
}

/** Two thumbs, and the form of the one that is chosen: at first of the one that finds fault. */
function judging(link, answer) {
  const turn = { feedback: null, send: (body) => api.judgeLinked(link, body) };
  const form = h('div', { class: 'feedback-slot' });
  const thumbs = ['down', 'up'].map((rating) => {
    const isUp = rating === 'up';
    const element = button(t(isUp ? 'rateUp' : 'rateDown'), {
      icon: rating,
      onclick: () => choose(rating),
    });
    return { rating, element };
  });
  const choose = (rating) => {
    for (const it of thumbs) it.element.setAttribute('aria-pressed', String(it.rating === rating));
    const title = t(rating === 'up' ? 'judgeUp' : 'judgeDown');
    fill(
      form,
      feedbackForm(turn, answer, rating, () => {}, title),
    );
  };
  choose('down');
  return h(
    'section',
    { class: 'stack', 'aria-label': t('feedbackTitle') },
    h(
      'div',
      { class: 'judged-thumbs' },
      thumbs.map((it) => it.element),
    ),
    form,
  );
}

async function load() {
  const link = location.hash.slice(1);
  fill(main, h('p', { class: 'muted' }, t('loading')));
  try {
    draw(link, await api.linked(link));
  } catch (error) {
    const known = { 404: 'judgeGone', 410: 'judgeEnded' }[error.status];
    if (known) fill(main, h('h1', null, t('judgeTitle')), notice('warn', h('p', null, t(known))));
    else fill(main, h('h1', null, t('judgeTitle')), failure(error, load));
  }
}

await use();
addEventListener('hashchange', load);
await load();
