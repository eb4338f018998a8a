// Long work begun on the page: a dataset, a training run, a comparison. What is asked is a small form;
// the work itself is a job of the server.

import * as shared from '../api.js';
import { button, failure, fill, h, newId, openDialog, toast } from '../dom.js';
import { t } from '../i18n.js';
import * as api from './api.js';

/** The kinds of rows that each method reads. */
const METHODS = { lora: 'supervised', dpo: 'preference', kto: 'unpaired', cpt: 'text' };

/** What the form of each kind of work asks, and what the server is told. */
const FORMS = {
  dataset: async () => {
    const hasModel = (await shared.models()).some((it) => it.id === 'base');
    const name = field('beginName', nameInput());
    const groups = field('beginGroups', h('input', { autocomplete: 'off' }), 'beginGroupsHint');
    const questions = field(
      'beginQuestions',
      h('input', { type: 'number', min: '0', max: '20', value: '0' }),
      'beginQuestionsHint',
    );
    return {
      nodes: [name.node, groups.node, hasModel ? questions.node : null],
      request: () => ({
        name: name.input.value.trim(),
        groups: groups.input.value
          .split(',')
          .map((it) => it.trim())
          .filter(Boolean),
        questions: Number(questions.input.value),
      }),
    };
  },

  tune: async () => {
    const all = await api.datasets();
    if (!all.length) return { nodes: [h('p', null, t('beginNoDataset'))] };
    const dataset = field('beginDataset', options(all.map((it) => [it.id, it.name])));
    const method = field('beginMethod', h('select'));
    const offer = () => {
      const { kinds } = all.find((it) => it.id === dataset.input.value);
      const known = Object.keys(METHODS).filter((it) => METHODS[it] in kinds);
      fill(
        method.input,
        known.map((it) => h('option', { value: it }, t(`method_${it}`))),
      );
    };
    dataset.input.addEventListener('change', offer);
    offer();
    const name = field('beginAdapter', nameInput());
    const epochs = field(
      'beginEpochs',
      h('input', { type: 'number', min: '0.1', max: '100', step: 'any' }),
      'beginEpochsHint',
    );
    return {
      nodes: [dataset.node, method.node, name.node, epochs.node],
      request: () => ({
        dataset: dataset.input.value,
        name: name.input.value.trim(),
        settings: {
          method: method.input.value,
          ...(epochs.input.value ? { epochs: Number(epochs.input.value) } : {}),
        },
      }),
    };
  },

  compare: async () => {
    const [models, adapters, datasets] = await Promise.all([
      shared.models(),
      api.adapters(),
      api.datasets(),
    ]);
    const hasModel = models.some((it) => it.id === 'base');
    const known = [
      'extract',
      ...(hasModel ? ['base', 'rag'] : []),
      ...adapters.flatMap((it) => [`ft:${it.name}`, `rag+ft:${it.name}`]),
    ];
    const arms = known.map((it) => h('input', { type: 'checkbox', value: it, checked: true }));
    const own = field('beginOwn', h('textarea', { rows: '5', spellcheck: 'false' }), 'beginOwnHint');
    const questions = field(
      'beginFrom',
      options([
        ...datasets.map((it) => [`dataset:${it.id}`, t('beginHeldOut', { name: it.name })]),
        ['feedback', t('beginFeedback')],
        ['', t('beginOwn')],
      ]),
    );
    const show = () => {
      own.node.hidden = questions.input.value !== '';
    };
    questions.input.addEventListener('change', show);
    show();
    const limit = field('beginLimit', h('input', { type: 'number', min: '1', max: '10000' }));
    const judge = h('input', { type: 'checkbox' });
    return {
      nodes: [
        h(
          'fieldset',
          null,
          h('legend', null, t('comparisonArms')),
          arms.map((it) => h('label', { class: 'tick' }, it, h('code', null, it.value))),
        ),
        questions.node,
        own.node,
        limit.node,
        hasModel ? h('label', { class: 'tick' }, judge, t('beginJudge')) : null,
      ],
      request: () => ({
        arms: arms.filter((it) => it.checked).map((it) => it.value),
        questions: questions.input.value || lines(own.input.value),
        ...(limit.input.value ? { limit: Number(limit.input.value) } : {}),
        ...(judge.checked ? { judge: 'local' } : {}),
      }),
    };
  },
};

/** A button that opens the form of a kind of work. */
export function beginButton(kind) {
  return button(t(`begin_${kind}`), {
    icon: 'plus',
    kind: 'primary',
    onclick: () => openDialog(t(`begin_${kind}`), (close) => form(kind, close)),
  });
}

function form(kind, close) {
  const body = h('div', { class: 'begin' }, h('p', { class: 'muted' }, t('loading')));
  const load = async () => {
    try {
      const { nodes, request } = await FORMS[kind]();
      fill(body, request ? fields(kind, nodes, request, close) : nodes);
      body.querySelector('input, select')?.focus();
    } catch (error) {
      fill(body, failure(error, load));
    }
  };
  load();
  return body;
}

function fields(kind, nodes, request, close) {
  const problem = h('div');
  const send = h('button', { type: 'submit', class: 'button primary' }, t('begin'));
  const element = h(
    'form',
    { class: 'begin-form' },
    h('p', { class: 'hint' }, t(`beginLead_${kind}`)),
    nodes,
    problem,
    h('div', { class: 'dialog-actions' }, send),
  );
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (send.disabled) return;
    send.disabled = true;
    try {
      await shared.startJob({ kind, ...request() });
      close('begun');
      toast(t('begun'), 'ok');
      location.hash = '#/jobs';
    } catch (error) {
      fill(problem, failure(error));
    } finally {
      send.disabled = false;
    }
  });
  return element;
}

function field(key, input, hintKey) {
  const [id, hintId] = [newId(), newId()];
  input.id = id;
  if (hintKey) input.setAttribute('aria-describedby', hintId);
  const node = h(
    'div',
    { class: 'field' },
    h('label', { for: id }, t(key)),
    input,
    hintKey ? h('p', { class: 'hint', id: hintId }, t(hintKey)) : null,
  );
  return { node, input };
}

function nameInput() {
  return h('input', { required: true, maxlength: '64', autocomplete: 'off' });
}

function options(all) {
  return h(
    'select',
    null,
    all.map(([value, text]) => h('option', { value }, text)),
  );
}

/** Questions, one JSON object a line. */
function lines(text) {
  return text
    .split('\n')
    .filter((it) => it.trim())
    .map((line, i) => {
      try {
        return JSON.parse(line);
      } catch {
        throw new Error(t('beginBadLine', { n: i + 1 }));
      }
    });
}
