// The OpenAPI document as a page for people: addresses by group, parameters, bodies, answers,
// schemas, and a curl line for each.

import * as api from './api.js';
import { copyText, failure, fill, h, iconButton, toast } from './dom.js';
import { describe } from './errors.js';
import { t, use } from './i18n.js';
import { markdown } from './markdown.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
/** Schemas within schemas that an example follows. */
const DEPTH_MAX = 4;

const main = document.getElementById('main');
let spec = null;

/** What a `$ref` names, within the document. */
function resolve(it) {
  if (!it?.$ref) return it;
  const parts = it.$ref
    .replace(/^#\//, '')
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  return parts.reduce((at, part) => at?.[part], spec);
}

const refName = (it) => it.$ref.split('/').at(-1);
const anchor = (text) =>
  text
    .replace(/[^\w]+/g, '-')
    .replace(/^-|-$/g, '')
    .toLowerCase();

/** The type of a schema in words; names of schemas are links. */
function typeOf(schema) {
  if (!schema) return '–';
  if (schema.$ref) return h('a', { href: `#schema-${anchor(refName(schema))}` }, refName(schema));
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices) {
    const sign = schema.allOf ? ' & ' : ' | ';
    return choices.flatMap((it, i) => [i ? sign : null, typeOf(it)]);
  }
  if (schema.enum) return schema.enum.map((it) => JSON.stringify(it)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const types = [schema.type ?? 'object'].flat();
  if (types.includes('array'))
    return ['[', typeOf(schema.items), ']', types.includes('null') ? ' | null' : null];
  const format = schema.format ? ` (${schema.format})` : '';
  return types.join(' | ') + format;
}

function example(schema, depth = 0) {
  const it = resolve(schema) ?? {};
  if (it.example !== undefined) return it.example;
  if (it.examples?.length) return it.examples[0];
  if (it.default !== undefined) return it.default;
  if (it.enum) return it.enum[0];
  const choice = it.allOf ?? it.oneOf ?? it.anyOf;
  if (choice) {
    const shapes = choice.filter((one) => resolve(one)?.type !== 'null');
    if (!it.allOf) return example(shapes[0], depth);
    return Object.assign({}, ...shapes.map((one) => example(one, depth)));
  }
  switch ([it.type].flat().find((type) => type !== 'null')) {
    case 'string':
      return it.format === 'date-time' ? '2026-01-31T09:30:00Z' : '…';
    case 'integer':
    case 'number':
      return it.minimum ?? 1;
    case 'boolean':
      return false;
    case 'array':
      return depth < DEPTH_MAX ? [example(it.items, depth + 1)] : [];
    default:
  }
  if (depth >= DEPTH_MAX) return {};
  const needed = it.required ?? Object.keys(it.properties ?? {});
  return Object.fromEntries(
    needed.map((name) => [name, example(it.properties?.[name], depth + 1)]),
  );
}

function bodyOf(operation) {
  const content = resolve(operation.requestBody)?.content ?? {};
  const type = Object.keys(content)[0];
  return type ? { type, schema: content[type].schema, given: content[type].example } : null;
}

function curl(method, path, operation) {
  const lines = [`curl ${location.origin}${api.BASE.replace(/\/$/, '')}${path}`];
  if (method !== 'get') lines[0] += ` -X ${method.toUpperCase()}`;
  lines.push('-H "Authorization: Bearer $KEY"');
  const body = bodyOf(operation);
  if (body?.type.includes('json')) {
    lines.push('-H "Content-Type: application/json"');
    const text = JSON.stringify(body.given ?? example(body.schema), null, 2).replaceAll(
      "'",
      "'\\''",
    );
    lines.push(`-d '${text}'`);
  } else if (body) {
    const fields = Object.keys(resolve(body.schema)?.properties ?? { file: {} });
    lines.push(...fields.map((name) => `-F ${name}=${name === 'file' ? '@document.pdf' : '…'}`));
  }
  return lines.join(' \\\n  ');
}

function described(text) {
  return text ? h('div', { class: 'prose' }, markdown(text)) : null;
}

function table(head, rows) {
  return h(
    'div',
    { class: 'table-scroll', tabindex: '0', role: 'group' },
    h(
      'table',
      { class: 'docs-table' },
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          head.map((it) => h('th', { scope: 'col' }, t(it))),
        ),
      ),
      h('tbody', null, rows),
    ),
  );
}

function parameterRow(given) {
  const it = resolve(given);
  return h(
    'tr',
    null,
    h(
      'th',
      { scope: 'row' },
      h('code', null, it.name),
      h('span', { class: 'hint' }, ` ${it.in}`),
      it.required ? h('span', { class: 'tag' }, t('docsRequired')) : null,
    ),
    h('td', null, typeOf(it.schema)),
    h('td', null, described(it.description)),
  );
}

function propertyRows(schema) {
  const it = resolve(schema) ?? {};
  const parts = it.allOf ? it.allOf.map(resolve) : [it];
  return parts.flatMap((part) =>
    Object.entries(part?.properties ?? {}).map(([name, property]) =>
      h(
        'tr',
        null,
        h(
          'th',
          { scope: 'row' },
          h('code', null, name),
          part.required?.includes(name) ? h('span', { class: 'tag' }, t('docsRequired')) : null,
        ),
        h('td', null, typeOf(property)),
        h('td', null, described(property.description)),
      ),
    ),
  );
}

const HEAD = ['docsName', 'docsType', 'docsMeaning'];

function operationView({ method, path, operation, shared }) {
  const parameters = [...shared, ...(operation.parameters ?? [])];
  const body = bodyOf(operation);
  const responses = Object.entries(operation.responses ?? {});
  const line = curl(method, path, operation);
  const copy = () =>
    copyText(line).then(
      () => toast(t('copied'), 'ok'),
      (error) => toast(describe(error), 'bad'),
    );
  return h(
    'details',
    { class: 'operation', id: anchor(`${method} ${path}`) },
    h(
      'summary',
      null,
      h('span', { class: `method ${method}` }, method.toUpperCase()),
      h('code', null, path),
      h('span', { class: 'muted' }, operation.summary ?? ''),
    ),
    h(
      'div',
      { class: 'operation-body' },
      described(operation.description),
      parameters.length
        ? [h('h3', null, t('docsParameters')), table(HEAD, parameters.map(parameterRow))]
        : null,
      body ? bodyView(body) : null,
      responses.length
        ? [h('h3', null, t('docsResponses')), table(HEAD, responses.map(responseRow))]
        : null,
      h('h3', { class: 'row' }, t('docsExample'), iconButton('copy', t('copy'), { onclick: copy })),
      h('pre', { tabindex: '0' }, line),
    ),
  );
}

function bodyView({ type, schema }) {
  const rows = propertyRows(schema);
  return [
    h('h3', null, t('docsBody'), ' ', h('span', { class: 'hint' }, type, ' ', typeOf(schema))),
    rows.length ? table(HEAD, rows) : null,
  ];
}

function responseRow([status, given]) {
  const it = resolve(given);
  const shown = ([type, { schema }], i) => [
    i ? h('br') : null,
    h('span', { class: 'hint' }, type),
    ' ',
    schema ? typeOf(schema) : null,
  ];
  return h(
    'tr',
    null,
    h('th', { scope: 'row' }, h('code', null, status)),
    h('td', null, Object.entries(it.content ?? {}).map(shown)),
    h('td', null, described(it.description)),
  );
}

function schemaView([name, schema]) {
  const rows = propertyRows(schema);
  return h(
    'details',
    { class: 'operation', id: `schema-${anchor(name)}` },
    h('summary', null, h('code', null, name)),
    h(
      'div',
      { class: 'operation-body' },
      described(schema.description),
      rows.length ? table(HEAD, rows) : h('p', null, typeOf(schema)),
    ),
  );
}

function groups() {
  const res = new Map((spec.tags ?? []).map((it) => [it.name, { ...it, operations: [] }]));
  for (const [path, item] of Object.entries(spec.paths ?? {})) {
    for (const method of METHODS.filter((it) => item[it])) {
      const operation = item[method];
      const name = operation.tags?.[0] ?? t('docsOther');
      if (!res.has(name)) res.set(name, { name, operations: [] });
      res.get(name).operations.push({ method, path, operation, shared: item.parameters ?? [] });
    }
  }
  return [...res.values()].filter((it) => it.operations.length);
}

function draw() {
  const filter = h('input', {
    type: 'search',
    placeholder: t('docsFilter'),
    'aria-label': t('docsFilter'),
  });
  const none = h('p', { class: 'muted', role: 'status', hidden: true }, t('docsNone'));
  const sections = groups().map((it) =>
    h(
      'section',
      { class: 'stack' },
      h('h2', { id: `group-${anchor(it.name)}` }, it.name),
      described(it.description),
      it.operations.map(operationView),
    ),
  );
  const schemas = Object.entries(spec.components?.schemas ?? {});
  fill(
    main,
    h(
      'h1',
      null,
      spec.info?.title ?? t('docsTitle'),
      ' ',
      h('span', { class: 'muted' }, spec.info?.version ?? ''),
    ),
    described(spec.info?.description),
    h(
      'p',
      { class: 'row' },
      filter,
      h('a', { href: `${api.BASE}v1/openapi.json` }, t('docsDownload')),
    ),
    none,
    sections,
    schemas.length
      ? h('section', { class: 'stack' }, h('h2', null, t('docsSchemas')), schemas.map(schemaView))
      : null,
  );
  filter.addEventListener('input', () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const it of main.querySelectorAll('.operation')) {
      const text = it.querySelector('summary').textContent.toLowerCase();
      it.hidden = !words.every((word) => text.includes(word));
      shown += it.hidden ? 0 : 1;
    }
    for (const it of main.querySelectorAll('section'))
      it.hidden = !it.querySelector('.operation:not([hidden])');
    none.hidden = shown > 0;
  });
}

/** Opens what the address names, so that links to schemas lead somewhere. */
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === 'DETAILS') {
    target.open = true;
    target.scrollIntoView();
  }
}

async function load() {
  try {
    spec = await api.openapi();
    draw();
    openTarget();
  } catch (error) {
    fill(main, failure(error, load));
  }
}

async function start() {
  await use();
  api.onUnauthorized(async () => (await import('./login.js')).signIn());
  document.title = `${t('docsTitle')} · Souffleur`;
  fill(
    document.getElementById('head'),
    h('a', { class: 'brand', href: api.BASE }, 'Souffleur'),
    h('a', { class: 'button quiet', href: `${api.BASE}#/ask` }, t('backToQuestions')),
  );
  fill(main, h('p', { class: 'muted' }, t('loading')));
  addEventListener('hashchange', openTarget);
  await load();
}

start();
