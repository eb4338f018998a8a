// Training runs: how far they are, and their loss, drawn again while they go on.

import { failure, fill, h, notice } from '../dom.js';
import { bytes, dateTime, duration, number, score, t } from '../i18n.js';
import * as api from './api.js';
import { beginButton } from './begin.js';
import { blank, table } from './lab.js';

const POLL_MS = 2_000;
const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 720;
const HEIGHT = 240;
const MARGIN = { left: 56, right: 12, top: 12, bottom: 28 };

export async function mount(root, [name]) {
  let left = false;
  let timer = null;
  const load = async () => {
    try {
      const shown = name ? await api.run(name) : await api.runs();
      if (left) return;
      fill(root, name ? runView(shown) : list(shown));
      const goesOn = name ? shown.state === 'running' : shown.some((it) => it.state === 'running');
      if (goesOn) timer = setTimeout(poll, POLL_MS);
    } catch (error) {
      if (!left) fill(root, failure(error, load));
    }
  };
  const poll = () => {
    // What nobody looks at is not asked for.
    if (document.hidden) timer = setTimeout(poll, POLL_MS);
    else load();
  };
  fill(root, h('p', { class: 'muted' }, t('loading')));
  await load();
  return () => {
    left = true;
    clearTimeout(timer);
  };
}

function stateTag(state) {
  const kinds = { running: 'run', done: 'ok', stopped: 'warn' };
  return h('span', { class: `tag ${kinds[state]}` }, t(`run_${state}`));
}

function list(all) {
  if (!all.length) {
    return blank('runsNone', 'runsNoneHint', 'souffleur tune --data train.jsonl', 'tune');
  }
  return [
    h('p', { class: 'lead' }, t('runsLead')),
    beginButton('tune'),
    h(
      'ul',
      { class: 'lab-list' },
      all.map((it) =>
        h(
          'li',
          { class: 'card' },
          h(
            'div',
            { class: 'card-head' },
            h(
              'a',
              { class: 'link strong', href: `#/lab/runs/${encodeURIComponent(it.name)}` },
              it.name,
            ),
            stateTag(it.state),
          ),
          progress(it),
          h('p', { class: 'hint' }, facts(it)),
        ),
      ),
    ),
  ];
}

function progress(it) {
  if (it.state === 'done' || !it.n_steps) return null;
  return h('progress', {
    max: it.n_steps,
    value: it.step,
    'aria-label': t('runStep', { step: it.step, n: it.n_steps }),
  });
}

function facts(it) {
  return [
    it.method,
    it.n_steps ? t('runStep', { step: it.step, n: it.n_steps }) : null,
    it.loss === null ? null : `${t('runLoss')} ${score(it.loss, 3)}`,
    it.validation_loss === null ? null : `${t('runValidation')} ${score(it.validation_loss, 3)}`,
    it.seconds ? duration(it.seconds) : null,
    it.tokens_per_second ? t('runSpeed', { n: number(it.tokens_per_second) }) : null,
    it.seconds_left ? t('runLeft', { time: duration(it.seconds_left) }) : null,
    it.peak_bytes ? t('runMemory', { size: bytes(it.peak_bytes) }) : null,
    dateTime(it.at),
  ]
    .filter(Boolean)
    .join(' · ');
}

function runView(it) {
  return [
    h('a', { class: 'lab-back', href: '#/lab/runs' }, t('runsAll')),
    h('div', { class: 'card-head' }, h('h2', null, it.name), stateTag(it.state)),
    progress(it),
    h('p', { class: 'hint' }, facts(it)),
    it.steps.length
      ? curve(t('runLoss'), [
          { key: 'training', points: it.steps.map((step) => [step.step, step.loss]) },
          { key: 'validation', points: it.validations.map((line) => [line.step, line.loss]) },
        ])
      : h('p', { class: 'muted' }, t('runNoStep')),
    it.steps.some((step) => step.accuracy !== null)
      ? curve(t('runAccuracy'), [
          { key: 'training', points: it.steps.map((step) => [step.step, step.accuracy]) },
        ])
      : null,
    it.every > 1 ? h('p', { class: 'hint' }, t('runEvery', { n: it.every })) : null,
    abilityView(it.ability),
    settingsView(it.settings),
  ];
}

/** What the base could do before and after: perplexity of texts, questions answered right. */
function abilityView(ability) {
  if (!ability) return null;
  const { before, after, dropped } = ability;
  const questions = ({ n_right: right, n_questions: n }) => `${number(right)} / ${number(n)}`;
  const rows = ['all', 'en', 'fr'].map((part) => [
    t(`ability_${part}`),
    score(before[part].perplexity),
    score(after[part].perplexity),
    questions(before[part]),
    questions(after[part]),
  ]);
  const head = ['part', 'perplexityBefore', 'perplexityAfter', 'rightBefore', 'rightAfter'];
  return [
    h('h2', null, t('ability')),
    h('p', { class: 'hint' }, t('abilityHint')),
    dropped ? notice('warn', h('p', null, t('abilityDropped'))) : null,
    table(
      t('ability'),
      head.map((name) => t(`ability_${name}`)),
      rows,
    ),
  ];
}

/** The settings of a run, under the names that `[tune]` has for them. */
function settingsView(settings) {
  if (!settings) return null;
  const shown = (value) => {
    if (typeof value === 'number') return number(value, 8);
    if (typeof value === 'boolean') return t(value ? 'yes' : 'no');
    return Array.isArray(value) ? value.join(', ') || '–' : String(value ?? '–');
  };
  return h(
    'details',
    { class: 'card run-settings' },
    h('summary', null, t('runSettings')),
    h(
      'dl',
      null,
      Object.entries(settings).map(([name, value]) => [
        h('dt', null, h('code', null, name)),
        h('dd', null, shown(value)),
      ]),
    ),
  );
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Lines over steps, with the figures of their ends in words for those who cannot see them. */
function curve(title, lines) {
  const drawn = lines
    .map((it) => ({ ...it, points: it.points.filter(([, y]) => Number.isFinite(y)) }))
    .filter((it) => it.points.length);
  const all = drawn.flatMap((it) => it.points);
  if (!all.length) return null;
  const range = (values) =>
    values.reduce(([a, b], it) => [Math.min(a, it), Math.max(b, it)], [Infinity, -Infinity]);
  const [x0, x1] = range(all.map(([x]) => x));
  const [low, high] = range(all.map(([, y]) => y));
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  const [y0, y1] = [low - room, high + room];
  const x = (it) =>
    MARGIN.left + ((it - x0) / (x1 - x0 || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (it) =>
    HEIGHT - MARGIN.bottom - ((it - y0) / (y1 - y0)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const ticks = [0, 1, 2, 3].map((i) => low + ((high - low) * i) / 3);
  const words = drawn
    .map(
      ({ key, points }) =>
        `${t(`curve_${key}`)}${t('colon')} ${score(points[0][1], 3)} → ${score(points.at(-1)[1], 3)}`,
    )
    .join('; ');
  const picture = svg('svg', {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: 'curve',
    role: 'img',
    'aria-label': `${title}. ${words}`,
  });
  for (const tick of new Set(ticks)) {
    picture.append(
      svg('line', {
        x1: MARGIN.left,
        x2: WIDTH - MARGIN.right,
        y1: y(tick),
        y2: y(tick),
        class: 'grid',
      }),
      svg('text', { x: MARGIN.left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, score(tick, 3)),
    );
  }
  for (const step of new Set([x0, x1])) {
    picture.append(
      svg(
        'text',
        { x: x(step), y: HEIGHT - 8, 'text-anchor': step === x0 ? 'start' : 'end' },
        number(step),
      ),
    );
  }
  for (const { key, points } of drawn) {
    const path = points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(' ');
    picture.append(svg('polyline', { points: path, class: `line ${key}` }));
    if (points.length < 40) {
      for (const [a, b] of points)
        picture.append(svg('circle', { cx: x(a), cy: y(b), r: 2.5, class: `dot ${key}` }));
    }
  }
  return h(
    'figure',
    { class: 'card' },
    h(
      'figcaption',
      null,
      title,
      ' ',
      drawn.map(({ key }) => h('span', { class: `key ${key}` }, t(`curve_${key}`))),
    ),
    picture,
  );
}
