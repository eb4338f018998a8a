// Comparisons that were kept: the verdict, the figures, and each question's answers side by side.

import { fill, h, icon, newId } from '../dom.js';
import { current, dateTime, has, number, t } from '../i18n.js';
import * as api from './api.js';
import { beginButton } from './begin.js';
import { blank, table } from './lab.js';

/** Questions drawn at a time: a comparison may have thousands. */
const PAGE = 25;

export async function mount(root, [id]) {
  fill(root, h('p', { class: 'muted' }, t('loading')));
  if (id) fill(root, report(await api.comparison(id)));
  else fill(root, list(await api.comparisons()));
}

function list({ data, total }) {
  if (!data.length) {
    const command = 'souffleur compare --questions questions.jsonl --arms base,rag,extract';
    return blank('comparisonsNone', 'comparisonsNoneHint', command, 'compare');
  }
  return [
    h('p', { class: 'lead' }, t('comparisonsLead')),
    beginButton('compare'),
    h(
      'ul',
      { class: 'lab-list' },
      data.map((it) =>
        h(
          'li',
          { class: 'card' },
          h(
            'a',
            { class: 'link strong', href: `#/lab/comparisons/${encodeURIComponent(it.id)}` },
            it.arms.join(' · '),
          ),
          h(
            'p',
            { class: 'hint' },
            `${t('questionsN', { n: it.n_questions })} · ${dateTime(it.at)}`,
          ),
          h('p', null, quoted(it.verdict[current()])),
        ),
      ),
    ),
    total > data.length
      ? h('p', { class: 'hint' }, t('onlyNewest', { n: data.length, total }))
      : null,
  ];
}

/** A text whose names stand in back quotes. */
function quoted(text) {
  return text.split('`').map((it, i) => (i % 2 ? h('code', null, it) : it));
}

/** Shares as percentages, costs as they are. */
const SHARES = new Set([
  'right',
  'exact_match',
  'f1',
  'contains',
  'rouge_l',
  'facts',
  'citation_precision',
  'citation_recall',
  'supported',
  'refusal',
  'right_language',
]);

const shown = (metric, value) =>
  SHARES.has(metric) ? number(100 * value, 1) : number(value, Math.abs(value) < 10 ? 1 : 0);

function interval(metric, { mean, interval: [low, high] }) {
  return `${shown(metric, mean)} [${shown(metric, low)} – ${shown(metric, high)}]`;
}

function metricName(metric) {
  const name = has(`metric_${metric}`) ? t(`metric_${metric}`) : metric;
  return SHARES.has(metric) ? `${name} (%)` : name;
}

function report(it) {
  return [
    h('a', { class: 'lab-back', href: '#/lab/comparisons' }, t('comparisonsAll')),
    h('p', { class: 'verdict-text' }, quoted(it.verdict[current()])),
    h('p', { class: 'hint' }, `${t('questionsN', { n: it.n_questions })} · ${dateTime(it.at)}`),
    downloads(it.id),
    h('h2', null, t('comparisonArms')),
    armsTable(it),
    h('p', { class: 'hint' }, t('comparisonIntervals')),
    it.arms.length > 1 ? [h('h2', null, t('comparisonPairs')), pairsView(it)] : null,
    it.slices.length ? [h('h2', null, t('comparisonSlices')), slicesTable(it)] : null,
    judgeView(it.judge),
    h('h2', null, t('comparisonQuestions')),
    questions(it),
  ];
}

/** The report as files to keep, in the language of the page. */
function downloads(id) {
  const link = (form, name) =>
    h(
      'a',
      { class: 'button', href: api.reportUrl(id, form, current()), download: '' },
      icon('download'),
      h('span', null, name),
    );
  return h(
    'p',
    { class: 'downloads' },
    link('html', t('reportHtml')),
    link('md', t('reportMarkdown')),
  );
}

function armsTable(it) {
  const metrics = [];
  for (const arm of it.arms) {
    for (const metric of Object.keys(arm.metrics)) {
      if (!metrics.includes(metric)) metrics.push(metric);
    }
  }
  const head = [t('comparisonMetric'), ...it.arms.map((arm) => arm.arm)];
  const rows = metrics.map((metric) => [
    metricName(metric),
    ...it.arms.map((arm) => (arm.metrics[metric] ? interval(metric, arm.metrics[metric]) : '–')),
  ]);
  return table(t('comparisonArms'), head, rows);
}

const probability = (p) => (p < 0.001 ? `< ${number(0.001, 3)}` : number(p, 3));

/** How every two variants differ, by the measure that is chosen. */
function pairsView(it) {
  const metrics = [...new Set(it.pairs.map((pair) => pair.metric))];
  if (!metrics.length) return null;
  const body = h('div');
  const id = newId();
  const choice = h(
    'select',
    { id },
    metrics.map((metric) => h('option', { value: metric }, metricName(metric))),
  );
  const draw = () => fill(body, pairsTable(it, choice.value));
  choice.value = metrics.includes('right') ? 'right' : metrics[0];
  choice.addEventListener('change', draw);
  draw();
  return [
    h('p', { class: 'pair-metric' }, h('label', { for: id }, t('pairMetric')), ' ', choice),
    body,
  ];
}

function pairsTable(it, metric) {
  const head = ['pair', 'difference', 'p', 'p_holm', 'wins', 'says', 'detectable', 'more'];
  const rows = it.pairs
    .filter((pair) => pair.metric === metric)
    .map((pair) => [
      `${pair.b} − ${pair.a}`,
      interval(metric, { mean: pair.difference, interval: pair.interval }),
      probability(pair.p),
      probability(pair.p_holm),
      `${pair.wins} / ${pair.ties} / ${pair.losses}`,
      t(`outcome_${pair.verdict}`),
      pair.detectable === null ? '–' : shown(metric, pair.detectable),
      pair.more_questions === null ? '–' : number(pair.more_questions),
    ]);
  const caption = `${t('comparisonPairs')}${t('colon')} ${metricName(metric)}`;
  return table(
    caption,
    head.map((name) => t(`pair_${name}`)),
    rows,
  );
}

function slicesTable(it) {
  const arms = it.arms.map((arm) => arm.arm);
  const rows = it.slices.map((slice) => [
    `${has(`slice_${slice.by}`) ? t(`slice_${slice.by}`) : slice.by}${t('colon')} ${slice.value}`,
    number(slice.n),
    ...arms.map((arm) => interval('right', slice.right[arm])),
  ]);
  return table(t('comparisonSlices'), [t('sliceName'), t('sliceN'), ...arms], rows);
}

function judgeView(judge) {
  if (!judge) return null;
  const head = ['pair', 'judge_b', 'judge_tie', 'judge_a'].map((it) =>
    t(it === 'pair' ? 'pair_pair' : it),
  );
  const rows = judge.pairs.map((it) => [
    `${it.b} − ${it.a}`,
    number(it.b_wins),
    number(it.ties),
    number(it.a_wins),
  ]);
  const people = judge.agreement
    ? t('judgeAgreement', {
        n: judge.agreement.n,
        percent: number(100 * judge.agreement.share),
        low: number(100 * judge.agreement.interval[0]),
        high: number(100 * judge.agreement.interval[1]),
      })
    : t('judgeNoVotes');
  return [
    h('h2', null, t('judgeTitle', { name: judge.model })),
    table(t('judgeTitle', { name: judge.model }), head, rows),
    h('p', { class: 'hint' }, people),
  ];
}

const isRight = (answer) => answer.scores.right === 1;

/** What made a question that nobody asked: reports of older programs say only that a model did. */
const maker = ({ generated }) => (generated === true ? 'model' : generated);

/** Offered only where there are such questions. */
const MARKS = {
  model: (it) => maker(it) === 'model',
  rules: (it) => maker(it) === 'rules',
  trained: ({ trained_on: arms }) => arms.length > 0,
};

const FILTERS = {
  all: () => true,
  flipped: ({ answers }) => answers.some((it) => isRight(it) !== isRight(answers[0])),
  wrong: ({ answers }) => !answers.some(isRight),
  right: ({ answers }) => answers.every(isRight),
  ...MARKS,
};

function questions(it) {
  const body = h('div', { class: 'questions' });
  const count = h('p', { class: 'hint', role: 'status' });
  const start = it.arms.length > 1 && it.questions.some(FILTERS.flipped) ? 'flipped' : 'all';
  let filter = start;
  let n = PAGE;
  const draw = () => {
    const wanted = it.questions.filter(FILTERS[filter]);
    count.textContent = t('questionsN', { n: wanted.length });
    fill(
      body,
      wanted.length ? wanted.slice(0, n).map(questionView) : h('p', { class: 'muted' }, t('none')),
      wanted.length > n
        ? h('button', { type: 'button', class: 'button', onclick: more }, t('more'))
        : null,
    );
  };
  const more = () => {
    n += PAGE;
    draw();
  };
  const name = newId();
  const isOffered = (key) => !(key in MARKS) || it.questions.some(MARKS[key]);
  const choice = (value) => {
    const input = h('input', { type: 'radio', name, value, checked: value === filter });
    input.addEventListener('change', () => {
      filter = value;
      n = PAGE;
      draw();
    });
    return h('label', { class: 'chip' }, input, h('span', null, t(`filter_${value}`)));
  };
  draw();
  return [
    h(
      'fieldset',
      null,
      h('legend', { class: 'sr' }, t('comparisonQuestions')),
      h('div', { class: 'chips' }, Object.keys(FILTERS).filter(isOffered).map(choice)),
    ),
    count,
    body,
  ];
}

function questionView(it) {
  const accepted = it.accepted.length ? it.accepted.join(' · ') : t('noAnswerInDocuments');
  return h(
    'details',
    { class: 'card question-view' },
    h(
      'summary',
      null,
      it.answers.map((answer) => rightMark(isRight(answer), answer.arm)),
      h('span', null, it.question),
      maker(it) ? h('span', { class: 'tag' }, t(`questionBy_${maker(it)}`)) : null,
      learntTag(it.trained_on),
    ),
    h(
      'p',
      { class: 'hint' },
      `${t('accepted')}${t('colon')} ${accepted}`,
      it.document ? ` (${it.document})` : null,
    ),
    it.outdated.length
      ? h('p', { class: 'hint' }, `${t('wasRight')}${t('colon')} ${it.outdated.join(' · ')}`)
      : null,
    h('div', { class: 'side-by-side' }, it.answers.map(answerView)),
  );
}

/** Says whose adapters were trained on the question's document: their answers may be known by heart. */
function learntTag(arms) {
  if (!arms.length) return null;
  return h('span', { class: 'tag warn' }, t('questionTrainedOn', { arms: arms.join(', ') }));
}

function rightMark(right, arm) {
  const words = `${arm}${t('colon')} ${t(right ? 'isRight' : 'isWrong')}`;
  return h(
    'span',
    { class: `mark ${right ? 'ok' : 'bad'}`, title: words },
    icon(right ? 'check' : 'close'),
    h('span', { class: 'sr' }, words),
  );
}

function answerView(it) {
  const total = it.scores.total_ms;
  const checked = it.sentences?.filter((sentence) => sentence.text);
  return h(
    'div',
    { class: 'side-answer' },
    h(
      'h3',
      null,
      rightMark(isRight(it), it.arm),
      h('code', null, it.arm),
      it.refused ? h('span', { class: 'tag' }, t('isRefusal')) : null,
    ),
    checked?.length
      ? h(
          'p',
          null,
          checked.map((sentence) => sentenceView(sentence, it.sources)),
        )
      : h('p', null, it.answer || t('none')),
    it.sources.length
      ? h(
          'details',
          { class: 'small' },
          h('summary', null, t('sourcesN', { n: it.sources.length })),
          h(
            'ol',
            { class: 'side-sources' },
            it.sources.map((path) => h('li', null, path)),
          ),
        )
      : null,
    total === undefined ? null : h('p', { class: 'hint' }, t('msN', { n: Math.round(total) })),
  );
}

/** A sentence with its verdict and the documents that it cites. */
function sentenceView({ text, supported, citations }, sources) {
  const words = t(supported ? 'verdict_supported' : 'notSupported');
  return [
    h('span', { class: `said ${supported ? 'yes' : 'no'}` }, text),
    citations.map((n) => h('abbr', { class: 'cite-mark', title: sources[n - 1] ?? '' }, `[${n}]`)),
    h(
      'span',
      { class: `mark ${supported ? 'ok' : 'bad'}`, title: words },
      icon(supported ? 'check' : 'bang'),
      h('span', { class: 'sr' }, words),
    ),
    ' ',
  ];
}
