// The verdict of each sentence, in the text of the answer: found by its letters and digits, since
// marks and Markdown stand between them, and wrapped where it stands.

import { h, icon, newId } from './dom.js';
import { number, t } from './i18n.js';

export const SHAPES = { supported: 'check', partly: 'partly', unsupported: 'bang' };

/** `[1, 2]` */
const MARKS = /\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\](?!\()/g;
const WORD = /[\p{L}\p{N}]/u;

/** Letters and digits below an element, each with its place; citation marks left out. */
function lettersOf(root) {
  const places = [];
  let text = '';
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest('.cite') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
  );
  while (walker.nextNode()) {
    const node = walker.currentNode;
    let offset = 0;
    for (const char of node.data) {
      if (WORD.test(char)) {
        for (let k = 0; k < char.length; k += 1) places.push({ node, offset: offset + k });
        text += char;
      }
      offset += char.length;
    }
  }
  return { text, places };
}

function letters(text) {
  const words = text.replace(MARKS, ' ').replace(/\]\([^)\s]+\)/g, ' ');
  return Array.from(words)
    .filter((it) => WORD.test(it))
    .join('');
}

/** Where each sentence stands: `[first, last]` of the letters, or null. */
function locate(text, sentences) {
  let cursor = 0;
  return sentences.map((it) => {
    const key = letters(it.text);
    // The number of a list's item is a part of the sentence, but not of the text.
    const tries = [key, key.replace(/^\d+/, '')].filter(Boolean);
    for (const wanted of tries) {
      const start = text.indexOf(wanted, cursor);
      if (start >= 0) {
        cursor = start + wanted.length;
        return [start, cursor - 1];
      }
    }
    return null;
  });
}

/** Wraps a range of letters; returns its spans, first to last. */
function wrap(places, [first, last], props) {
  const end = places[last];
  const byNode = new Map();
  for (let i = first; i <= last; i += 1) {
    const { node, offset } = places[i];
    const span = byNode.get(node) ?? { from: offset, to: offset + 1 };
    span.to = offset + 1;
    byNode.set(node, span);
  }
  const res = [];
  for (const [node, { from, to }] of byNode) {
    const rest = node.data.slice(to);
    // The end of the sentence takes its full stop along.
    const stop = node === end.node ? /^[^\s\p{L}\p{N}[]*/u.exec(rest)[0].length : 0;
    const tail = node.splitText(from);
    tail.splitText(to - from + stop);
    const span = h('span', { class: 'sentence', ...props });
    tail.replaceWith(span);
    span.append(tail);
    res.push(span);
  }
  return res;
}

/** The marks that follow a node, spaces between them skipped, and the node after which to go on. */
function marksAfter(node) {
  const marks = [];
  let last = node;
  for (let it = node.nextSibling; it; it = it.nextSibling) {
    if (it.nodeType === Node.TEXT_NODE && !it.data.trim()) continue;
    if (it.nodeType !== Node.ELEMENT_NODE || !it.classList.contains('cite')) break;
    marks.push(it);
    last = it;
  }
  // "text [1]." has its full stop behind the mark.
  const next = last.nextSibling;
  if (marks.length && next?.nodeType === Node.TEXT_NODE) {
    const stop = /^[.!?…»”)]+/.exec(next.data)?.[0].length ?? 0;
    if (stop) {
      next.splitText(stop);
      last = next;
    }
  }
  return { marks, last };
}

/**
 * Puts the verdicts of `sentences` into the text below `root`. `cite(n, sentence)` makes a mark,
 * `badge(sentence)` the verdict. Returns the sentences that the text does not have.
 */
export function markSentences(root, sentences, cite, badge) {
  const { text, places } = lettersOf(root);
  const ranges = locate(text, sentences);
  // Backwards, so that splitting a node leaves the places before it as they are.
  for (let i = sentences.length - 1; i >= 0; i -= 1) {
    if (!ranges[i]) continue;
    const sentence = sentences[i];
    const spans = wrap(places, ranges[i], { 'data-verdict': sentence.verdict });
    const within = spans.flatMap((span) => marksAfter(span).marks);
    const { last } = marksAfter(spans.at(-1));
    for (const mark of within) mark.sentence = sentence;
    const there = new Set(within.map((it) => Number(it.dataset.source)));
    const added = sentence.citations.filter((n) => !there.has(n)).map((n) => cite(n, sentence));
    const seal = badge(sentence, spans);
    last.after(...added.filter(Boolean), seal);
  }
  return sentences.filter((_, i) => !ranges[i]);
}

/** Several numbers as `1, 2`. */
function sourcesText(sentence) {
  return sentence.citations.map((it) => `[${it}]`).join(' ');
}

/** The verdict in words, for the tooltip and for screen readers. */
function explanation(sentence) {
  const sources = sourcesText(sentence);
  const key = sources ? `explain_${sentence.verdict}` : 'explain_none';
  const lines = [t(key, { sources })];
  if (sentence.missing.length) {
    const what = sentence.missing.map((it) => t('quoted', { text: it })).join(', ');
    lines.push(t('explainMissing', { what }));
  } else if (sentence.verdict !== 'supported' && sources) {
    lines.push(t('explainWords'));
  }
  if (sentence.attributed && sources) lines.push(t('explainAttributed'));
  return lines;
}

/** The button that shows a verdict by colour and shape, and explains it when it is pointed at. */
export function verdictBadge(sentence, spans = []) {
  const name = t(`verdict_${sentence.verdict}`);
  const element = h(
    'button',
    {
      type: 'button',
      class: `badge ${sentence.verdict}`,
      'aria-label': `${t('verdict')} ${name}`,
    },
    icon(SHAPES[sentence.verdict]),
  );
  const light = (on) => spans.forEach((it) => it.classList.toggle('on', on));
  explain(element, light, () => [
    h(
      'p',
      { class: `tip-title ${sentence.verdict}` },
      icon(SHAPES[sentence.verdict]),
      name,
      h(
        'span',
        { class: 'tip-score' },
        t('supportScore', { percent: number(sentence.support * 100) }),
      ),
    ),
    explanation(sentence).map((it) => h('p', null, it)),
    sentence.evidence ? h('blockquote', null, sentence.evidence.text) : null,
  ]);
  return element;
}

let shown = null;

function hide() {
  if (!shown) return;
  shown.owner.removeAttribute('aria-describedby');
  shown.light(false);
  shown.tip.remove();
  shown = null;
}

/** Shows a tooltip while its owner is pointed at, focused or tapped. */
function explain(owner, light, build) {
  const show = () => {
    if (shown?.owner === owner) return;
    hide();
    const tip = h('div', { class: 'tip', role: 'tooltip', id: newId() }, build());
    document.body.append(tip);
    owner.setAttribute('aria-describedby', tip.id);
    light(true);
    place(tip, owner);
    shown = { owner, tip, light };
  };
  owner.addEventListener('mouseenter', show);
  owner.addEventListener('focus', show);
  owner.addEventListener('click', show);
  owner.addEventListener('mouseleave', () => {
    if (document.activeElement !== owner) hide();
  });
  owner.addEventListener('blur', hide);
}

function place(tip, owner) {
  const box = owner.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8));
  const above = box.top - height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : Math.min(box.bottom + 8, innerHeight - height - 8)}px`;
}

addEventListener('scroll', hide, { capture: true, passive: true });
addEventListener('hashchange', hide);
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') hide();
});

/** How many sentences have which verdict: the legend of the marks, too. */
export function verdictSummary(sentences) {
  if (!sentences.length) return null;
  const count = (verdict) => sentences.filter((it) => it.verdict === verdict).length;
  const part = (verdict) =>
    h(
      'li',
      { class: verdict },
      icon(SHAPES[verdict]),
      `${number(count(verdict))} ${t(`legend_${verdict}`, { n: count(verdict) })}`,
    );
  return h(
    'div',
    { class: 'summary' },
    h('span', null, t('checked', { n: sentences.length })),
    h('ul', { class: 'legend' }, Object.keys(SHAPES).filter(count).map(part)),
  );
}
