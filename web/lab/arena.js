// The arena: two answers to one question, by variants that nobody names before the vote.

import { answerBody } from '../answer.js';
import { announce, button, failure, fill, h, newId, notice } from '../dom.js';
import { number, t } from '../i18n.js';
import * as api from './api.js';
import { blank, table } from './lab.js';

const CHOICES = ['left', 'right', 'both', 'neither'];

export async function mount(root) {
  const board = h('div', { class: 'arena-board' });
  const standings = h('section', { class: 'arena-ratings' });
  fill(
    root,
    h('p', { class: 'lead' }, t('arenaLead')),
    questionForm(board, standings),
    board,
    standings,
  );
  await showRatings(standings);
}

function questionForm(board, standings) {
  const id = newId();
  const input = h('input', {
    id,
    type: 'text',
    required: true,
    maxlength: '2000',
    autocomplete: 'off',
  });
  const send = h('button', { type: 'submit', class: 'button primary' }, t('arenaAsk'));
  const form = h(
    'form',
    { class: 'arena-form' },
    h('label', { for: id }, t('arenaQuestion')),
    h('div', { class: 'arena-line' }, input, send),
  );
  const again = () => {
    input.value = '';
    board.replaceChildren();
    input.focus();
  };
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (!question || send.disabled) return;
    send.disabled = true;
    fill(
      board,
      h(
        'p',
        { class: 'stage', role: 'status' },
        h('span', { class: 'pulse', 'aria-hidden': 'true' }),
        t('arenaWaiting'),
      ),
    );
    try {
      const match = await api.openMatch(question);
      fill(board, matchView(match, standings, again));
      announce(t('arenaReady'));
    } catch (error) {
      fill(
        board,
        failure(error, () => form.requestSubmit()),
      );
    } finally {
      send.disabled = false;
    }
  });
  return form;
}

function matchView(match, standings, again) {
  const heads = {};
  const column = (side) => {
    const id = newId();
    heads[side] = h('h2', { id, tabindex: '-1' }, t(`arena_${side}`));
    return h(
      'article',
      { class: 'card arena-answer', 'aria-labelledby': id },
      heads[side],
      answerBody(match[side]),
    );
  };
  const columns = h('div', { class: 'arena-sides' }, column('left'), column('right'));
  const foot = h('div', { class: 'card arena-vote' });
  const reasonId = newId();
  const reason = h('textarea', { id: reasonId, rows: '2', maxlength: '2000' });
  const problem = h('div');
  const buttons = CHOICES.map((choice) =>
    button(t(`arenaChoice_${choice}`), { 'data-choice': choice, onclick: () => decide(choice) }),
  );
  async function decide(choice) {
    for (const it of buttons) it.disabled = true;
    try {
      const told = await api.vote(match.id, { choice, reason: reason.value.trim() || null });
      reveal(told);
    } catch (error) {
      for (const it of buttons) it.disabled = false;
      fill(problem, failure(error, null));
    }
  }
  function reveal(told) {
    for (const side of ['left', 'right']) {
      heads[side].append(' ', h('code', { class: 'arm' }, told[side].arm));
    }
    const won = t(`arenaTold_${told.choice}`);
    fill(
      foot,
      notice(
        'ok',
        h('p', null, won),
        h('p', null, t('arenaArms', { left: told.left.arm, right: told.right.arm })),
      ),
      button(t('arenaAgain'), { icon: 'plus', kind: 'primary', onclick: again }),
    );
    announce(won);
    heads.left.focus();
    showRatings(standings);
  }
  fill(
    foot,
    h(
      'fieldset',
      null,
      h('legend', null, t('arenaWhich')),
      h('div', { class: 'arena-choices' }, buttons),
    ),
    h('div', { class: 'field' }, h('label', { for: reasonId }, t('arenaReason')), reason),
    problem,
  );
  return [h('p', { class: 'arena-asked' }, match.question), columns, foot];
}

async function showRatings(root) {
  let found;
  try {
    found = await api.ratings();
  } catch (error) {
    fill(
      root,
      failure(error, () => showRatings(root)),
    );
    return;
  }
  const head = ['arm', 'rating', 'interval', 'wins', 'ties', 'losses'].map((it) =>
    t(`rating_${it}`),
  );
  const rows = found.data.map((it) => [
    h('code', null, it.arm),
    number(it.rating),
    `${number(it.interval[0])} – ${number(it.interval[1])}`,
    number(it.wins),
    number(it.ties),
    number(it.losses),
  ]);
  fill(
    root,
    h('h2', null, t('arenaRatings')),
    rows.length
      ? [
          table(t('arenaRatings'), head, rows),
          h('p', { class: 'hint' }, t('arenaRatingsHint', { n: found.votes })),
        ]
      : blank('arenaNone', 'arenaNoneHint'),
  );
}
