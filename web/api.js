// Everything that the page asks of the server, in one place. Paths follow /v1/openapi.json.

/** Where the server is: the folder that this file came from, so that a proxy may add a prefix. */
export const BASE = new URL('.', import.meta.url).pathname;

/** What the server said against a request, in OpenAI's shape. */
export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    const error = body?.error ?? {};
    super(error.message || `HTTP ${status}`);
    this.status = status;
    this.type = error.type ?? 'server_error';
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.retryAfter = retryAfter;
  }
}

/** An error that came as an event, where there is no status: its type says as much. */
export function streamError(body) {
  const statuses = { invalid_request_error: 400, rate_limit_error: 429, overloaded_error: 503 };
  return new ApiError(statuses[body?.error?.type] ?? 500, body, body?.error?.retry_after ?? null);
}

/** Called once for all requests that were refused for want of a key; resolves when there is one. */
let askForKey = null;
let waitingForKey = null;

export function onUnauthorized(handler) {
  askForKey = handler;
}

async function failed(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    body = { error: { message: text.slice(0, 300) || `HTTP ${response.status}` } };
  }
  return new ApiError(response.status, body, response.headers.get('retry-after'));
}

async function send(path, options = {}) {
  // The page's language, which the reader may have chosen otherwise than the browser's.
  const headers = { 'accept-language': document.documentElement.lang, ...options.headers };
  const response = await fetch(BASE + path, { credentials: 'same-origin', ...options, headers });
  if (response.status === 401 && askForKey && !options.plain) {
    waitingForKey ??= askForKey().finally(() => {
      waitingForKey = null;
    });
    await waitingForKey;
    return send(path, { ...options, plain: true });
  }
  if (!response.ok) throw await failed(response);
  return response;
}

export async function json(path, options) {
  const response = await send(path, {
    ...options,
    headers: { accept: 'application/json', ...options?.headers },
  });
  return response.status === 204 ? null : response.json();
}

export function post(path, body, options) {
  return json(path, {
    method: 'POST',
    body: JSON.stringify(body),
    ...options,
    headers: { 'content-type': 'application/json' },
  });
}

const remove = (path) => json(path, { method: 'DELETE' });
export const part = encodeURIComponent;

export function query(fields) {
  const given = Object.entries(fields).filter(
    ([, it]) => it !== null && it !== undefined && it !== '',
  );
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

/** Server-sent events of a response, as [name, parsed data]. Comments keep the line open. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      // Any of the three line ends that the standard allows; a lone \r at the end may be half of one.
      rest += value ?? '';
      const blocks = rest.split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop();
      if (done && rest.trim()) blocks.push(rest);
      for (const block of blocks) {
        let name = 'message';
        const data = [];
        for (const line of block.split(/\r\n|\n|\r/)) {
          if (line.startsWith('event:')) name = line.slice(6).trim();
          else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
        }
        if (data.length) yield [name, JSON.parse(data.join('\n'))];
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Questions

/** Events of an answer: status, sources, text, answer, error. Aborting the signal stops it. */
export async function* ask(request, signal) {
  const response = await send('v1/ask', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ ...request, stream: true }),
    signal,
  });
  yield* events(response);
}

export const answer = (id) => json(`v1/answers/${part(id)}`);
export const feedback = (body) => post('v1/feedback', body);
export const prefer = (body) => post('v1/preferences', body);

/** The answer that a link of a chat tool leads to, and what is said of it: without a key. */
export const linked = (link) => post('v1/links/answer', { link }, { plain: true });
export const judgeLinked = (link, { answer: _, ...said }) =>
  post('v1/links/feedback', { ...said, link }, { plain: true });

export const models = () => json('v1/models').then((it) => it.data);
export const collections = () => json('v1/collections').then((it) => it.data);
export const source = (chunk) => json(`v1/sources/${part(chunk)}`);

/** The page that shows a passage in its document, with a part of it marked. */
export function sourcePage(chunk, span) {
  const mark = span ? `#char=${span[0]}-${span[1]}` : '';
  return `${BASE}v1/sources/${part(chunk)}${mark}`;
}

export const conversations = () => json('v1/conversations').then((it) => it.data);
export const conversation = (id) => json(`v1/conversations/${part(id)}`);
export const deleteConversation = (id) => remove(`v1/conversations/${part(id)}`);

// Documents

export const documents = (fields) => json(`v1/documents${query(fields)}`);
export const skipped = () => json('v1/documents/skipped').then((it) => it.data);
export const documentById = (id) => json(`v1/documents/${part(id)}`);
export const documentText = (id) => json(`v1/documents/${part(id)}/text`);
export const deleteDocument = (id) => remove(`v1/documents/${part(id)}`);

/** The file itself; viewers of PDF files open it at a page. */
export function originalUrl(id, page) {
  return `${BASE}v1/documents/${part(id)}/original${page ? `#page=${page}` : ''}`;
}

/** Sends files and tells how far it got, which fetch cannot. Resolves to the job. */
export function upload(files, { collection, groups }, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    if (collection) form.append('collection', collection);
    if (groups) form.append('groups', groups);
    for (const file of files) form.append('file', file, file.name);
    const request = new XMLHttpRequest();
    request.open('POST', `${BASE}v1/documents`);
    request.setRequestHeader('accept', 'application/json');
    request.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) onProgress(event.loaded, event.total);
    });
    request.addEventListener('load', () => {
      let body = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        body = { error: { message: request.responseText.slice(0, 300) } };
      }
      if (request.status >= 200 && request.status < 300) resolve(body);
      else reject(new ApiError(request.status, body, request.getResponseHeader('retry-after')));
    });
    request.addEventListener('error', () => reject(new TypeError('network')));
    request.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
    signal?.addEventListener('abort', () => request.abort());
    request.send(form);
  });
}

// Jobs

export const jobs = () => json('v1/jobs').then((it) => it.data);
export const startJob = (request) => post('v1/jobs', request);
export const cancelJob = (id) => json(`v1/jobs/${part(id)}/cancel`, { method: 'POST' });

/** The states of a job, until it ends. */
export async function* jobEvents(id, signal) {
  const response = await send(`v1/jobs/${part(id)}/events`, {
    headers: { accept: 'text/event-stream' },
    signal,
  });
  for await (const [name, data] of events(response)) {
    if (name === 'job') yield data;
  }
}

// The server

export const status = () => json('v1/status');

const SCOPES = ['read', 'write', 'admin'];
let known = null;

/** What the reader may do; asked for once, and again after signing in. */
export function me() {
  known ??= status().then(
    (it) => ({ scope: it.scope ?? 'admin' }),
    (error) => {
      known = null;
      throw error;
    },
  );
  return known;
}

/** Whether someone may do what a scope allows. */
export const may = ({ scope }, wanted) => SCOPES.indexOf(scope) >= SCOPES.indexOf(wanted);
export const openapi = () => json('v1/openapi.json');

export async function signIn(key) {
  known = null;
  return post('v1/session', { key }, { plain: true });
}

export const signOut = () => remove('v1/session');
