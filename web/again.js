// Other answers to a question that has one, side by side with it, and which of them is the best.

import * as api from './api.js';
import { answerBody } from './answer.js';
import { announce, button, failure, fill, h, icon, notice } from './dom.js';
import { t } from './i18n.js';

/** Other answers to one question at most: the server writes so many drafts. */
const OTHERS_MAX = 15;

/**
 * Has a turn's question answered once more, below the first answer. What came of it is kept in
 * `turn.again`, so that the turn can be drawn anew.
 */
export async function answerAgain(slot, turn, request) {
  turn.again ??= { others: [], asked: 0, isAsking: false, note: null, best: null };
  const { again } = turn;
  if (again.isAsking) return;
  if (again.asked >= OTHERS_MAX) {
    const said = () => t('againNoMore', { n: OTHERS_MAX });
    again.note = () => notice('info', h('p', null, said()));
    drawAgain(slot, turn);
    announce(said());
    // Below so many answers it would not be seen.
    slot.querySelector('.notice').scrollIntoView({ block: 'nearest' });
    return;
  }
  Object.assign(again, { isAsking: true, note: null });
  again.asked += 1;
  drawAgain(slot, turn);
  announce(t('againAsking'));
  try {
    const found = await whole(api.ask({ ...request, draft: again.asked }));
    const isKnown = [turn.answer, ...again.others].some((it) => it.answer === found.answer);
    if (isKnown) again.note = () => notice('info', h('p', null, t('againSame')));
    else again.others.push(found);
    announce(t(isKnown ? 'againSame' : 'againReady'));
  } catch (error) {
    again.asked -= 1;
    again.note = () => failure(error, () => answerAgain(again.slot, turn, request));
  }
  again.isAsking = false;
  drawAgain(again.slot, turn);
}

/** The answer at the end of a stream. */
async function whole(events) {
  for await (const [name, data] of events) {
    if (name === 'answer') return data;
    if (name === 'error') throw api.streamError(data);
  }
  throw new TypeError('the stream ended early');
}

/**
 * Draws what there is beside a turn's first answer. The turn may be drawn anew while an answer is
 * awaited: what comes later goes to the slot that was drawn last.
 */
export function drawAgain(slot, turn) {
  turn.again.slot = slot;
  const { others, isAsking, note } = turn.again;
  const article = (answer, i) =>
    h(
      'article',
      { class: 'again-answer' },
      h('h3', null, t('againNumber', { n: i + 2 })),
      answerBody(answer),
    );
  fill(
    slot,
    others.map(article),
    isAsking
      ? h(
          'p',
          { class: 'stage', role: 'status' },
          h('span', { class: 'pulse', 'aria-hidden': 'true' }),
          t('againAsking'),
        )
      : null,
    note?.(),
    others.length ? choice(turn) : null,
  );
}

function choice(turn) {
  const { again } = turn;
  const all = [turn.answer, ...again.others];
  const problem = h('div');
  const choose = async (best) => {
    for (const it of buttons) it.disabled = true;
    try {
      const others = all.filter((it) => it !== best).map((it) => it.id);
      await api.prefer({ best: best.id, others, reason: null });
      again.best = best;
      drawAgain(again.slot, turn);
      announce(t('againThanks', { n: all.indexOf(best) + 1 }));
      again.slot.querySelector('[aria-pressed=true]').focus();
    } catch (error) {
      for (const it of buttons) it.disabled = false;
      fill(problem, failure(error, null));
    }
  };
  const buttons = all.map((it, i) =>
    button(t('againNumber', { n: i + 1 }), {
      'aria-pressed': String(again.best === it),
      onclick: () => choose(it),
    }),
  );
  return h(
    'fieldset',
    { class: 'again-choice' },
    h('legend', null, t('againWhich')),
    h('div', { class: 'chips' }, buttons),
    again.best
      ? h(
          'p',
          { class: 'feedback-done' },
          icon('check'),
          t('againThanks', { n: all.indexOf(again.best) + 1 }),
        )
      : null,
    problem,
  );
}
