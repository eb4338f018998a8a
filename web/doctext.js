// The text of a document as its reader extracted it, with parts marked. It is Markdown, but shown
// so that each character keeps its place: spans count Unicode characters of the text.

import { h } from './dom.js';

/**
 * Nodes for `text`, a part of a document that begins at character `start`. Each mark is
 * `{start, end, kind}` in characters of the document, and becomes `<mark class=kind>`.
 */
export function documentText(text, start, marks) {
  const res = [];
  let at = start;
  let rows = [];
  const flush = () => {
    if (rows.length) res.push(tableOf(rows, marks));
    rows = [];
  };
  for (const line of text.split('\n')) {
    const chars = Array.from(line);
    if (/^\s*\|.*\|\s*$/.test(line)) {
      rows.push({ chars, at });
    } else {
      flush();
      const node = lineOf(line, chars, at, marks);
      if (node) res.push(node);
    }
    at += chars.length + 1;
  }
  flush();
  return res;
}

function lineOf(line, chars, at, marks) {
  if (!line.trim()) return null;
  const heading = /^(#{1,6})\s+/.exec(line);
  if (heading) {
    const skip = heading[0].length;
    const props = { class: `doc-heading level-${heading[1].length}` };
    return h('p', props, pieces(chars.slice(skip), at + skip, marks));
  }
  const item = /^(\s*)([-*+•]|\d{1,4}[.)])\s+/.exec(line);
  if (item) {
    const skip = item[0].length;
    const bullet = /\d/.test(item[2]) ? item[2] : '•';
    const node = h(
      'p',
      { class: 'doc-item' },
      h('span', { class: 'doc-bullet' }, bullet),
      pieces(chars.slice(skip), at + skip, marks),
    );
    node.style.setProperty('--depth', String(Math.min(Math.floor(item[1].length / 2), 4)));
    return node;
  }
  return h('p', null, pieces(chars, at, marks));
}

/** Text with its marks; overlapping marks: the last one in the list wins. */
function pieces(chars, at, marks) {
  const end = at + chars.length;
  const inside = marks.filter((it) => it.start < end && it.end > at);
  const cuts = new Set([at, end]);
  for (const it of inside) {
    cuts.add(Math.max(it.start, at));
    cuts.add(Math.min(it.end, end));
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  const res = [];
  for (let i = 0; i + 1 < sorted.length; i += 1) {
    const [from, to] = [sorted[i], sorted[i + 1]];
    const part = plain(chars.slice(from - at, to - at).join(''));
    const mark = inside.findLast((it) => it.start <= from && it.end >= to);
    res.push(mark && part.trim() ? h('mark', { class: mark.kind }, part) : part);
  }
  return res;
}

/** Without the signs of emphasis, which are noise to a reader. */
function plain(text) {
  return text.replace(/\*\*|__/g, '').replace(/\\([\\`*_[\]#|~])/g, '$1');
}

function tableOf(rows, marks) {
  const isRule = (it) => /^[\s|:-]+$/.test(it.chars.join(''));
  const hasHead = rows.length > 1 && isRule(rows[1]);
  const row = (it, tag) =>
    h(
      'tr',
      null,
      cellsOf(it).map((cell) => h(tag, null, pieces(cell.chars, cell.at, marks))),
    );
  const body = rows.filter((it) => !isRule(it));
  const head = hasHead ? [body.shift()] : [];
  return h(
    'div',
    { class: 'table-scroll', tabindex: '0', role: 'group' },
    h(
      'table',
      null,
      head.map((it) => h('thead', null, row(it, 'th'))),
      h(
        'tbody',
        null,
        body.map((it) => row(it, 'td')),
      ),
    ),
  );
}

/** The cells of a row, each with the place of its first character. */
function cellsOf({ chars, at }) {
  const res = [];
  let cell = null;
  chars.forEach((char, i) => {
    if (char === '|' && chars[i - 1] !== '\\') {
      if (cell) res.push(cell);
      cell = { chars: [], at: at + i + 1 };
    } else if (cell) {
      cell.chars.push(char);
    }
  });
  return res;
}
