// One question and its answer: the draft as it is written, then the checked text with its marks,
// verdicts and sources, and what a reader can do with it.

import {
  announce,
  button,
  copyText,
  downloadText,
  failure,
  fill,
  h,
  icon,
  iconButton,
  newId,
  notice,
  toast,
} from './dom.js';
import { describe } from './errors.js';
import { date, duration, has, number, t } from './i18n.js';
import { markdown } from './markdown.js';
import { placeOf } from './place.js';
import { markSentences, verdictBadge, verdictSummary } from './verdicts.js';

/** What only some readers open is loaded when they do. */
const openPassage = async (...it) => (await import('./passage.js')).openPassage(...it);
const openWhy = async (answer) => (await import('./why.js')).openWhy(answer);
const again = () => import('./again.js');
const answerMarkdown = async (...it) => (await import('./export.js')).answerMarkdown(...it);

/** Milliseconds between two announcements of a draft to screen readers. */
const ANNOUNCE_MS = 1500;

/** The mark of a source in a text. With a sentence, the panel shows what speaks for it. */
function citation(sources, n, sentence) {
  const source = sources.find((it) => it.index === n);
  if (!source) return null;
  const mark = h(
    'button',
    {
      type: 'button',
      class: 'cite',
      'data-source': String(n),
      'aria-label': t('openSource', { n, title: source.title || source.document }),
      title: source.title || source.document,
      onclick: () => openPassage(source, evidenceOf(n, mark.sentence ? [mark.sentence] : [])),
    },
    String(n),
  );
  if (sentence) mark.sentence = sentence;
  return mark;
}

/** What speaks for the sentences in source n. */
function evidenceOf(n, sentences) {
  return sentences.map((it) => it.evidence).filter((it) => it?.source === n);
}

/**
 * The element of a turn `{question, draft, stage, sources, answer, error, stopped, feedback}` and
 * its `update()`, to be called when the turn has changed. `requestAgain()` is what has its question
 * answered once more.
 */
export function turnView(turn, { retry, requestAgain }) {
  const id = newId();
  const body = h('div', { class: 'answer' });
  const element = h(
    'article',
    { class: 'turn', 'aria-labelledby': id },
    h('h2', { class: 'question', id }, turn.question),
    body,
  );
  const text = h('div', { class: 'prose draft' });
  const stage = h('p', { class: 'stage' });
  let drawn = null;
  let frame = 0;

  const drawDraft = () => {
    frame = 0;
    if (drawn !== 'draft') {
      fill(body, stage, text);
      drawn = 'draft';
    }
    const running = !turn.stopped && !turn.error;
    stage.hidden = !running;
    fill(stage, h('span', { class: 'pulse', 'aria-hidden': 'true' }), stageText(turn.stage));
    text.replaceChildren(markdown(turn.draft, (n) => citation(turn.sources ?? [], n)));
    if (turn.stopped) {
      body.append(notice('info', h('p', null, turn.draft ? t('stoppedDraft') : t('stopped'))));
    }
    if (turn.error) body.append(failure(turn.error, retry));
  };

  const update = () => {
    if (turn.answer) {
      if (frame) cancelAnimationFrame(frame);
      frame = 0;
      if (drawn !== turn.answer) fill(body, finished(turn, turn.answer, requestAgain));
      drawn = turn.answer;
    } else if (turn.stopped || turn.error) {
      drawDraft();
    } else if (!frame) {
      frame = requestAnimationFrame(drawDraft);
    }
  };
  update();
  return { element, update };
}

function stageText(stage) {
  const state = stage?.state ?? 'searching';
  const isPart = state === 'reading' && stage.total > 1;
  const percent = isPart ? number(Math.round((100 * stage.done) / stage.total)) : null;
  const name = has(`stage_${state}`) ? t(`stage_${state}`) : t('stage_searching');
  return isPart ? `${name} ${t('percent', { percent })}` : name;
}

/** Reads a draft aloud in whole sentences, and not too often. */
export function draftReader() {
  let read = 0;
  let last = 0;
  return (draft) => {
    const end = draft.lastIndexOf('. ') + 1;
    if (end <= read || performance.now() - last < ANNOUNCE_MS) return;
    announce(draft.slice(read, end).replace(/\[\d+\]/g, ''));
    read = end;
    last = performance.now();
  };
}

/** What is read aloud when an answer is complete. */
export function finishedText(answer) {
  if (answer.refused) return `${t('refusedTitle')}. ${answer.answer}`;
  const count = (verdict) => answer.sentences.filter((it) => it.verdict === verdict).length;
  return t('announceDone', {
    n: answer.sentences.length,
    supported: count('supported'),
    partly: count('partly'),
    unsupported: count('unsupported'),
  });
}

function finished(turn, answer, requestAgain) {
  const understood =
    answer.understood_as && answer.understood_as !== turn.question
      ? h('p', { class: 'understood' }, t('understoodAs'), ' ', h('em', null, answer.understood_as))
      : null;
  return [
    understood,
    answer.refused ? refusal(answer) : checkedText(answer),
    notes(answer),
    sourceList(answer),
    actions(turn, answer, requestAgain),
  ];
}

function refusal(answer) {
  return h(
    'div',
    { class: 'refusal' },
    icon('info'),
    h(
      'div',
      null,
      h('p', { class: 'refusal-title' }, t('refusedTitle')),
      h(
        'div',
        { class: 'prose' },
        markdown(answer.answer, (n) => citation(answer.sources, n)),
      ),
      h('p', { class: 'muted' }, t('refusedHint')),
    ),
  );
}

function checkedText(answer) {
  const text = h('div', { class: 'prose', lang: answer.language });
  text.append(markdown(answer.answer, (n) => citation(answer.sources, n)));
  const lost = markSentences(
    text,
    answer.sentences,
    (n, sentence) => citation(answer.sources, n, sentence),
    verdictBadge,
  );
  return [
    text,
    lost.length
      ? h(
          'div',
          { class: 'lost small' },
          h('p', { class: 'muted' }, t('checkedElsewhere')),
          h(
            'ul',
            null,
            lost.map((it) => h('li', null, it.text, ' ', verdictBadge(it))),
          ),
        )
      : null,
    verdictSummary(answer.sentences),
  ];
}

/** What a reader must know beside the text. */
function notes(answer) {
  const res = [];
  if (answer.quoting) {
    res.push(
      notice(
        'info',
        h('p', null, t('quotingNote')),
        h('p', { class: 'muted small' }, answer.quoting),
      ),
    );
  }
  if (!answer.refused && !answer.sentences.length && !answer.sources.length) {
    res.push(notice('warn', h('p', null, t('uncheckedNote'))));
  }
  if (answer.truncated) res.push(notice('warn', h('p', null, t('truncatedNote'))));
  if (answer.question_cut_at) res.push(notice('warn', h('p', null, t('questionCutNote'))));
  if (answer.older_versions?.length) {
    const names = answer.older_versions.map((it) =>
      h('li', null, it.document, it.date ? ` (${date(it.date)})` : null),
    );
    res.push(
      notice(
        'warn',
        h('p', null, t('olderVersions', { n: answer.older_versions.length })),
        h('ul', null, names),
      ),
    );
  }
  return res;
}

function sourceList(answer) {
  if (!answer.sources.length) return null;
  const cited = new Set(answer.sentences.flatMap((it) => it.citations));
  const used = answer.sources.filter((it) => cited.has(it.index));
  const others = answer.sources.filter((it) => !cited.has(it.index));
  const list = (sources) =>
    h(
      'ol',
      { class: 'sources' },
      sources.map((it) => sourceCard(it, answer)),
    );
  return h(
    'section',
    { class: 'source-section', 'aria-label': t('sources') },
    used.length ? [h('h3', null, t('sources')), list(used)] : null,
    others.length
      ? h(
          'details',
          null,
          h(
            'summary',
            null,
            t(answer.refused ? 'closestPassages' : 'otherPassages', { n: others.length }),
          ),
          list(others),
        )
      : null,
  );
}

function sourceCard(source, answer) {
  const speaking = answer.sentences.filter((it) => it.evidence?.source === source.index);
  const excerpt = speaking[0]?.evidence.text ?? source.text;
  const open = () => openPassage(source, evidenceOf(source.index, speaking));
  return h(
    'li',
    { class: 'source' },
    h(
      'button',
      { type: 'button', class: 'source-open', onclick: open },
      h('span', { class: 'source-number' }, String(source.index)),
      h(
        'span',
        { class: 'source-text' },
        h('span', { class: 'source-title' }, source.title || source.document),
        h('span', { class: 'source-place' }, placeOf(source)),
        h('span', { class: 'source-excerpt' }, excerpt.replace(/\s+/g, ' ').trim()),
      ),
    ),
  );
}

/** The text of an answer with its verdicts and sources, and nothing that can be done with it. */
export function answerBody(answer) {
  return [answer.refused ? refusal(answer) : checkedText(answer), sourceList(answer)];
}

function actions(turn, answer, requestAgain) {
  const form = h('div', { class: 'feedback-slot' });
  const rate = (rating) => rateButton(turn, answer, rating, form);
  const [up, down] = [rate('up'), rate('down')];
  const redraw = () => {
    for (const [element, rating] of [
      [up, 'up'],
      [down, 'down'],
    ]) {
      element.setAttribute('aria-pressed', String(turn.feedback?.rating === rating));
    }
  };
  form.addEventListener('rated', redraw);
  redraw();
  const time = answer.timings_ms ? duration(answer.timings_ms.total / 1000) : null;
  // A server may be told to keep nothing: then there is nothing to judge or to explain later.
  const isKept = Boolean(answer.conversation);
  const slot = h('div', { class: 'again-slot' });
  if (turn.again) again().then((it) => it.drawAgain(slot, turn));
  return [
    h(
      'div',
      { class: 'actions' },
      isKept ? [up, down, h('span', { class: 'gap' })] : null,
      isKept
        ? [
            button(t('why'), { icon: 'why', kind: 'quiet', onclick: () => openWhy(answer) }),
            button(t('again'), {
              icon: 'refresh',
              kind: 'quiet',
              onclick: async () => (await again()).answerAgain(slot, turn, requestAgain()),
            }),
          ]
        : null,
      iconButton('copy', t('copyAnswer'), { onclick: () => copy(turn, answer) }),
      iconButton('download', t('exportAnswer'), {
        onclick: async () =>
          downloadText(fileName(turn.question), await answerMarkdown(turn.question, answer)),
      }),
      h('span', { class: 'made-by' }, [writerName(answer), time].filter(Boolean).join(' · ')),
    ),
    form,
    slot,
  ];
}

/** The model that wrote an answer; quotes have none. */
function writerName({ generator }) {
  return generator && generator !== 'extract' ? generator : t('noGenerator');
}

function rateButton(turn, answer, rating, form) {
  return iconButton(rating, t(rating === 'up' ? 'rateUp' : 'rateDown'), {
    onclick: async () => {
      const { feedbackForm, sendRating } = await import('./feedback.js');
      fill(
        form,
        feedbackForm(turn, answer, rating, () => form.dispatchEvent(new Event('rated'))),
      );
      // One click counts already; the form makes it more precise.
      if (turn.feedback?.rating !== rating) await sendRating(turn, answer, { rating });
      form.dispatchEvent(new Event('rated'));
    },
  });
}

async function copy(turn, answer) {
  try {
    await copyText(await answerMarkdown(turn.question, answer));
    toast(t('copied'), 'ok');
  } catch (error) {
    toast(describe(error), 'bad');
  }
}

function fileName(question) {
  const words = question
    .toLowerCase()
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replace(/[^a-z0-9]+/g, '-');
  return `${words.replace(/^-|-$/g, '').slice(0, 60) || 'answer'}.md`;
}
