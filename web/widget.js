// An ask box for any intranet page:
//
//   <script src="https://HOST/widget.js" data-collection="rh" data-lang="fr" data-key="…" defer></script>
//
// Everything lives in a shadow root: the page's styles stay out, ours stay in, and no name is left
// behind. Text becomes text nodes only, never HTML. `data-title`, `data-position="left"` and
// `data-mode="extract"` are optional.

(() => {
  const script = document.currentScript;
  const options = { ...script.dataset };
  const base = new URL('.', script.src).href;

  const WORDS = {
    fr: {
      open: 'Poser une question',
      title: 'Une question ?',
      placeholder: 'Votre question…',
      ask: 'Demander',
      stop: 'Arrêter',
      close: 'Fermer',
      searching: 'Recherche…',
      reading: 'Lecture…',
      writing: 'Rédaction…',
      checking: 'Vérification…',
      sources: 'Sources',
      page: 'p.',
      source: 'Source',
      again: 'Nouvelle conversation',
      supported: 'étayée',
      partly: 'étayée en partie',
      unsupported: 'non étayée',
      stopped: 'Arrêtée, non vérifiée.',
      busy: 'Le serveur est occupé : réessayez dans un instant.',
      network: 'Le serveur ne répond pas.',
      key: 'La clé de cette page n’est pas acceptée.',
      ready: 'Réponse prête.',
      check: 'Vérification :',
      hello: 'Les réponses viennent de nos documents, et chaque phrase est vérifiée.',
      older: 'Une version plus ancienne dit autre chose :',
      missing: 'absent du passage :',
    },
    en: {
      open: 'Ask a question',
      title: 'A question?',
      placeholder: 'Your question…',
      ask: 'Ask',
      stop: 'Stop',
      close: 'Close',
      searching: 'Searching…',
      reading: 'Reading…',
      writing: 'Writing…',
      checking: 'Checking…',
      sources: 'Sources',
      page: 'p.',
      source: 'Source',
      again: 'New conversation',
      supported: 'supported',
      partly: 'partly supported',
      unsupported: 'not supported',
      stopped: 'Stopped, not checked.',
      busy: 'The server is busy: try again in a moment.',
      network: 'The server does not answer.',
      key: 'The key of this page is not accepted.',
      ready: 'Answer ready.',
      check: 'Check:',
      hello: 'Answers come from our documents, and each sentence is checked.',
      older: 'An older version says otherwise:',
      missing: 'missing from the passage:',
    },
  };
  const wanted = (
    options.lang ||
    document.documentElement.lang ||
    navigator.language ||
    'en'
  ).slice(0, 2);
  const lang = wanted === 'fr' ? 'fr' : 'en';
  const words = WORDS[lang];
  if (lang === 'fr') {
    for (const [name, text] of Object.entries(words)) {
      words[name] = text.replace(/ ([;!?])/g, '\u202f$1').replace(/ :/g, '\u00a0:');
    }
  }

  const STYLE = `
    :host { all: initial; }
    * { box-sizing: border-box; }
    [hidden] { display: none !important; }
    .root {
      --bg: #fffefc; --sunken: #f4f0ea; --ink: #221d27; --ink-2: #5d5664; --line: #ddd6cb; --accent: #6d2e5b;
      --on: #fff; --soft: #f4e8ef; --ok: #17633f; --warn: #845400; --bad: #a3231b;
      font: 400 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
      color: var(--ink); color-scheme: light dark;
    }
    @media (prefers-color-scheme: dark) {
      .root {
        --bg: #201c24; --sunken: #17141a; --ink: #ece7ee; --ink-2: #aea6b5; --line: #3b3542; --accent: #dda6cd;
        --on: #2b1126; --soft: #3a2636; --ok: #86d3a8; --warn: #e8bd6b; --bad: #f4a097;
      }
    }
    button, textarea { font: inherit; color: inherit; }
    button { cursor: pointer; }
    :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
    .launch {
      position: fixed; inset: auto 20px 20px auto; z-index: 2147483000; display: flex; align-items: center; gap: 8px;
      padding: 11px 18px; border: 0; border-radius: 99px; background: var(--accent); color: var(--on); font-weight: 600;
      box-shadow: 0 6px 24px rgb(30 15 25 / 28%);
    }
    .left .launch { inset: auto auto 20px 20px; }
    svg { inline-size: 20px; block-size: 20px; fill: none; stroke: currentcolor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
    .box {
      position: fixed; inset: auto 20px 20px auto; z-index: 2147483001; display: flex; flex-direction: column;
      inline-size: min(400px, calc(100vw - 24px)); block-size: min(620px, calc(100dvh - 40px)); background: var(--bg);
      border: 1px solid var(--line); border-radius: 16px; box-shadow: 0 12px 48px rgb(30 15 25 / 30%); overflow: hidden;
    }
    .left .box { inset: auto auto 20px 20px; }
    header { display: flex; align-items: center; gap: 4px; padding: 10px 10px 10px 16px; border-block-end: 1px solid var(--line); }
    h2 { flex: 1; margin: 0; font-size: 16px; font-weight: 600; }
    .icon { display: grid; place-items: center; inline-size: 34px; block-size: 34px; padding: 0; border: 0; border-radius: 8px; background: none; color: var(--ink-2); }
    .icon:hover { background: var(--sunken); color: var(--ink); }
    .log { flex: 1; overflow-y: auto; padding: 14px 16px; display: flex; flex-direction: column; gap: 12px; overflow-wrap: anywhere; }
    .log p { margin: 0; }
    .hello, .state, .note { color: var(--ink-2); font-size: 14px; }
    .question { align-self: end; max-inline-size: 88%; padding: 7px 13px; border-radius: 14px 14px 3px 14px; background: var(--soft); }
    .answer { display: grid; gap: 8px; }
    .draft { color: var(--ink-2); }
    .cite { min-inline-size: 19px; margin-inline: 2px; padding: 0 5px; border-radius: 5px; background: var(--soft); color: var(--accent); font-size: 11.5px; font-weight: 600; text-decoration: none; vertical-align: 1.5px; }
    .mark { font-weight: 700; font-size: 12px; margin-inline: 3px; cursor: help; }
    .supported { color: var(--ok); } .partly { color: var(--warn); } .unsupported { color: var(--bad); }
    u.partly { text-decoration: underline dashed 1.5px; text-decoration-color: var(--warn); text-underline-offset: 3px; color: inherit; }
    u.unsupported { text-decoration: underline wavy 1px; text-decoration-color: var(--bad); text-underline-offset: 3px; color: inherit; }
    u.supported { text-decoration: none; color: inherit; }
    h3 { margin: 2px 0 0; font-size: 12.5px; color: var(--ink-2); }
    ol { margin: 0; padding: 0; list-style: none; display: grid; gap: 5px; }
    li a { display: block; padding: 7px 10px; border: 1px solid var(--line); border-radius: 9px; color: var(--ink); text-decoration: none; font-size: 13.5px; line-height: 1.4; }
    li a:hover { border-color: var(--accent); }
    li small { display: block; color: var(--ink-2); font-size: 12px; }
    .error { padding: 8px 12px; border-radius: 9px; background: var(--sunken); color: var(--bad); font-size: 14px; }
    form { display: flex; align-items: end; gap: 8px; padding: 10px; border-block-start: 1px solid var(--line); }
    textarea { flex: 1; min-block-size: 40px; max-block-size: 120px; padding: 8px 12px; border: 1px solid #8b8390; border-radius: 10px; background: var(--bg); resize: none; }
    textarea::placeholder { color: var(--ink-2); opacity: 1; }
    .send { display: grid; place-items: center; flex: none; inline-size: 40px; block-size: 40px; padding: 0; border: 0; border-radius: 10px; background: var(--accent); color: var(--on); }
    .sr { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    @media (max-width: 480px) { .box, .left .box { inset: auto 0 0; inline-size: auto; block-size: 88dvh; border-radius: 16px 16px 0 0; } }
  `;

  const ICONS = {
    ask: 'M4 5.5h16v11H11l-4.5 3.5v-3.5H4z',
    close: 'M6 6l12 12M18 6 6 18',
    send: 'M5 12h13M12.5 6.5 18 12l-5.5 5.5',
    stop: 'M7 7h10v10H7z',
    again: 'M12 5v14M5 12h14',
  };
  const SIGNS = { supported: '✓', partly: '~', unsupported: '!' };

  function h(tag, props, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props ?? {})) {
      if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false)
        element.setAttribute(name, value === true ? '' : value);
    }
    element.append(
      ...children.flat(Infinity).filter((it) => it !== null && it !== undefined && it !== false),
    );
    return element;
  }

  function icon(name) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
  }

  // The server

  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      rest += value ?? '';
      const blocks = rest.split(/\r\n\r\n|\n\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split(/\r?\n/);
        const name = lines
          .find((it) => it.startsWith('event:'))
          ?.slice(6)
          .trim();
        const data = lines
          .filter((it) => it.startsWith('data:'))
          .map((it) => it.slice(5))
          .join('\n');
        if (data) yield [name, JSON.parse(data)];
      }
      if (done) return;
    }
  }

  async function* ask(question, signal) {
    const headers = { 'content-type': 'application/json', accept: 'text/event-stream' };
    if (options.key) headers.authorization = `Bearer ${options.key}`;
    const response = await fetch(`${base}v1/ask`, {
      method: 'POST',
      headers,
      signal,
      credentials: 'omit',
      body: JSON.stringify({
        question,
        conversation,
        stream: true,
        collection: options.collection || null,
        mode: options.mode || 'rag',
      }),
    });
    if (response.ok) {
      yield* events(response);
      return;
    }
    if (response.status === 401 || response.status === 403) throw new Error(words.key);
    if (response.status === 429 || response.status === 503) throw new Error(words.busy);
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `HTTP ${response.status}`);
  }

  // The answer

  function sourceUrl(source, span) {
    const mark = span ? `#char=${span.char_start}-${span.char_end}` : '';
    return source.chunk
      ? `${base}v1/sources/${encodeURIComponent(source.chunk)}${mark}`
      : source.url;
  }

  /** Text with its marks and bold words. */
  function inline(text, sources, evidence) {
    const res = [];
    let end = 0;
    for (const match of text.matchAll(/\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]|\*\*(.+?)\*\*/g)) {
      res.push(text.slice(end, match.index));
      end = match.index + match[0].length;
      if (match[2]) res.push(h('strong', null, match[2]));
      else
        res.push(
          match[1].split(/[,;]/).map((n) => citation(Number(n), sources, evidence) ?? `[${n}]`),
        );
    }
    res.push(text.slice(end));
    return res;
  }

  function citation(n, sources, evidence) {
    const source = sources.find((it) => it.index === n);
    if (!source) return null;
    const span = evidence?.source === n ? evidence : null;
    const title = source.title || source.document;
    return h(
      'a',
      {
        class: 'cite',
        href: sourceUrl(source, span),
        target: '_blank',
        rel: 'noopener',
        title,
        'aria-label': `${words.source} ${n}, ${title}`,
      },
      String(n),
    );
  }

  function paragraphs(text, sources) {
    return text
      .split(/\n+/)
      .filter((it) => it.trim())
      .map((it) =>
        h(
          'p',
          null,
          inline(
            it.replace(/^\s*(#{1,6}|[-*+])\s+/, (mark) => (mark.includes('#') ? '' : '• ')),
            sources,
          ),
        ),
      );
  }

  /** The answer sentence by sentence, each with its verdict; its own text where they do not make it up. */
  function checked(answer) {
    if (!answer.sentences.length) return paragraphs(answer.answer, answer.sources);
    const lines = [];
    let at = 0;
    for (const it of answer.sentences) {
      const found = answer.answer.indexOf(it.text.trim(), at);
      const gap = found < 0 ? '' : answer.answer.slice(at, found);
      if (found >= 0) at = found + it.text.trim().length;
      if (!lines.length || /\n/.test(gap)) lines.push([]);
      const bullet = /(^|\n)\s*([-*+]|\d+[.)])\s*$/.test(gap) ? '• ' : '';
      const missing = it.missing.length ? `; ${words.missing} ${it.missing.join(', ')}` : '';
      const note = `${words.check} ${words[it.verdict]}${missing}`;
      const cited = new Set(
        [...it.text.matchAll(/\[([\d\s,;]+)\]/g)].flatMap((m) => m[1].split(/[,;]/).map(Number)),
      );
      lines.at(-1).push(
        bullet,
        h('u', { class: it.verdict }, inline(it.text.trim(), answer.sources, it.evidence)),
        it.citations
          .filter((n) => !cited.has(n))
          .map((n) => citation(n, answer.sources, it.evidence)),
        h(
          'span',
          { class: `mark ${it.verdict}`, role: 'img', 'aria-label': note, title: note },
          SIGNS[it.verdict],
        ),
        ' ',
      );
    }
    return lines.map((it) => h('p', null, it));
  }

  function sourcesOf(answer) {
    const cited = new Set(answer.sentences.flatMap((it) => it.citations));
    const used = answer.sources.filter((it) => cited.has(it.index));
    if (!used.length) return null;
    return [
      h('h3', null, words.sources),
      h(
        'ol',
        null,
        used.map((it) => {
          const evidence = answer.sentences
            .map((one) => one.evidence)
            .find((one) => one?.source === it.index);
          const place = [
            it.heading?.split(' > ').at(-1),
            it.page ? `${words.page} ${it.page}` : null,
          ].filter(Boolean);
          return h(
            'li',
            null,
            h(
              'a',
              { href: sourceUrl(it, evidence), target: '_blank', rel: 'noopener' },
              `[${it.index}] ${it.title || it.document}`,
              h('small', null, place.join(' · ')),
            ),
          );
        }),
      ),
    ];
  }

  // The box

  let conversation = null;
  let running = null;

  const log = h('div', { class: 'log', tabindex: '0', role: 'log', 'aria-live': 'off' });
  const live = h('div', { class: 'sr', 'aria-live': 'polite' });
  const field = h('textarea', {
    rows: '1',
    placeholder: words.placeholder,
    'aria-label': words.placeholder,
    maxlength: '4000',
  });
  const send = h(
    'button',
    { class: 'send', type: 'submit', 'aria-label': words.ask },
    icon('send'),
  );
  const form = h('form', null, field, send);
  const box = h(
    'div',
    { class: 'box', role: 'dialog', 'aria-label': options.title || words.title, hidden: true },
    h(
      'header',
      null,
      h('h2', null, options.title || words.title),
      h(
        'button',
        {
          class: 'icon',
          type: 'button',
          'aria-label': words.again,
          title: words.again,
          onclick: restart,
        },
        icon('again'),
      ),
      h(
        'button',
        {
          class: 'icon',
          type: 'button',
          'aria-label': words.close,
          title: words.close,
          onclick: () => toggle(false),
        },
        icon('close'),
      ),
    ),
    log,
    form,
  );
  const launch = h(
    'button',
    { class: 'launch', type: 'button', 'aria-expanded': 'false', onclick: () => toggle(true) },
    icon('ask'),
    words.open,
  );
  const root = h(
    'div',
    { class: `root ${options.position === 'left' ? 'left' : ''}`, lang },
    launch,
    box,
    live,
  );

  function toggle(open) {
    box.hidden = !open;
    launch.hidden = open;
    launch.setAttribute('aria-expanded', String(open));
    (open ? field : launch).focus();
  }

  function restart() {
    running?.abort();
    conversation = null;
    log.replaceChildren(h('p', { class: 'hello' }, words.hello));
    field.focus();
  }

  function drawSend() {
    send.setAttribute('aria-label', running ? words.stop : words.ask);
    send.replaceChildren(icon(running ? 'stop' : 'send'));
  }

  async function run(question) {
    const state = h('p', { class: 'state' }, words.searching);
    const body = h('div', { class: 'answer' }, state);
    const controller = new AbortController();
    running = controller;
    drawSend();
    log.append(h('p', { class: 'question' }, question), body);
    log.scrollTop = log.scrollHeight;
    let draft = '';
    let sources = [];
    try {
      for await (const [name, data] of ask(question, controller.signal)) {
        if (name === 'status') state.textContent = words[data.state] ?? words.searching;
        else if (name === 'sources') sources = data.sources;
        else if (name === 'error') throw new Error(data.error?.message);
        else if (name === 'text') {
          draft += data.text;
          body.replaceChildren(state, h('div', { class: 'draft' }, paragraphs(draft, sources)));
        } else if (name === 'answer') {
          conversation = data.conversation ?? conversation;
          finish(body, data);
        }
        // Follow the text as long as the reader has not scrolled up.
        if (log.scrollHeight - log.scrollTop - log.clientHeight < 90)
          log.scrollTop = log.scrollHeight;
      }
    } catch (error) {
      state.remove();
      const text = error instanceof TypeError ? words.network : error.message;
      body.append(
        controller.signal.aborted
          ? h('p', { class: 'note' }, words.stopped)
          : h('p', { class: 'error', role: 'alert' }, text),
      );
    }
    if (running === controller) running = null;
    drawSend();
  }

  function finish(body, answer) {
    const older = answer.older_versions ?? [];
    body.replaceChildren(
      ...[
        checked(answer),
        sourcesOf(answer),
        older.length
          ? h('p', { class: 'note' }, `${words.older} ${older.map((it) => it.document).join(', ')}`)
          : null,
      ]
        .flat(Infinity)
        .filter(Boolean),
    );
    live.textContent = `${words.ready} ${answer.answer.replace(/\[\d+\]/g, '')}`;
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (running) running.abort();
    else if (question) {
      field.value = '';
      run(question);
    }
  });
  field.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) form.requestSubmit();
    }
  });
  box.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') toggle(false);
    // Shortcuts of the page around must not hear what is typed here.
    event.stopPropagation();
  });

  const place = h('souffleur-widget');
  const shadow = place.attachShadow({ mode: 'open' });
  // A constructed sheet: pages with a strict policy allow it, where they would refuse a style element.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  shadow.adoptedStyleSheets = [sheet];
  shadow.append(root);
  log.append(h('p', { class: 'hello' }, words.hello));
  const mount = () => document.body.append(place);
  if (document.body) mount();
  else addEventListener('DOMContentLoaded', mount, { once: true });
})();
