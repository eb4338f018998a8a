// Adding documents: choose or drop files, send them with progress, follow their ingestion.

import * as api from './api.js';
import { announce, button, fill, h, icon, iconButton, newId, notice, openDialog } from './dom.js';
import { describe } from './errors.js';
import { bytes, number, t } from './i18n.js';
import { reportView, progressBar, stageName } from './jobview.js';

export function openUpload(initial, { collection }) {
  const controller = new AbortController();
  const done = openDialog(
    t('addDocuments'),
    (close) => {
      const slot = h('div');
      chooseStep(
        slot,
        { files: [...initial], collection: collection ?? '' },
        close,
        controller.signal,
      );
      return slot;
    },
    { kind: 'sticky' },
  );
  // Leaving stops what is being sent; what has arrived goes on being read.
  done.then(() => controller.abort());
  return done;
}

function chooseStep(slot, choice, close, signal) {
  const id = newId();
  const list = h('ul', { class: 'files' });
  const submit = h(
    'button',
    { type: 'submit', class: 'button primary' },
    icon('upload'),
    h('span', null, t('sendFiles')),
  );
  const draw = () => {
    const removed = (file) => {
      choice.files = choice.files.filter((it) => it !== file);
      draw();
      document.getElementById(id).focus();
    };
    fill(
      list,
      choice.files.map((file) => fileRow(file, removed)),
    );
    submit.disabled = !choice.files.length;
  };
  const take = (files) => {
    const isNew = (it) => !choice.files.some((old) => old.name === it.name && old.size === it.size);
    choice.files.push(...Array.from(files).filter(isNew));
    draw();
  };
  const fields = choiceFields(id, choice);
  const form = h(
    'form',
    { class: 'stack' },
    dropZone(id, take),
    list,
    fields.element,
    h(
      'div',
      { class: 'dialog-actions' },
      button(t('cancel'), { onclick: () => close('') }),
      submit,
    ),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    sendStep(slot, { ...choice, ...fields.values() }, close, signal);
  });
  fill(slot, form);
  draw();
}

function fileRow(file, removed) {
  return h(
    'li',
    null,
    icon('documents'),
    h('span', { class: 'file-name' }, file.name),
    h('span', { class: 'hint' }, bytes(file.size)),
    iconButton('close', t('removeFile', { name: file.name }), {
      class: 'icon-button small',
      onclick: () => removed(file),
    }),
  );
}

/** Where files are chosen or dropped; `take` gets them. */
function dropZone(id, take) {
  const input = h('input', { type: 'file', id, multiple: true, class: 'sr' });
  input.addEventListener('change', () => {
    take(input.files);
    input.value = '';
  });
  const zone = h(
    'div',
    { class: 'drop-zone' },
    input,
    h(
      'label',
      { for: id },
      icon('upload'),
      h('span', null, h('strong', null, t('chooseFiles')), ' ', t('orDrop')),
    ),
    h('p', { class: 'hint' }, t('formats')),
  );
  zone.addEventListener('dragover', (event) => {
    event.preventDefault();
    zone.classList.add('over');
  });
  zone.addEventListener('dragleave', () => zone.classList.remove('over'));
  zone.addEventListener('drop', (event) => {
    event.preventDefault();
    zone.classList.remove('over');
    take(event.dataTransfer.files);
  });
  return zone;
}

/** What is said of the files: a collection, groups. */
function choiceFields(id, choice) {
  const plain = { autocomplete: 'off', spellcheck: 'false' };
  const collection = h('input', {
    id: `${id}-collection`,
    list: `${id}-list`,
    value: choice.collection,
    ...plain,
  });
  const groups = h('input', { id: `${id}-groups`, 'aria-describedby': `${id}-hint`, ...plain });
  groups.value = choice.groups ?? '';
  const known = h('datalist', { id: `${id}-list` });
  api.collections().then(
    (all) =>
      fill(
        known,
        all.map((it) => h('option', { value: it.id })),
      ),
    () => {
      /* Only suggestions: the reader can type the name. */
    },
  );
  const element = [
    h(
      'div',
      { class: 'two' },
      h(
        'div',
        { class: 'field' },
        h('label', { for: collection.id }, t('uploadCollection')),
        collection,
        known,
      ),
      h('div', { class: 'field' }, h('label', { for: groups.id }, t('uploadGroups')), groups),
    ),
    h('p', { class: 'hint', id: `${id}-hint` }, t('uploadGroupsHint')),
  ];
  const names = () =>
    groups.value
      .split(',')
      .map((it) => it.trim())
      .filter(Boolean)
      .join(',');
  return { element, values: () => ({ collection: collection.value.trim(), groups: names() }) };
}

async function sendStep(slot, choice, close, signal) {
  const total = choice.files.reduce((sum, it) => sum + it.size, 0);
  const bar = progressBar(t('sending'));
  const text = h('p', { class: 'hint' });
  const stop = button(t('cancel'), { onclick: () => close('') });
  fill(
    slot,
    h('p', { class: 'upload-title' }, t('sendingFiles', { n: choice.files.length })),
    bar.element,
    text,
    h('div', { class: 'dialog-actions' }, stop),
  );
  stop.focus();
  try {
    const job = await api.upload(
      choice.files,
      choice,
      (loaded, size) => {
        // The form has a little more bytes than the files.
        const share = size ? loaded / size : 1;
        bar.set(share);
        text.textContent =
          share < 1
            ? t('sentOf', { done: bytes(share * total), total: bytes(total) })
            : t('sentAll');
      },
      signal,
    );
    await followStep(slot, job, close, signal);
  } catch (error) {
    if (signal.aborted) return;
    fill(
      slot,
      notice('bad', h('p', null, describe(error))),
      h(
        'div',
        { class: 'dialog-actions' },
        button(t('back'), { onclick: () => chooseStep(slot, choice, close, signal) }),
      ),
    );
  }
}

async function followStep(slot, job, close, signal) {
  const bar = progressBar(t('reading'));
  const text = h('p', { class: 'hint' });
  const leave = button(t('goOnInBackground'), { onclick: () => close('') });
  fill(
    slot,
    h('p', { class: 'upload-title' }, icon('check'), t('received')),
    bar.element,
    text,
    h('div', { class: 'dialog-actions' }, leave),
  );
  leave.focus();
  announce(t('received'));
  let last = job;
  for await (const it of api.jobEvents(job.id, signal)) {
    last = it;
    const { done = 0, total = 0 } = it.progress ?? {};
    bar.set(total ? done / total : null);
    text.textContent = `${stageName(it)}${total ? ` ${number(done)}/${number(total)}` : ''}`;
  }
  const finish = button(t('close'), { kind: 'primary', onclick: () => close('done') });
  fill(slot, reportView(last), h('div', { class: 'dialog-actions' }, finish));
  finish.focus();
  announce(t(`job_${last.state}`));
}
