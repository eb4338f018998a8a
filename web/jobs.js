// Long work: what runs, how far it is, what it did, and stopping it.

import * as api from './api.js';
import { announce, button, confirmDialog, failure, fill, h, icon, toast } from './dom.js';
import { describe } from './errors.js';
import { dateTime, duration, number, secondsBetween, t } from './i18n.js';
import { kindName, progressBar, reportView, stageName, stateTag } from './jobview.js';

/** Jobs that may run elsewhere, from the command line or for other readers, appear after this. */
const POLL_MS = 10_000;

let view = null;

export const title = () => t('navJobs');

export async function mount(root) {
  const mayWrite = api.may(await api.me(), 'write');
  const list = h('div', { class: 'jobs' });
  view = {
    list,
    controller: new AbortController(),
    mayWrite,
    followed: new Set(),
    cards: new Map(),
    timer: null,
  };
  const mine = view;
  fill(
    root,
    h(
      'div',
      { class: 'page' },
      h(
        'header',
        { class: 'page-head' },
        h('div', null, h('h1', null, t('navJobs')), h('p', { class: 'lead' }, t('jobsLead'))),
        mayWrite
          ? button(t('readAgain'), { icon: 'refresh', kind: 'primary', onclick: readAgain })
          : null,
      ),
      list,
    ),
  );
  await load();
  if (view === mine) mine.timer = setInterval(load, POLL_MS);
  return () => {
    mine.controller.abort();
    clearInterval(mine.timer);
    if (view === mine) view = null;
  };
}

async function load() {
  const mine = view;
  if (!mine || document.hidden) return;
  try {
    const all = await api.jobs();
    if (view === mine) draw(all);
  } catch (error) {
    if (view === mine) fill(mine.list, failure(error, load));
  }
}

function draw(all) {
  if (!all.length) {
    view.cards.clear();
    fill(
      view.list,
      h(
        'div',
        { class: 'blank' },
        icon('jobs'),
        h('p', { class: 'blank-title' }, t('noJobs')),
        h('p', null, t('noJobsHint')),
      ),
    );
    return;
  }
  // Cards are kept as long as their job is the same, so that what is open or focused stays so.
  const cards = all.map((job) => {
    const card = view.cards.get(job.id) ?? newCard(job);
    view.cards.set(job.id, card);
    card.update(job);
    return card.element;
  });
  const shown = Array.from(view.list.children);
  if (shown.length !== cards.length || cards.some((it, i) => it !== shown[i]))
    fill(view.list, cards);
  for (const job of all) {
    if (job.state === 'queued' || job.state === 'running') follow(job.id);
  }
}

async function follow(id) {
  const mine = view;
  if (mine.followed.has(id)) return;
  mine.followed.add(id);
  try {
    for await (const job of api.jobEvents(id, mine.controller.signal)) {
      mine.cards.get(id)?.update(job);
    }
  } catch (error) {
    if (!mine.controller.signal.aborted) toast(describe(error), 'bad');
  } finally {
    mine.followed.delete(id);
  }
}

function newCard() {
  const element = h('article', { class: 'card job' });
  let drawn = '';
  let parts = null;
  const update = (job) => {
    const key = `${job.id} ${job.state}`;
    if (key !== drawn) {
      if (drawn && job.state !== 'running') announce(`${kindName(job)}: ${t(`job_${job.state}`)}`);
      drawn = key;
      parts = body(job);
      fill(element, parts.nodes);
    }
    parts.progress(job);
  };
  return { element, update };
}

function body(job) {
  const isOpen = job.state === 'queued' || job.state === 'running';
  const bar = progressBar(kindName(job));
  const stage = h('p', { class: 'hint' });
  const report = isOpen ? null : reportView(job);
  const nodes = [
    h(
      'header',
      { class: 'card-head' },
      h('h2', null, kindName(job)),
      stateTag(job),
      h('span', { class: 'gap' }),
      isOpen && view?.mayWrite
        ? button(t('cancelJob'), { icon: 'stop', kind: 'quiet', onclick: () => cancel(job) })
        : null,
    ),
    h(
      'p',
      { class: 'hint' },
      dateTime(job.started ?? job.created),
      job.started && job.ended ? ` · ${duration(secondsBetween(job.started, job.ended))}` : null,
    ),
    isOpen ? [bar.element, stage] : null,
    report,
  ];
  return {
    nodes,
    progress: (now) => {
      if (!isOpen) return;
      const { done = 0, total = 0 } = now.progress ?? {};
      bar.set(total ? done / total : null);
      stage.textContent = stageName(now) + (total ? ` · ${number(done)}/${number(total)}` : '');
    },
  };
}

async function readAgain() {
  try {
    await api.startJob({ kind: 'ingest' });
    toast(t('jobStarted'), 'ok');
    await load();
  } catch (error) {
    toast(describe(error), 'bad');
  }
}

async function cancel(job) {
  const sure = await confirmDialog({
    title: t('cancelJobTitle'),
    body: [t('cancelJobBody')],
    action: t('cancelJob'),
  });
  if (!sure) return;
  try {
    await api.cancelJob(job.id);
    await load();
  } catch (error) {
    toast(describe(error), 'bad');
  }
}
