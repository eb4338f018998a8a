// How a job looks, wherever it is shown: its state, its progress, what it did.

import { h, icon, notice } from './dom.js';
import { duration, has, inLanguage, number, t } from './i18n.js';

/** A bar with `set(share)`; `null` when how much there is to do is not known. */
export function progressBar(label) {
  const element = h('progress', { max: '1', 'aria-label': label });
  return {
    element,
    set: (share) => {
      if (share === null) element.removeAttribute('value');
      else element.value = Math.min(1, share);
    },
  };
}

/** What a job is doing now. A stage that the page has no word for is named as the server does. */
export function stageName(job) {
  const stage = job.progress?.stage;
  if (job.state !== 'running' || !stage) return t(`job_${job.state}`);
  return has(`jobStage_${stage}`) ? t(`jobStage_${stage}`) : stage;
}

export function kindName(job) {
  return has(`kind_${job.kind}`) ? t(`kind_${job.kind}`) : job.kind;
}

export function stateTag(job) {
  const [kind, name] = {
    queued: ['wait', 'jobs'],
    running: ['run', 'refresh'],
    done: ['ok', 'check'],
    failed: ['bad', 'bang'],
    cancelled: ['', 'stop'],
  }[job.state] ?? ['', 'info'];
  return h('span', { class: `tag ${kind}` }, icon(name), t(`job_${job.state}`));
}

/** What a job did, in words; of kinds that the page does not know, what the server says. */
export function reportView(job) {
  if (job.state === 'failed') {
    return notice('bad', h('p', null, t('jobFailed')), h('p', null, job.error ?? ''));
  }
  if (job.state === 'cancelled') return notice('info', h('p', null, t('jobCancelled')));
  const report = job.report;
  // Paths may be of documents that this reader may not see: then there is no report, but for what
  // was left aside of the reader's own upload.
  if (!report && job.skipped?.length) return skippedNotice(job.skipped);
  if (!report) return job.state === 'done' ? notice('ok', h('p', null, t('jobDone'))) : null;
  return (REPORTS[job.kind] ?? plainReport)(report);
}

const REPORTS = {
  ingest: ingestReport,
  dataset: (it) => told('ok', t('jobRows', { n: it.rows }), '#/lab/datasets'),
  tune: (it) =>
    it.loaded
      ? told('ok', t('jobTrained', { name: it.name }), runPath(it))
      : told('warn', t('jobNotLoaded', { name: it.name, why: it.not_loaded }), runPath(it)),
  compare: (it) =>
    told('info', inLanguage(it, 'verdict'), `#/lab/comparisons/${encodeURIComponent(it.comparison)}`),
};

const runPath = (it) => `#/lab/runs/${encodeURIComponent(it.name)}`;

/** What came of a job, and where it is to be seen. */
function told(kind, text, href) {
  return notice(kind, h('p', null, text), h('a', { class: 'link', href }, t('jobLook')));
}

function plainReport(report) {
  return h('pre', { tabindex: '0' }, JSON.stringify(report, null, 2));
}

/** Items of a report: a path, and what is to be said of it. */
const pathList = (items, text) =>
  h(
    'ul',
    null,
    items.map((it) => h('li', null, h('code', null, it.path), ' ', text(it))),
  );

const skippedNotice = (skipped) =>
  notice(
    'warn',
    h('p', null, t('skipped', { n: skipped.length })),
    pathList(skipped, (it) => inLanguage(it, 'reason')),
  );

function ingestReport(report) {
  const counts = ['added', 'updated', 'moved', 'removed', 'unchanged']
    .filter((it) => report.documents[it])
    .map((it) => t(`report_${it}`, { n: report.documents[it] }));
  const skipped = report.documents.skipped ?? [];
  const findings = report.findings ?? [];
  const duplicates = report.duplicates ?? [];
  return h(
    'div',
    { class: 'report' },
    h(
      'p',
      null,
      counts.length ? counts.join(', ') : t('reportNothing'),
      '. ',
      t('report_chunks', { n: report.chunks ?? 0 }),
      report.seconds ? ` ${t('reportTime', { time: duration(report.seconds) })}` : null,
    ),
    skipped.length ? skippedNotice(skipped) : null,
    findings.length
      ? notice(
          'warn',
          h('p', null, t('findingsTitle')),
          pathList(findings, (it) => inLanguage(it, 'finding')),
        )
      : null,
    duplicates.length
      ? notice(
          'info',
          h('p', null, t('duplicatesTitle')),
          pathList(
            duplicates,
            (it) =>
              `${t('duplicateOf')} ${it.of} (${t('alike', { percent: number(it.similarity * 100) })})`,
          ),
        )
      : null,
  );
}
