// Markdown to DOM nodes: paragraphs, headings, lists, quotations, tables, code, bold, italic,
// strikethrough, links. It never makes HTML from text, so no sanitiser is needed: a tag in an
// answer is shown as the characters that it is made of.

import { h } from './dom.js';

/** Only addresses that a reader may follow: web and mail. */
function safeUrl(text) {
  try {
    const url = new URL(text, location.href);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const INLINE = new RegExp(
  [
    '(?<code>`+)(?<codeText>[^`](?:.*?[^`])?)\\k<code>(?!`)',
    '\\[(?<cite>\\d{1,3}(?:\\s*[,;]\\s*\\d{1,3})*)\\](?!\\()',
    '\\[(?<label>[^\\]\\n]+)\\]\\((?<target>[^()\\s]+)\\)',
    '(?<url>https?://[^\\s<>()\\[\\]]+[^\\s<>()\\[\\].,;:!?\'"»])',
    '\\*\\*(?<bold>\\S(?:.*?\\S)?)\\*\\*',
    '(?<![\\p{L}\\d])__(?<bold2>\\S(?:.*?\\S)?)__(?![\\p{L}\\d])',
    '\\*(?<em>[^\\s*](?:[^*]*[^\\s*])?)\\*',
    '(?<![\\p{L}\\d])_(?<em2>[^\\s_](?:[^_]*[^\\s_])?)_(?![\\p{L}\\d])',
    '~~(?<gone>\\S(?:.*?\\S)?)~~',
    '\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+\\-.!|~>])',
    '(?<br> *\\n)',
  ].join('|'),
  'gu',
);

/** Nodes of a line of text. `cite(n)` makes the mark of source n, or returns null for none. */
export function inline(text, cite = () => null) {
  const res = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    res.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    res.push(inlineNode(match[0], match.groups, cite));
  }
  res.push(text.slice(end));
  return res.flat().filter((it) => it !== '');
}

function inlineNode(whole, it, cite) {
  if (it.code) return h('code', null, it.codeText);
  if (it.cite) {
    const marks = it.cite.split(/[,;]/).map((n) => cite(Number(n)));
    return marks.every(Boolean) ? marks : whole;
  }
  if (it.label) return link(it.label, it.target, cite) ?? whole;
  if (it.url) return link(it.url, it.url, cite) ?? whole;
  if (it.bold || it.bold2) return h('strong', null, inline(it.bold ?? it.bold2, cite));
  if (it.em || it.em2) return h('em', null, inline(it.em ?? it.em2, cite));
  if (it.gone) return h('s', null, inline(it.gone, cite));
  if (it.escaped) return it.escaped;
  return h('br');
}

function link(label, target, cite) {
  const href = safeUrl(target);
  if (!href) return null;
  const text = label === target ? label : inline(label, cite);
  return h('a', { href, target: '_blank', rel: 'noopener' }, text);
}

const LIST = /^(\s*)([-*+•]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^\s*([-*_])(\s*\1){2,}\s*$/;
const DELIMITER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** A fragment with the blocks of a Markdown text. */
export function markdown(text, cite) {
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(text.replace(/\r\n?/g, '\n').split('\n'), cite));
  return fragment;
}

function blocks(lines, cite) {
  const res = [];
  let i = 0;
  while (i < lines.length) {
    if (!lines[i].trim()) {
      i += 1;
      continue;
    }
    const [node, next] = block(lines, i, cite);
    res.push(node);
    i = next;
  }
  return res;
}

/** The block that begins at line `i`, and the line after it. */
function block(lines, i, cite) {
  const line = lines[i];
  const fence = /^\s*(```+|~~~+)/.exec(line);
  if (fence) return codeBlock(lines, i, fence[1]);
  const heading = /^(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
  if (heading) {
    // The page itself has the levels above.
    const level = Math.min(heading[1].length + 2, 6);
    return [h(`h${level}`, null, inline(heading[2], cite)), i + 1];
  }
  if (RULE.test(line)) return [h('hr'), i + 1];
  if (/^\s*>/.test(line)) {
    const end = until(lines, i, (it) => !/^\s*>/.test(it));
    const inner = lines.slice(i, end).map((it) => it.replace(/^\s*>\s?/, ''));
    return [h('blockquote', null, blocks(inner, cite)), end];
  }
  if (isTable(lines, i)) return table(lines, i, cite);
  if (LIST.test(line)) return list(lines, i, cite);
  const starts = (it, n) => !it.trim() || (n > i && startsBlock(lines, n));
  const end = until(lines, i, starts);
  return [h('p', null, inline(lines.slice(i, end).join('\n'), cite)), end];
}

function startsBlock(lines, i) {
  const it = lines[i];
  return /^\s*(```|~~~|>|#{1,6}\s)/.test(it) || LIST.test(it) || RULE.test(it) || isTable(lines, i);
}

function until(lines, start, stops) {
  let end = start;
  while (end < lines.length && !stops(lines[end], end)) end += 1;
  return end;
}

function codeBlock(lines, i, fence) {
  const end = until(lines, i + 1, (it) => it.trim().startsWith(fence));
  const text = lines.slice(i + 1, end).join('\n');
  return [h('pre', { tabindex: '0' }, h('code', null, text)), Math.min(end + 1, lines.length)];
}

function isTable(lines, i) {
  return (
    lines[i].includes('|') &&
    i + 1 < lines.length &&
    lines[i + 1].includes('-') &&
    DELIMITER.test(lines[i + 1]) &&
    cells(lines[i]).length === cells(lines[i + 1]).length
  );
}

/** The cells of a table's row. A `\|` does not part them. */
export function cells(line) {
  const inner = line
    .trim()
    .replace(/^\|/, '')
    .replace(/(?<!\\)\|$/, '');
  return inner.split(/(?<!\\)\|/).map((it) => it.trim().replaceAll('\\|', '|'));
}

function table(lines, i, cite) {
  const end = until(lines, i + 2, (it) => !it.includes('|'));
  const row = (tag, line) =>
    h(
      'tr',
      null,
      cells(line).map((it) => h(tag, null, inline(it, cite))),
    );
  const body = lines.slice(i + 2, end).map((it) => row('td', it));
  const node = h(
    'div',
    { class: 'table-scroll', tabindex: '0', role: 'group' },
    h('table', null, h('thead', null, row('th', lines[i])), h('tbody', null, body)),
  );
  return [node, end];
}

function list(lines, i, cite) {
  const [, indent, marker] = LIST.exec(lines[i]);
  const ordered = /\d/.test(marker);
  const items = [];
  let at = i;
  while (at < lines.length) {
    const match = LIST.exec(lines[at]);
    if (!match || match[1].length !== indent.length || /\d/.test(match[2]) !== ordered) break;
    // What is indented deeper belongs to the item; blank lines do when such a line follows.
    const isInside = (it, n) =>
      it.trim()
        ? /^\s*/.exec(it)[0].length > indent.length
        : n + 1 < lines.length && /^\s+\S/.test(lines[n + 1]);
    const end = until(lines, at + 1, (it, n) => !isInside(it, n));
    const inner = lines.slice(at + 1, end);
    const depth = Math.min(
      ...inner.filter((it) => it.trim()).map((it) => /^\s*/.exec(it)[0].length),
    );
    const rest = blocks(
      inner.map((it) => it.slice(depth)),
      cite,
    );
    items.push(h('li', null, inline(match[3], cite), rest));
    // Items may stand apart by a blank line.
    at = end;
    if (at + 1 < lines.length && !lines[at].trim() && LIST.test(lines[at + 1])) at += 1;
  }
  const start = ordered ? Number.parseInt(marker, 10) : 1;
  return [
    h(ordered ? 'ol' : 'ul', { start: ordered && start !== 1 ? String(start) : null }, items),
    at,
  ];
}
