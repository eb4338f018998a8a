// What a reader thinks of an answer: a thumb, why, what would have been right, three labels.

import * as api from './api.js';
import { announce, button, fill, h, icon, newId, toast } from './dom.js';
import { describe } from './errors.js';
import { t } from './i18n.js';

const REASONS = ['wrong_source', 'wrong_answer', 'incomplete', 'other'];
const LABELS = ['helpful', 'honest', 'harmless'];

/** Sends it; a second one replaces the first. Resolves to whether it arrived. */
export async function sendRating(turn, answer, fields) {
  const body = {
    answer: answer.id,
    rating: null,
    reason: null,
    correction: null,
    labels: {},
    comment: null,
    ...fields,
  };
  try {
    await (turn.send ?? api.feedback)(body);
    turn.feedback = body;
    return true;
  } catch (error) {
    toast(describe(error), 'bad');
    return false;
  }
}

/** The form below an answer; `changed` is called when something was sent. */
export function feedbackForm(turn, answer, rating, changed, title = null) {
  const isUp = rating === 'up';
  const before = turn.feedback?.rating === rating ? turn.feedback : {};
  const element = h('form', { class: 'feedback', 'aria-label': t('feedbackTitle') });
  const name = newId();
  const correction = isUp ? null : field('correction', before.correction);
  const labels = LABELS.map((it) => label(it, before.labels?.[it]));
  const comment = field('comment', before.comment);
  const parts = [
    h('p', { class: 'feedback-title' }, icon(rating), title ?? t(isUp ? 'thanksUp' : 'thanksDown')),
    isUp ? null : reasons(name, before.reason),
    correction?.element,
    h(
      'fieldset',
      null,
      h('legend', null, t('feedbackLabels')),
      h(
        'div',
        { class: 'label-grid' },
        labels.map((it) => it.element),
      ),
    ),
    comment.element,
    h(
      'div',
      { class: 'dialog-actions' },
      button(t('close'), { kind: 'quiet', onclick: () => element.remove() }),
      h('button', { type: 'submit', class: 'button primary' }, t('send')),
    ),
  ];
  element.append(...parts.filter(Boolean));
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    const values = labels.map((it) => [it.name, it.value()]).filter(([, it]) => it !== null);
    const sent = await sendRating(turn, answer, {
      rating,
      reason: element.querySelector(`input[name="${name}"]:checked`)?.value ?? null,
      correction: correction?.value() ?? null,
      labels: Object.fromEntries(values),
      comment: comment.value(),
    });
    if (!sent) return;
    thank(element);
    changed();
  });
  return element;
}

function reasons(name, chosen) {
  const option = (it) =>
    h(
      'label',
      { class: 'chip' },
      h('input', { type: 'radio', name, value: it, checked: chosen === it }),
      h('span', null, t(`reason_${it}`)),
    );
  return h(
    'fieldset',
    null,
    h('legend', null, t('feedbackReason')),
    h('div', { class: 'chips' }, REASONS.map(option)),
  );
}

/** Puts thanks where the form was. */
function thank(form) {
  const thanks = h(
    'p',
    { class: 'feedback-done', tabindex: '-1' },
    icon('check'),
    t('feedbackSent'),
  );
  fill(form.parentElement, thanks);
  thanks.focus();
  announce(t('feedbackSent'));
}

function field(name, value) {
  const id = newId();
  const area = h('textarea', { id, rows: '2' });
  area.value = value ?? '';
  return {
    element: h(
      'div',
      { class: 'field' },
      h('label', { for: id }, t(`feedback_${name}`)),
      h('p', { class: 'hint', id: `${id}-hint` }, t(`feedback_${name}_hint`)),
      area,
    ),
    value: () => area.value.trim() || null,
  };
}

/** A label of three states: yes, no, not said. */
function label(name, value) {
  const group = newId();
  const option = (text, given) =>
    h(
      'label',
      { class: 'chip' },
      h('input', { type: 'radio', name: group, value: String(given), checked: value === given }),
      h('span', null, text),
    );
  const element = h(
    'div',
    { class: 'label-row', role: 'radiogroup', 'aria-label': t(`label_${name}`) },
    h(
      'span',
      { class: 'label-name' },
      t(`label_${name}`),
      h('span', { class: 'hint' }, t(`label_${name}_hint`)),
    ),
    option(t('yes'), true),
    option(t('no'), false),
  );
  return {
    name,
    element,
    value: () => {
      const checked = element.querySelector('input:checked');
      return checked ? checked.value === 'true' : null;
    },
  };
}
