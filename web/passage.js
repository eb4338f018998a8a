// A passage in its document: the words around it, what of it speaks for a sentence, and the ways
// to the whole text and to the original file.

import * as api from './api.js';
import { documentText } from './doctext.js';
import { externalLink, failure, fill, h } from './dom.js';
import { t } from './i18n.js';
import { openPanel } from './panel.js';
import { placeOf } from './place.js';

/** Characters shown before and after the passage; the page of the source has all of it. */
const AROUND = 900;

/** Characters of a text, as the server counts them. */
function lastChars(text, n) {
  const chars = Array.from(text);
  return chars.length > n ? `${chars.slice(chars.length - n).join('')}` : text;
}

function firstChars(text, n) {
  const chars = Array.from(text);
  return chars.length > n ? chars.slice(0, n).join('') : text;
}

/** Where the original opens: a PDF at the passage's page. */
export function originalOf(shown) {
  if (!shown.document) return null;
  const isPdf = shown.document.media_type === 'application/pdf';
  return api.originalUrl(shown.document.id, isPdf ? shown.page : null);
}

/** The nodes of a passage in its text, `around` characters before and after it. */
export function passageText(shown, evidence, around = AROUND) {
  const before = lastChars(shown.before ?? '', around);
  const after = firstChars(shown.after ?? '', around);
  const start = shown.char_start - Array.from(before).length;
  const marks = [{ start: shown.char_start, end: shown.char_end, kind: 'passage' }];
  for (const it of evidence) {
    marks.push({ start: it.char_start, end: it.char_end, kind: 'evidence' });
  }
  const nodes = documentText(before + shown.text + after, start, marks);
  const isCut = (whole, part) => (whole ?? '').length > part.length;
  return [
    isCut(shown.before, before) ? h('p', { class: 'doc-more' }, '…') : null,
    nodes,
    isCut(shown.after, after) ? h('p', { class: 'doc-more' }, '…') : null,
  ];
}

/** Opens the panel on a source of an answer; `evidence` are the parts that speak for a sentence. */
export async function openPassage(source, evidence = []) {
  const body = openPanel(t('sourceTitle', { n: source.index }));
  fill(body, h('p', { class: 'muted' }, t('loading')));
  let shown;
  try {
    shown = source.chunk ? await api.source(source.chunk) : offline(source);
  } catch (error) {
    fill(
      body,
      failure(error, () => openPassage(source, evidence)),
    );
    return;
  }
  const first = evidence[0];
  const span = first ? [first.char_start, first.char_end] : null;
  const original = originalOf(shown);
  fill(
    body,
    h('p', { class: 'passage-title' }, source.title || source.document),
    h('p', { class: 'muted small' }, placeOf(source)),
    h(
      'p',
      { class: 'passage-links' },
      source.chunk ? externalLink(t('openInText'), api.sourcePage(source.chunk, span)) : null,
      original
        ? externalLink(
            shown.page ? t('openOriginalPage', { page: shown.page }) : t('openOriginal'),
            original,
          )
        : null,
    ),
    evidence.length
      ? h(
          'p',
          { class: 'mark-legend small' },
          h('mark', { class: 'evidence' }, t('markEvidence')),
          ' ',
          h('mark', { class: 'passage' }, t('markPassage')),
        )
      : null,
    h('div', { class: 'doc-text' }, passageText(shown, evidence)),
  );
  const target = firstMark(body);
  if (!target) return;
  const below = target.getBoundingClientRect().top - body.getBoundingClientRect().top;
  // What is in sight stays where it is, below its title and its links.
  if (below > body.clientHeight * 0.6) body.scrollTop += below - 140;
}

/** What a reader should see first of a text with marks. */
export function firstMark(root) {
  const text = root.querySelector('.doc-text');
  return text?.querySelector('mark.evidence') ?? text?.querySelector('mark.passage');
}

/** What an answer itself has of a passage, where its chunk is no longer known. */
function offline(source) {
  return { ...source, document: null, before: '', after: '' };
}
