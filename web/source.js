// The page of one passage, at /v1/sources/{chunk}: its document's text with the passage marked, and
// links to the original. `#char=A-B` marks a part of it, in characters of the document.

import * as api from './api.js';
import { button, externalLink, failure, fill, h, notice } from './dom.js';
import { t, use } from './i18n.js';
import { firstMark, originalOf, passageText } from './passage.js';

const main = document.getElementById('main');

/** The part that the address names. */
function markedPart() {
  const found = /^#char=(\d+)-(\d+)$/.exec(location.hash);
  return found ? [{ char_start: Number(found[1]), char_end: Number(found[2]) }] : [];
}

function chunkOf(address) {
  return decodeURIComponent(address.pathname.split('/').filter(Boolean).at(-1) ?? '');
}

function scrollToMark(behavior) {
  firstMark(main)?.scrollIntoView({ block: 'center', behavior });
}

function draw(shown) {
  const name = shown.document?.title || shown.document?.path || '';
  document.title = `${name} · Souffleur`;
  const headings = (shown.heading ?? '')
    .split(' > ')
    .filter((it, i) => it && !(i === 0 && it === name));
  const original = originalOf(shown);
  const evidence = markedPart();
  fill(
    main,
    h(
      'article',
      null,
      h(
        'header',
        { class: 'stack' },
        h('h1', null, name),
        h(
          'p',
          { class: 'muted' },
          [
            shown.document?.path,
            ...headings,
            shown.page ? t('pageShort', { page: shown.page }) : null,
          ]
            .filter(Boolean)
            .join(' › '),
        ),
        h(
          'p',
          { class: 'passage-links' },
          original
            ? externalLink(
                shown.page ? t('openOriginalPage', { page: shown.page }) : t('openOriginal'),
                original,
              )
            : null,
        ),
        h(
          'p',
          { class: 'mark-legend small' },
          evidence.length ? [h('mark', { class: 'evidence' }, t('markEvidence')), ' '] : null,
          h('mark', { class: 'passage' }, t('markPassage')),
        ),
      ),
      h(
        'div',
        { class: 'doc-text', lang: shown.document?.language ?? null },
        passageText(shown, evidence, Infinity),
      ),
    ),
    button(t('toPassage'), {
      icon: 'chevron',
      kind: 'to-passage',
      onclick: () => scrollToMark('smooth'),
    }),
  );
  scrollToMark('auto');
}

async function load() {
  try {
    const shown = await api.source(chunkOf(location));
    draw(shown);
    addEventListener('hashchange', () => draw(shown));
  } catch (error) {
    if (error.status === 404) fill(main, notice('warn', h('p', null, t('sourceGone'))));
    else fill(main, failure(error, load));
  }
}

async function start() {
  await use();
  api.onUnauthorized(async () => (await import('./login.js')).signIn());
  fill(
    document.getElementById('head'),
    h('a', { class: 'brand', href: api.BASE }, 'Souffleur'),
    h('a', { class: 'button quiet', href: `${api.BASE}#/ask` }, t('backToQuestions')),
  );
  fill(main, h('p', { class: 'muted' }, t('loading')));
  await load();
}

start();
