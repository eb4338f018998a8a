// Answers and conversations as Markdown, with verdicts and sources.

import { dateTime, t } from './i18n.js';
import { placeOf } from './place.js';

const SIGNS = { supported: '✓', partly: '~', unsupported: '!' };

/** Characters that Markdown would read as its own are kept as they are in titles and paths. */
function literal(text) {
  return text.replace(/([\\`*_[\]<>#|])/g, '\\$1');
}

function sourceLine(source) {
  const url = source.url ? ` <${source.url}>` : '';
  return `[${source.index}] ${literal(source.title || source.document)}, ${literal(placeOf(source))}${url}  `;
}

/** One question and answer. */
export function answerMarkdown(question, answer, level = 1) {
  const mark = '#'.repeat(level);
  const lines = [`${mark} ${question.replace(/\s+/g, ' ')}`, '', answer.answer, ''];
  if (answer.sentences.length) {
    lines.push(`${mark}# ${t('verdicts')}`, '');
    for (const it of answer.sentences) {
      const missing = it.missing.length
        ? ` (${t('explainMissing', { what: it.missing.join(', ') })})`
        : '';
      lines.push(
        `- ${SIGNS[it.verdict]} ${t(`verdict_${it.verdict}`)}${t('colon')} ${it.text.trim()}${missing}`,
      );
    }
    lines.push('');
  }
  if (answer.sources.length) {
    lines.push(`${mark}# ${t('sources')}`, '', ...answer.sources.map(sourceLine), '');
  }
  for (const it of answer.older_versions ?? []) {
    lines.push(
      `> ${t('olderVersions', { n: 1 })} ${literal(it.document)}${it.date ? ` (${it.date})` : ''}`,
      '',
    );
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

/** A whole conversation. */
export function conversationMarkdown(title, turns) {
  const parts = turns
    .filter((it) => it.answer)
    .map((it) => answerMarkdown(it.question, it.answer, 2));
  return `# ${title}\n\n${dateTime(new Date().toISOString())}\n\n${parts.join('\n')}`;
}
