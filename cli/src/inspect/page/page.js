// The page of `ptolemy-webhooks inspect` and of the sandbox.
//
// The life of the page: the token leaves the address bar, a stream of JSON lines fills a store of
// at most 500 entries, and a timer paints the store as a list. A detail, the sandbox and the inbox
// are read when they are looked at. All text of a request reaches the document as text nodes, and
// characters that are invisible or change the direction of text are shown as their code.
(() => {
  'use strict';

  const MAX_ENTRIES = 500;
  const PIECE_CHARS = 64 * 1024;
  const PIECE_ESCAPES = 1000;
  const PIECE_TOKENS = 8000;
  const HEX_ROW = 16;
  const MAX_INDENT = 40;
  const SILENCE_MS = 15_000;
  const RETRY_MS = [1000, 2000, 4000, 8000, 10_000];
  const PAINT_MS = 80;
  const ANNOUNCE_MS = 4000;
  const REFRESH_MS = 3000;
  const TOKEN_KEY = 'ptolemy-token';

  /**
   * @typedef {{state: string, status: number|null, ms: number|null, error: string|null}} Receiver
   * @typedef {{seq: number, change: number, at: string, source: string, of: number|null,
   *   method: string, path: string, event_type: string|null, event_id: string|null,
   *   attempt: number, body_bytes: number, verdict: string, reason: string|null,
   *   summary: string|null, receiver: Receiver, fault: string|null,
   *   delivery_id: string|null}} Entry
   * @typedef {{text: string, kind?: string}} Token
   */

  // ---------------------------------------------------------------- text that does nothing

  // C0 but tab and line feed, C1, soft hyphen, marks and controls of direction, zero width, line
  // and paragraph separators, byte order mark, interlinear and tag characters, lone surrogates.
  const UNSEEN = new RegExp(
    '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5'
    + '\\u180b-\\u180f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0'
    + '\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}\\p{Cs}]', 'gu');

  const codeOf = (character) => 'U+' + character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');

  /** For attributes, options and titles, which take no element: `[U+202E]`. */
  const plain = (text) => String(text).replace(UNSEEN, (character) => `[${codeOf(character)}]`);

  const RIGHT_TO_LEFT = '[\\u0590-\\u08ff\\ufb1d-\\ufdff\\ufe70-\\ufefc\\u{10800}-\\u{10fff}\\u{1e800}-\\u{1efff}]+';

  // Runs of one unseen character, or words that run from right to left.
  const SPECIAL = new RegExp(`(${UNSEEN.source})\\1*|${RIGHT_TO_LEFT}(?: ${RIGHT_TO_LEFT})*`, 'gu');

  /**
   * Appends text with each run of an unseen character as one box, and each run of right-to-left
   * words in its own isolate, so that nothing beside it changes its place. Both cost an element:
   * when the budget is spent, codes stand in brackets, and words are not isolated any more.
   */
  function appendText(parent, text, budget = { left: PIECE_ESCAPES }) {
    let from = 0;
    for (const match of text.matchAll(SPECIAL)) {
      if (match.index > from) parent.append(text.slice(from, match.index));
      from = match.index + match[0].length;
      budget.left -= 1;
      parent.append(budget.left < 0 ? plain(match[0]) : special(match[0], match[1]));
    }
    if (from < text.length) parent.append(from === 0 ? text : text.slice(from));
  }

  function special(run, unseen) {
    const node = document.createElement(unseen ? 'span' : 'bdi');
    const times = unseen ? run.length / unseen.length : 0;
    if (unseen) node.className = 'esc';
    node.textContent = unseen ? codeOf(unseen) + (times > 1 ? ` ×${times}` : '') : run;
    return node;
  }

  // ---------------------------------------------------------------- document

  const $ = (id) => document.getElementById(id);

  /** Creates an element; strings among the children become text through `appendText`. */
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === 'onclick') node.addEventListener('click', value);
      else if (value === true) node.setAttribute(name, '');
      else if (value !== false && value != null) node.setAttribute(name, plain(value));
    }
    add(node, ...children);
    return node;
  }

  function add(node, ...children) {
    for (const child of children.flat()) {
      if (child == null || child === false) continue;
      if (child instanceof Node) node.append(child);
      else appendText(node, String(child));
    }
  }

  function fill(node, ...children) {
    node.replaceChildren();
    add(node, ...children);
  }

  function icon(name, className = '') {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    svg.setAttribute('class', `icon ${className}`);
    svg.setAttribute('aria-hidden', 'true');
    use.setAttribute('href', `#i-${name}`);
    svg.append(use);
    return svg;
  }

  const button = (label, onclick, attributes = {}) => make('button', { type: 'button', onclick, ...attributes }, label);

  // ---------------------------------------------------------------- words

  const VERDICTS = {
    accepted: ['Accepted', 'signature, time and event are right'],
    rejected: ['Rejected', 'the signature, its time or its header is wrong'],
    malformed_data: ['Malformed data', 'signed, but its data has another shape than documented'],
    not_an_event: ['Not an event', 'signed, but the body is not an event'],
    not_checked: ['Not checked', 'the tool has no secret'],
  };

  const verdictWord = (verdict) => (VERDICTS[verdict] || [String(verdict).replaceAll('_', ' ')])[0];
  const verdictIcon = (verdict) => icon(Object.hasOwn(VERDICTS, verdict) ? verdict : 'unknown', `v-${Object.hasOwn(VERDICTS, verdict) ? verdict : 'unknown'}`);

  const clockTime = (at) => (typeof at === 'string' ? at.slice(11, 23).replace('Z', '') : '');
  const dateTime = (at) => (typeof at === 'string' ? at.replace('T', ' ').replace('Z', ' UTC') : '');
  const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

  function bytes(number) {
    if (number < 1024) return count(number, 'byte');
    const [size, unit] = number < 1024 * 1024 ? [number / 1024, 'KiB'] : [number / 1024 / 1024, 'MiB'];
    return `${size.toFixed(size < 10 ? 1 : 0)} ${unit}`;
  }

  function milliseconds(ms) {
    if (ms == null) return '';
    if (ms < 10) return ms.toFixed(1);
    return Math.round(ms).toLocaleString('en');
  }

  function span(seconds) {
    const total = Math.max(0, Math.round(seconds));
    if (total < 90) return `${total} s`;
    if (total < 5400) return `${Math.floor(total / 60)} min ${total % 60} s`;
    return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
  }

  /** The start and the end: ids that were made one after the other share their start. */
  const shortId = (id) => (id.length > 14 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

  function receiverWord(receiver) {
    if (receiver.state === 'answered') return String(receiver.status);
    return { pending: 'waiting', failed: 'no answer', not_sent: 'not sent' }[receiver.state] || receiver.state;
  }

  function receiverClass(receiver) {
    if (receiver.state !== 'answered') return `s-${receiver.state === 'failed' ? 'bad' : 'none'}`;
    return receiver.status >= 200 && receiver.status < 300 ? 's-good' : 's-bad';
  }

  function receiverSentence(receiver) {
    const after = receiver.ms == null ? '' : ` after ${milliseconds(receiver.ms)} ms`;
    if (receiver.state === 'answered') return `the receiver answered ${receiver.status}${after}`;
    if (receiver.state === 'failed') return `the receiver did not answer: ${receiver.error || 'no reason known'}`;
    return receiver.state === 'not_sent' ? 'it was not sent to the receiver' : 'waiting for the receiver';
  }

  const SOURCES = { replay: 'Sent again', signed_anew: 'Signed anew', sandbox: 'Sandbox' };

  // ---------------------------------------------------------------- state

  const state = {
    token: null,
    run: null,
    hello: null,
    /** The counter of the last change that was read. */
    change: 0,
    /** @type {Map<number, Entry>} */
    entries: new Map(),
    /** Groups whose attempts are shown. */
    open: new Set(),
    selected: null,
    view: 'requests',
    connected: false,
    /** A replay whose answer the status line waits for. */
    replay: null,
    announced: { total: 0, rejected: 0 },
    /** Entries since the list was scrolled away from its top. */
    newer: 0,
  };

  // ---------------------------------------------------------------- the server

  class ApiError extends Error {
    constructor(status, message) {
      super(message);
      this.status = status;
    }
  }

  async function call(path, options = {}) {
    const headers = { Authorization: `Bearer ${state.token}` };
    if (options.json) headers['Content-Type'] = 'application/json';
    let response;
    try {
      response = await fetch(path, {
        method: options.json ? 'POST' : 'GET',
        headers,
        body: options.json ? JSON.stringify(options.json) : undefined,
        signal: options.signal,
        credentials: 'omit',
        cache: 'no-store',
        redirect: 'error',
      });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError(0, 'the tool did not answer');
    }
    if (!response.ok) throw new ApiError(response.status, await errorText(response));
    return response;
  }

  async function errorText(response) {
    try {
      const { error } = await response.json();
      if (typeof error === 'string') return error;
    } catch { /* The body is not JSON: the status says enough. */ }
    return `the tool answered ${response.status}`;
  }

  const read = async (path, options) => (await call(path, options)).json();
  const post = (path, json) => call(path, { json });

  /** Runs an action, and reports its result or its failure in the status line. */
  async function act(name, action) {
    try {
      const result = await action();
      if (result) say(result, 'good');
    } catch (error) {
      if (error.name === 'AbortError') return;
      say(`${name} failed: ${error.message}`, 'bad');
    }
  }

  function say(text, kind = '', show = null) {
    const line = $('status');
    line.dataset.kind = kind;
    fill(line, text);
    const link = $('status-show');
    link.hidden = show === null;
    if (show !== null) {
      link.textContent = `Show request ${show}`;
      link.dataset.seq = show;
    }
  }

  // ---------------------------------------------------------------- token

  /** Moves the token out of the address bar, where it would reach bookmarks and screenshots. */
  function takeToken() {
    const match = /^#token=([0-9a-zA-Z_-]+)$/.exec(location.hash);
    if (match) {
      state.token = match[1];
      sessionStorage.setItem(TOKEN_KEY, match[1]);
      history.replaceState(null, '', location.pathname);
      return true;
    }
    state.token = state.token || sessionStorage.getItem(TOKEN_KEY);
    return false;
  }

  function showTokenProblem(title, text) {
    const banner = $('banner');
    banner.hidden = false;
    fill(banner, make('strong', {}, title), ' ', text, ' Open the address that ', make('code', {}, 'ptolemy-webhooks'),
      ' printed when it started; it ends in ', make('code', {}, '#token=…'), '.');
  }

  // ---------------------------------------------------------------- stream

  const stream = { failures: 0, timer: 0, abort: null, generation: 0 };

  function setConnection(name, text) {
    state.connected = name === 'connected';
    $('connection').dataset.state = name;
    if ($('connection-text').textContent !== text) $('connection-text').textContent = text;
    $('retry-now').hidden = name !== 'waiting';
  }

  /**
   * A stream takes one of the few connections that a browser makes to a host, for all its tabs
   * together: a tab that is not shown leaves it to the others, and catches up when it is shown.
   */
  function pause() {
    clearTimeout(stream.timer);
    stream.generation += 1;
    if (stream.abort) stream.abort.abort();
    setConnection('paused', 'Paused: not shown');
  }

  function shownOrHidden() {
    if (!state.token) return;
    if (document.hidden) return pause();
    stream.failures = 0;
    connect();
  }

  async function connect() {
    clearTimeout(stream.timer);
    if (stream.abort) stream.abort.abort();
    if (!state.token) {
      setConnection('stopped', 'No token');
      showTokenProblem('This page has no token.', 'The tool answers only pages that know it.');
      paint();
      return;
    }
    if (document.hidden) return pause();
    const abort = new AbortController();
    const generation = ++stream.generation;
    stream.abort = abort;
    if (stream.failures === 0) setConnection('connecting', 'Connecting');
    let problem = null;
    try {
      await readStream(abort);
    } catch (error) {
      problem = error;
    }
    if (generation === stream.generation) reconnect(problem);
  }

  async function readStream(abort) {
    let watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      const response = await call(`/api/stream?after=${state.change}`, { signal: abort.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        alive();
        const lines = (rest + value).split('\n');
        rest = lines.pop();
        for (const line of lines) if (line.trim()) receive(JSON.parse(line));
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  function reconnect(problem) {
    if (problem && problem.status === 403) return tokenRejected();
    if (problem && problem.status >= 400) showServerError(problem);
    const wait = RETRY_MS[Math.min(stream.failures, RETRY_MS.length - 1)];
    stream.failures += 1;
    countDown(Date.now() + wait);
  }

  function showServerError(error) {
    const banner = $('banner');
    banner.hidden = false;
    fill(banner, make('strong', {}, `The tool answered ${error.status}.`), ` ${sentenceCase(error.message)}`);
  }

  function tokenRejected() {
    setConnection('stopped', 'Token rejected');
    sessionStorage.removeItem(TOKEN_KEY);
    state.token = null;
    showTokenProblem('The token is not that of this run.', 'The tool was started again, or the address was copied in part: each run has its own token.');
    paint();
  }

  function countDown(until) {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) {
      setConnection('connecting', 'Reconnecting');
      connect();
      return;
    }
    setConnection('waiting', `Reconnecting in ${left} s`);
    stream.timer = setTimeout(countDown, 250, until);
  }

  function receive(line) {
    if (line.kind === 'hello') hello(line);
    else if (line.kind === 'entry') keep(line.entry);
    else if (line.kind === 'dropped') drop(line.before);
  }

  function hello(line) {
    stream.failures = 0;
    $('banner').hidden = true;
    setConnection('connected', 'Connected');
    if (state.run !== null && state.run !== line.run) forgetRun();
    state.run = line.run;
    state.hello = line;
    if (line.kept_from) drop(line.kept_from);
    showMode(line);
    paintSoon();
  }

  /** Another run counts its entries from the start. */
  function forgetRun() {
    state.entries.clear();
    state.open.clear();
    state.change = 0;
    state.replay = null;
    closeDetail();
  }

  function showMode(line) {
    $('mode').textContent = line.sandbox ? 'sandbox' : 'inspect';
    document.title = `Ptolemy webhooks: ${line.sandbox ? 'sandbox' : 'inspect'}`;
    fill($('target'), line.forward ? [icon('arrow'), make('span', { title: line.forward }, line.forward)] : 'No receiver');
    const shown = { requests: true, sandbox: line.sandbox, inbox: line.has_inbox };
    for (const tab of $('views').children) tab.hidden = !shown[tab.dataset.view];
    $('views').hidden = !line.sandbox && !line.has_inbox;
    $('controls').hidden = !line.sandbox;
    if (!shown[state.view]) show('requests');
    if (line.sandbox) sandboxSoon();
  }

  /** @param {Entry} entry */
  function keep(entry) {
    state.change = Math.max(state.change, entry.change);
    const known = state.entries.get(entry.seq);
    state.entries.set(entry.seq, entry);
    if (!known) {
      state.announced.total += 1;
      if (!['accepted', 'not_checked'].includes(entry.verdict)) state.announced.rejected += 1;
      if ($('list').scrollTop > 4) state.newer += 1;
    }
    if (state.entries.size > MAX_ENTRIES) forgetOldest();
    if (entry.seq === state.selected) detailChanged(entry);
    if (state.replay && state.replay.seq === entry.seq) replayAnswered(entry);
    if (state.hello && state.hello.sandbox) sandboxSoon();
    paintSoon();
    announceSoon();
  }

  function forgetOldest() {
    let oldest = Infinity;
    for (const seq of state.entries.keys()) oldest = Math.min(oldest, seq);
    state.entries.delete(oldest);
  }

  function drop(before) {
    for (const seq of state.entries.keys()) if (seq < before) state.entries.delete(seq);
    paintSoon();
  }

  let announceTimer = 0;

  /** At most one announcement in a while: a flood must not talk without end. */
  function announceSoon() {
    if (announceTimer) return;
    announceTimer = setTimeout(() => {
      announceTimer = 0;
      const { total, rejected } = state.announced;
      state.announced = { total: 0, rejected: 0 };
      if (total === 0) return;
      $('announcer').textContent = `${count(total, 'new request')}${rejected ? `, ${rejected} not accepted` : ''}`;
    }, ANNOUNCE_MS);
  }

  // ---------------------------------------------------------------- list

  const filter = { text: '', type: '', verdict: '', status: '' };

  const isFiltered = () => Object.values(filter).some(Boolean);

  /** @param {Entry} entry */
  function matches(entry) {
    if (filter.type && entry.event_type !== filter.type) return false;
    if (filter.verdict && entry.verdict !== filter.verdict) return false;
    if (filter.status && !matchesStatus(entry.receiver)) return false;
    if (!filter.text) return true;
    const fields = [entry.event_type, entry.event_id, entry.path, entry.reason, entry.summary, entry.delivery_id, entry.fault, entry.method];
    return fields.some((field) => field && field.toLowerCase().includes(filter.text));
  }

  function matchesStatus(receiver) {
    if (receiver.state !== 'answered') return receiver.state === filter.status;
    return String(receiver.status).startsWith(filter.status);
  }

  /** Anyone can write an event id: it counts if the signature proves it, or the sandbox sent it. */
  const isIdProven = (entry) => ['accepted', 'malformed_data'].includes(entry.verdict) || entry.source === 'sandbox';

  const groupKey = (entry) => (entry.event_id && isIdProven(entry) ? `id:${entry.event_id}` : `seq:${entry.seq}`);

  /**
   * The rows from top to bottom: the newest attempt of each event, and the others if it is open.
   */
  function wantedRows() {
    const newestFirst = [...state.entries.values()].filter(matches).sort((a, b) => b.seq - a.seq);
    const groups = new Map();
    for (const entry of newestFirst) {
      const key = groupKey(entry);
      if (groups.has(key)) groups.get(key).push(entry);
      else groups.set(key, [entry]);
    }
    const rows = [];
    for (const [key, attempts] of groups) {
      const open = attempts.length > 1 && state.open.has(key);
      rows.push({ entry: attempts[0], level: 1, size: attempts.length, open, key });
      if (open) for (const entry of attempts.slice(1)) rows.push({ entry, level: 2, size: 1, open: false, key });
    }
    return { rows, shown: newestFirst.length };
  }

  /** @type {Map<number, {node: HTMLElement, drawn: string}>} */
  const drawn = new Map();
  let paintTimer = 0;

  function paintSoon() {
    if (!paintTimer) paintTimer = setTimeout(paint, PAINT_MS);
  }

  /**
   * Brings the rows of the document to those that are wanted; nothing that stays is moved or drawn
   * again.
   */
  function paint() {
    clearTimeout(paintTimer);
    paintTimer = 0;
    const { rows, shown } = wantedRows();
    const still = holdStill();
    const focused = document.activeElement;
    const wanted = new Set(rows.map((row) => row.entry.seq));
    for (const [seq, { node }] of drawn) {
      if (wanted.has(seq)) continue;
      node.remove();
      drawn.delete(seq);
    }
    let next = $('rows').firstChild;
    for (const row of rows) {
      const node = drawRow(row);
      if (node === next) next = next.nextSibling;
      else $('rows').insertBefore(node, next);
    }
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    still();
    oneTabStop(rows);
    paintCounts(shown);
    paintEmpty(shown);
    paintTypes();
  }

  /**
   * While the list is scrolled down, it stays where it is, and a button says how many are newer.
   */
  function holdStill() {
    const list = $('list');
    if (list.scrollTop <= 4) return () => {};
    const top = list.getBoundingClientRect().top + 60;
    const anchor = [...$('rows').children].find((row) => row.getBoundingClientRect().bottom > top);
    const before = anchor ? anchor.getBoundingClientRect().top : 0;
    return () => {
      if (anchor && anchor.isConnected) list.scrollTop += anchor.getBoundingClientRect().top - before;
    };
  }

  function drawRow({ entry, level, size, open, key }) {
    const selected = entry.seq === state.selected;
    const signature = [entry.change, level, size, open, selected].join();
    let known = drawn.get(entry.seq);
    if (known && known.drawn === signature) return known.node;
    if (!known) {
      known = { node: make('div', { role: 'row', class: 'row', tabindex: '-1', 'data-seq': entry.seq }), drawn: '' };
      drawn.set(entry.seq, known);
    }
    known.drawn = signature;
    const { node } = known;
    node.dataset.key = key;
    node.dataset.level = level;
    node.setAttribute('aria-level', level);
    node.setAttribute('aria-selected', selected);
    if (size > 1) node.setAttribute('aria-expanded', open);
    else node.removeAttribute('aria-expanded');
    fill(node, rowCells(entry, size));
    return node;
  }

  /** @param {Entry} entry */
  function rowCells(entry, size) {
    const cell = (name, attributes, ...children) => make('span', { role: 'gridcell', class: `c-${name}`, ...attributes }, ...children);
    const twisty = make('span', { class: 'twisty' });
    if (size > 1) twisty.append(icon('chevron'));
    const tags = [
      (size > 1 || entry.attempt > 1) && make('span', { class: 'tag' }, size > 1 ? count(size, 'attempt') : `attempt ${entry.attempt}`),
      SOURCES[entry.source] && entry.source !== 'sandbox' && make('span', { class: 'tag tag-source' }, SOURCES[entry.source].toLowerCase()),
      entry.fault && make('span', { class: 'tag tag-fault' }, `fault: ${entry.fault.replaceAll('_', '-')}`),
    ];
    const type = entry.event_type || `${entry.method} ${entry.path}`;
    return [
      cell('verdict', {}, twisty, verdictIcon(entry.verdict), make('span', { class: 'word' }, verdictWord(entry.verdict))),
      cell('time', {}, make('time', { datetime: entry.at, title: dateTime(entry.at) }, clockTime(entry.at))),
      cell('type', { title: type }, make('span', { class: entry.event_type ? 'name' : 'name untyped' }, type), tags),
      cell('id', { title: entry.event_id }, entry.event_id ? shortId(entry.event_id) : '–'),
      cell('status', { title: receiverSentence(entry.receiver) }, make('span', { class: receiverClass(entry.receiver) }, receiverWord(entry.receiver))),
      cell('ms', {}, milliseconds(entry.receiver.ms)),
      entry.verdict !== 'accepted' && entry.summary && cell('why', {}, code(entry.summary)),
    ];
  }

  /** One row can be reached with Tab: the one in focus, the selected one or the first. */
  function oneTabStop(rows) {
    const nodes = rows.map((row) => drawn.get(row.entry.seq).node);
    const stop = nodes.find((node) => node === document.activeElement)
      || nodes.find((node) => Number(node.dataset.seq) === state.selected) || nodes[0];
    for (const node of nodes) {
      const wanted = node === stop ? 0 : -1;
      if (node.tabIndex !== wanted) node.tabIndex = wanted;
    }
  }

  function paintCounts(shown) {
    const total = state.entries.size;
    $('count').textContent = isFiltered() ? `${shown} of ${total} shown` : `${total}`;
    $('filter-clear').disabled = !isFiltered();
    const newer = $('newer');
    if ($('list').scrollTop <= 4) state.newer = 0;
    newer.hidden = state.newer === 0;
    newer.textContent = `Paused: ${state.newer} new. Show`;
  }

  /** The types that came, in a list that changes only when a new one comes: it may be open. */
  function paintTypes() {
    const select = $('filter-type');
    const types = new Set([...state.entries.values()].map((entry) => entry.event_type).filter(Boolean));
    if (filter.type) types.add(filter.type);
    const sorted = [...types].sort();
    if (select.dataset.types === JSON.stringify(sorted)) return;
    select.dataset.types = JSON.stringify(sorted);
    const options = sorted.map((type) => make('option', { value: '' }, plain(type)));
    options.forEach((option, index) => { option.value = sorted[index]; });
    select.replaceChildren(select.firstElementChild, ...options);
    select.value = filter.type;
  }

  // ---------------------------------------------------------------- nothing to show

  function paintEmpty(shown) {
    const empty = $('empty');
    empty.hidden = shown > 0;
    $('list').hidden = shown === 0;
    if (shown > 0) {
      empty.dataset.kind = '';
      return;
    }
    const kind = `${isFiltered()} ${state.connected} ${Boolean(state.hello)} ${state.token !== null}`;
    if (empty.dataset.kind === kind) return;
    empty.dataset.kind = kind;
    fill(empty, emptyText());
  }

  function emptyText() {
    if (isFiltered()) return [make('h3', {}, 'No request matches the filter.'), button('Clear the filter', clearFilter)];
    if (!state.token) return [make('h3', {}, 'Nothing can be shown without the token.')];
    if (!state.hello) return [make('h3', {}, 'Waiting for the tool.')];
    return state.hello.sandbox ? emptySandbox() : emptyInspect();
  }

  function emptyInspect() {
    const listen = state.hello.listen || 'http://127.0.0.1:4040';
    return [
      make('h3', {}, 'No request has come yet.'),
      make('p', {}, 'Post a signed event to the sender’s port. It is forwarded to ', make('code', {}, state.hello.forward || 'the receiver'), '.'),
      command(`ptolemy-webhooks send ${listen}/webhooks/ptolemy`),
      make('p', {}, 'To see deliveries of Ptolemy, let your tunnel or proxy post to ', make('code', {}, listen), '. This list shows each one as it comes.'),
    ];
  }

  function emptySandbox() {
    if (state.hello.forward) {
      return [
        make('h3', {}, 'No delivery yet.'),
        make('p', {}, 'Choose an event type above and press ', make('strong', {}, 'Emit event'), '. It is delivered to ', make('code', {}, state.hello.forward), '.'),
      ];
    }
    return [
      make('h3', {}, 'No receiver is registered.'),
      make('p', {}, 'Register a webhook through the sandbox’s API, or start the sandbox with a receiver:'),
      command('ptolemy-webhooks sandbox --forward http://127.0.0.1:3000/webhooks/ptolemy'),
    ];
  }

  function command(text) {
    return make('div', { class: 'command' }, make('code', {}, text), button('Copy', () => copyText(text, 'The command'), { 'aria-label': 'Copy the command' }));
  }

  // ---------------------------------------------------------------- selection

  const rowsInOrder = () => [...$('rows').children];

  function focusRow(row) {
    if (!row) return;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: 'nearest' });
    select(Number(row.dataset.seq));
  }

  function move(step) {
    const rows = rowsInOrder();
    const at = rows.findIndex((row) => Number(row.dataset.seq) === state.selected);
    if (at === -1) return focusRow(rows[0]);
    focusRow(rows[Math.min(rows.length - 1, Math.max(0, at + step))]);
  }

  function setOpen(row, open) {
    if (!row || row.getAttribute('aria-expanded') === null) return false;
    if (open) state.open.add(row.dataset.key);
    else state.open.delete(row.dataset.key);
    paint();
    return true;
  }

  /** Left on an attempt goes to the row that it belongs to. */
  function closeOrParent(row) {
    if (row.getAttribute('aria-expanded') === 'true') return setOpen(row, false);
    if (row.dataset.level !== '2') return false;
    const parent = rowsInOrder().find((other) => other.dataset.key === row.dataset.key);
    focusRow(parent);
    return true;
  }

  function select(seq) {
    if (state.selected === seq) return;
    state.selected = seq;
    paint();
    openDetail(seq);
  }

  /** On a narrow screen, list and detail are two views: this shows the second. */
  function enterDetail() {
    if (state.selected === null) return;
    document.body.dataset.pane = 'detail';
    $('detail-heading').focus();
  }

  function leaveDetail() {
    document.body.dataset.pane = 'list';
    const known = drawn.get(state.selected);
    const row = known && known.node.isConnected ? known.node : rowsInOrder()[0];
    if (row) row.focus();
  }

  /** Shows an entry that the filter or a closed group may hide. */
  function reveal(seq) {
    const entry = state.entries.get(seq);
    if (!entry) return say(`Request ${seq} is no longer kept`, 'bad');
    show('requests');
    if (!matches(entry)) clearFilter();
    state.open.add(groupKey(entry));
    select(seq);
    paint();
    const known = drawn.get(seq);
    if (known) known.node.scrollIntoView({ block: 'nearest' });
    enterDetail();
  }

  // ---------------------------------------------------------------- detail

  const detail = { seq: null, data: null, abort: null, timer: 0, tab: 'body', bytes: new Map(), form: {} };

  function closeDetail() {
    clearTimeout(detail.timer);
    $('detail').removeAttribute('aria-busy');
    $('detail-body').inert = false;
    state.selected = null;
    detail.seq = null;
    detail.data = null;
    document.body.dataset.pane = 'list';
    $('detail-heading').textContent = 'Detail';
    fill($('detail-body'), make('p', { class: 'empty-detail' }, 'Select a request to see why it was accepted or rejected.'));
  }

  /** Waits a moment: a held arrow key passes many rows, and only the last one is read. */
  function openDetail(seq) {
    clearTimeout(detail.timer);
    if (detail.abort) detail.abort.abort();
    detail.seq = seq;
    detail.data = null;
    detail.bytes.clear();
    detail.form = {};
    $('detail-heading').textContent = `Request ${seq}`;
    $('detail').setAttribute('aria-busy', 'true');
    // Until the new detail is there, the buttons below the new heading would act on the old one.
    $('detail-body').inert = true;
    detail.timer = setTimeout(loadDetail, 70, seq);
  }

  async function loadDetail(seq) {
    const abort = new AbortController();
    detail.abort = abort;
    try {
      const data = await read(`/api/entries/${seq}`, { signal: abort.signal });
      if (detail.seq !== seq) return;
      detail.data = data;
      paintDetail();
      // It may have changed while the detail was on its way.
      const newest = state.entries.get(seq);
      if (newest) detailChanged(newest);
    } catch (error) {
      if (error.name !== 'AbortError' && detail.seq === seq) paintDetailError(seq, error);
    }
    if (detail.seq !== seq) return;
    $('detail').removeAttribute('aria-busy');
    $('detail-body').inert = false;
  }

  function paintDetailError(seq, error) {
    const text = error.status === 404 ? 'This request is no longer kept: the tool keeps the newest 500, and 64 MiB.' : `It could not be read: ${error.message}.`;
    fill($('detail-body'), make('p', { class: 'empty-detail' }, text), make('p', { class: 'empty-detail' }, button('Try again', () => openDetail(seq))));
  }

  /** The answer comes after the entry, and its body after its head. */
  function detailChanged(entry) {
    if (!detail.data || detail.data.entry.change >= entry.change) return;
    if (detail.abort) detail.abort.abort();
    detail.bytes.delete('answer');
    loadDetail(entry.seq);
  }

  function paintDetail() {
    const { entry, why } = detail.data;
    const body = $('detail-body');
    const scrolled = body.dataset.seq === String(entry.seq) ? body.scrollTop : 0;
    body.dataset.seq = entry.seq;
    fill(body, factsOf(entry), verdictOf(entry, why || {}), actionsOf(entry), tabsOf());
    showTab(detail.tab, false);
    body.scrollTop = scrolled;
  }

  /** @param {Entry} entry */
  function factsOf(entry) {
    const fact = (name, ...value) => make('div', {}, make('dt', {}, name), make('dd', {}, ...value));
    return make('dl', { class: 'facts' },
      fact('Event', entry.event_type || '–', entry.attempt > 1 && make('span', { class: 'tag' }, `attempt ${entry.attempt}`)),
      fact('Id', make('code', {}, entry.event_id || '–')),
      fact('Request', make('code', {}, `${entry.method} ${entry.path}`)),
      fact('Came', make('time', { datetime: entry.at }, dateTime(entry.at)), sourceOf(entry)),
      fact('Receiver', make('span', { class: receiverClass(entry.receiver) }, receiverWord(entry.receiver)),
        entry.receiver.ms != null && ` ${milliseconds(entry.receiver.ms)} ms`, entry.receiver.error && ` ${entry.receiver.error}`));
  }

  function sourceOf(entry) {
    const fault = entry.fault && make('span', { class: 'tag tag-fault' }, `fault: ${entry.fault.replaceAll('_', '-')}`);
    if (entry.of == null) return fault;
    const word = SOURCES[entry.source] || 'Copy';
    return [make('span', { class: 'tag tag-source' }, `${word.toLowerCase()} from `, button(`request ${entry.of}`, () => reveal(entry.of), { class: 'link' })), fault];
  }

  const BASIS = {
    proven: ['Proven', 'A change was found that makes the signature valid.'],
    certain: ['Certain', 'The request itself shows it.'],
    suspected: ['Not proven', 'It fits, and cannot be proven from this request alone.'],
  };

  function verdictOf(entry, why) {
    const verdict = why.verdict || entry.verdict;
    return make('section', { class: `verdict v-${Object.hasOwn(VERDICTS, verdict) ? verdict : 'unknown'}`, 'aria-labelledby': 'verdict-title' },
      make('p', { class: 'verdict-head' }, verdictIcon(verdict), make('strong', {}, verdictWord(verdict)),
        entry.reason && make('code', {}, entry.reason)),
      make('h3', { id: 'verdict-title' }, code(why.title || entry.summary || verdictWord(verdict))),
      numbersOf(why.numbers || []),
      sentences(['Why', basisOf(why)], why.causes || [], sentence),
      sentences('Possible causes (not proven)', why.suspicions || [], suspicion),
      sentences('What to do', why.fix || [], sentence),
      why.help && make('p', { class: 'help-line' }, 'In the guide docs/rejected.md: ', make('q', {}, code(why.help))));
  }

  /** It belongs to the causes, and not to what is only suspected. */
  function basisOf(why) {
    const basis = Object.hasOwn(BASIS, why.basis || '') ? BASIS[why.basis] : null;
    return basis && make('span', { class: `basis basis-${why.basis}`, title: basis[1] }, basis[0]);
  }

  /** The size of the body stands at its tab. */
  function numbersOf(numbers) {
    const shown = numbers.filter(({ name }) => name !== 'body');
    if (shown.length === 0) return null;
    return make('dl', { class: 'numbers' }, shown.map(({ name, value }) => make('div', {}, make('dt', {}, name), make('dd', {}, value))));
  }

  /** A clause becomes a sentence. */
  function sentenceCase(text) {
    const first = /^[a-z]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
    return /[.!?)…:]$/.test(first) ? first : `${first}.`;
  }

  const sentence = (text) => [code(sentenceCase(text))];

  /** How to check a cause stands on its own line. */
  const suspicion = ({ cause, check }) => [code(sentenceCase(cause)), check && make('span', { class: 'check-line' }, 'Check: ', code(check))];

  function sentences(heading, list, draw) {
    if (list.length === 0) return null;
    const texts = list.map(draw);
    const block = texts.length === 1 ? make('p', {}, ...texts[0]) : make('ul', {}, texts.map((text) => make('li', {}, ...text)));
    return make('div', { class: 'sentences' }, make('h4', {}, heading), block);
  }

  /** Words between backticks are code, as in the guide. */
  const code = (sentence) => String(sentence).split(/`([^`]+)`/).map((part, index) => (index % 2 ? make('code', {}, part) : part));

  // ---------------------------------------------------------------- actions

  /** @param {Entry} entry */
  function actionsOf(entry) {
    const canSign = Boolean(state.hello && state.hello.can_sign);
    const anew = button('Sign anew and send', () => replay(entry, 'anew'), {
      class: 'primary', 'aria-disabled': canSign ? null : 'true', 'aria-describedby': 'anew-hint',
    });
    return make('div', { class: 'actions', role: 'group', 'aria-label': 'Actions' },
      anew,
      button('Send again as it was', () => replay(entry, 'as_it_was')),
      button('Copy as curl', () => copyCurl(entry)),
      button('Copy body', () => copyBody(entry)),
      button('Download body', () => download(entry)),
      make('p', { class: 'hint', id: 'anew-hint' }, canSign
        ? 'Signing anew uses the time of now. As it was, a request is rejected when its time is older than the tolerance.'
        : 'Signing anew needs the secret: start the tool with PTOLEMY_WEBHOOK_SECRET_FILE.'));
  }

  function replay(entry, signing) {
    const name = signing === 'anew' ? 'Signing anew' : 'Sending again';
    if (signing === 'anew' && !(state.hello && state.hello.can_sign)) return say(`${name} needs the secret, and the tool has none`, 'bad');
    say(`${name}: request ${entry.seq} is being sent`);
    return act(name, async () => {
      const { seq } = await (await post(`/api/entries/${entry.seq}/replay`, { signing })).json();
      state.replay = { seq, name: signing === 'anew' ? 'Signed anew' : 'Sent again as it was' };
      say(`${state.replay.name}: waiting for the receiver`, '', seq);
      const answered = state.entries.get(seq);
      if (answered) replayAnswered(answered);
    });
  }

  /** @param {Entry} entry */
  function replayAnswered(entry) {
    if (entry.receiver.state === 'pending') return;
    const good = entry.receiver.state === 'answered' && entry.receiver.status < 300;
    say(`${state.replay.name}: ${receiverSentence(entry.receiver)}`, good ? 'good' : 'bad', entry.seq);
    state.replay = null;
  }

  async function copyText(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      say(`${what} was copied`, 'good');
    } catch {
      $('copy-text').value = text;
      openDialog('copy');
      $('copy-text').select();
    }
  }

  const copyCurl = (entry) => act('Copying', async () => copyText(await (await call(`/api/entries/${entry.seq}/curl`)).text(), 'The curl command'));

  const copyBody = (entry) => act('Copying', async () => {
    const content = await bytesOf('body', entry.seq);
    const text = asText(content);
    if (text !== null) return copyText(text, 'The body');
    const hex = Array.from(content, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return copyText(hex, 'The body is not UTF-8: its hex digits');
  });

  const download = (entry) => act('Downloading', async () => {
    const content = await bytesOf('body', entry.seq);
    const url = URL.createObjectURL(new Blob([content], { type: 'application/octet-stream' }));
    make('a', { href: url, download: `request-${entry.seq}.bin` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    return `The body was saved as request-${entry.seq}.bin, ${bytes(content.length)}`;
  });

  // ---------------------------------------------------------------- tabs of the detail

  const TABS = [['body', 'Body'], ['headers', 'Headers'], ['decoded', 'Decoded'], ['answer', 'Answer']];

  function tabsOf() {
    const { data } = detail;
    const counts = { body: bytes(data.body.bytes), headers: data.headers.length, answer: data.answer ? data.answer.status : '–', decoded: null };
    const tabs = TABS.map(([name, label]) => button([label, counts[name] != null && make('span', { class: 'tab-count' }, counts[name])], () => showTab(name, true), {
      role: 'tab', id: `tab-${name}`, 'aria-controls': 'tab-panel', 'data-tab': name,
    }));
    const list = make('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Parts of the request' }, tabs);
    list.addEventListener('keydown', moveTab);
    return [list, make('div', { class: 'tab-panel', role: 'tabpanel', id: 'tab-panel' })];
  }

  function moveTab(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const names = TABS.map(([name]) => name);
    const next = names[(names.indexOf(detail.tab) + step + names.length) % names.length];
    showTab(next, true);
    $(`tab-${next}`).focus();
    event.preventDefault();
    event.stopPropagation();
  }

  function showTab(name, byHand) {
    if (byHand && detail.tab === name && $('tab-panel').childElementCount) return;
    detail.tab = name;
    for (const [other] of TABS) {
      $(`tab-${other}`).setAttribute('aria-selected', other === name);
      $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
    }
    const panel = $('tab-panel');
    panel.setAttribute('aria-labelledby', `tab-${name}`);
    fill(panel);
    ({ body: bodyTab, headers: headersTab, decoded: decodedTab, answer: answerTab })[name](panel, detail.data);
  }

  function bodyTab(panel, data) {
    if (data.malformed) add(panel, make('p', { class: 'problem' }, verdictIcon('malformed_data'), make('span', {}, make('code', {}, data.malformed.path), `: ${data.malformed.reason}`)));
    contentView(panel, 'body', { ...data.body, mark: data.malformed });
  }

  function headersTab(panel, data) {
    add(panel, headerTable(data.headers, 'Headers of the request; those of one name stand together, and names are in lower case'));
  }

  function headerTable(headers, caption) {
    const times = new Map();
    for (const { name } of headers) times.set(name.toLowerCase(), (times.get(name.toLowerCase()) || 0) + 1);
    const rows = headers.map((header) => make('tr', {},
      make('th', { scope: 'row' }, header.name, times.get(header.name.toLowerCase()) > 1 && make('span', { class: 'tag tag-fault' }, 'repeated')),
      make('td', {}, headerValue(header))));
    if (rows.length === 0) return make('p', { class: 'empty-detail' }, 'No headers.');
    return make('table', { class: 'headers' }, make('caption', { class: 'unseen' }, caption),
      make('thead', { class: 'unseen' }, make('tr', {}, make('th', { scope: 'col' }, 'Name'), make('th', { scope: 'col' }, 'Value'))), make('tbody', {}, rows));
  }

  function headerValue(header) {
    if (header.masked) return make('em', { class: 'masked' }, 'masked');
    if (header.value != null) return header.value === '' ? make('em', { class: 'masked' }, 'empty') : header.value;
    return [make('span', { class: 'tag' }, 'hex'), header.hex];
  }

  function decodedTab(panel, data) {
    if (!data.decoded || data.decoded.length === 0) {
      return add(panel, make('p', { class: 'empty-detail' }, 'The body has no fields that can be decoded.'));
    }
    if (!Array.isArray(data.decoded)) return add(panel, make('pre', { class: 'code', tabindex: '0' }, String(data.decoded)));
    if (data.entry.verdict === 'rejected') add(panel, make('p', { class: 'hint' }, 'The signature was not accepted: anyone can have written these fields.'));
    const rows = data.decoded.map((field) => make('tr', { class: field.problem ? 'wrong' : null },
      make('th', { scope: 'row' }, make('code', {}, field.path)),
      make('td', {}, field.value ?? (field.problem ? null : make('em', { class: 'masked' }, 'none')), field.problem && make('span', { class: 'field-problem' }, verdictIcon('malformed_data'), field.problem))));
    return add(panel, make('table', { class: 'headers' }, make('caption', { class: 'unseen' }, 'The decoded payload'),
      make('thead', { class: 'unseen' }, make('tr', {}, make('th', { scope: 'col' }, 'Field'), make('th', { scope: 'col' }, 'Value'))), make('tbody', {}, rows)));
  }

  function answerTab(panel, data) {
    const { entry, answer } = data;
    if (!answer) return add(panel, make('p', { class: 'empty-detail' }, `No answer: ${receiverSentence(entry.receiver)}.`));
    add(panel, make('p', { class: 'answer-line' }, make('strong', { class: receiverClass(entry.receiver) }, answer.status), ` after ${milliseconds(entry.receiver.ms)} ms, ${bytes(answer.body_bytes)}`),
      headerTable(answer.headers || [], 'Headers of the answer; those of one name stand together, and names are in lower case'));
    if (answer.cut_at != null) add(panel, make('p', { class: 'problem' }, `The first ${bytes(answer.cut_at)} are kept.`));
    if (answer.broken) add(panel, make('p', { class: 'problem' }, 'The answer broke off: this is the part that came.'));
    const isJson = (answer.headers || []).some((header) => header.name.toLowerCase() === 'content-type' && /json/i.test(header.value || ''));
    return contentView(panel, 'answer', { bytes: answer.body_bytes, is_utf8: answer.is_utf8, is_json: isJson });
  }

  // ---------------------------------------------------------------- bytes as JSON, text or hex

  async function bytesOf(part, seq) {
    const kept = seq === detail.seq ? detail.bytes.get(part) : null;
    if (kept) return kept;
    const content = new Uint8Array(await (await call(`/api/entries/${seq}/${part}`)).arrayBuffer());
    if (seq === detail.seq) detail.bytes.set(part, content);
    return content;
  }

  /** Strict, and a byte order mark stays: it is why a signature can differ. */
  function asText(content) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    } catch {
      return null;
    }
  }

  const FORMS = [['pretty', 'Pretty'], ['text', 'Text'], ['hex', 'Hex']];

  function contentView(panel, part, about) {
    if (about.bytes === 0) return add(panel, make('p', { class: 'empty-detail' }, part === 'body' ? 'The body is empty.' : 'The answer has no body.'));
    const able = { pretty: about.is_json, text: about.is_utf8, hex: true };
    const first = detail.form[part] || FORMS.find(([name]) => able[name])[0];
    const target = make('div', { class: 'content' });
    const choose = (name) => {
      detail.form[part] = name;
      for (const choice of choices) choice.setAttribute('aria-pressed', choice.dataset.form === name);
      act('Reading', () => showContent(target, part, name, about));
    };
    const choices = FORMS.filter(([name]) => able[name]).map(([name, label]) => button(label, () => choose(name), { 'data-form': name, 'aria-pressed': 'false' }));
    add(panel, make('div', { class: 'forms', role: 'group', 'aria-label': `Show the ${part} as` }, choices, !about.is_utf8 && make('span', { class: 'hint' }, 'not valid UTF-8')), target);
    return choose(first);
  }

  async function showContent(target, part, form, about) {
    const { seq } = detail;
    const content = await bytesOf(part, seq);
    if (detail.seq !== seq || !target.isConnected) return;
    const text = form === 'hex' ? null : asText(content);
    if (text === null) return fill(target, pieces(hexPieces(content), part, content.length));
    const asPlainText = () => fill(target, pieces(textPieces(text), part, content.length));
    if (form !== 'pretty') return asPlainText();
    return fill(target, pieces(packed(prettyTokens(text, about.mark)), part, content.length, asPlainText));
  }

  /**
   * Shows the first piece; the others follow on demand, one a frame, so that the page answers. If
   * the source fails, `otherwise` shows the content in another form.
   */
  function pieces(source, part, total, otherwise = () => {}) {
    const following = () => {
      try {
        return source.next();
      } catch {
        setTimeout(otherwise);
        return { done: true };
      }
    };
    const view = make('div', { class: 'code', tabindex: '0', role: 'region', 'aria-label': part === 'body' ? 'Body of the request' : 'Body of the answer' });
    const more = make('div', { class: 'more' });
    let next = following();
    let running = false;
    const append = () => {
      if (next.done) return;
      view.append(drawPiece(next.value));
      next = following();
      if (next.done) more.replaceChildren();
    };
    const all = () => {
      if (!running || next.done || !view.isConnected) return;
      append();
      requestAnimationFrame(all);
    };
    append();
    const toggle = button('Show all', () => {
      running = !running;
      toggle.textContent = running ? 'Stop' : 'Show all';
      all();
    });
    if (!next.done) add(more, make('span', {}, `The start of ${bytes(total)} is shown.`), button('Show more', append), toggle);
    return [view, more];
  }

  /** @param {Token[]} tokens */
  function drawPiece(tokens) {
    const piece = make('div', { class: 'piece' });
    const budget = { left: PIECE_ESCAPES };
    for (const { text, kind } of tokens) {
      if (!kind) {
        appendText(piece, text, budget);
        continue;
      }
      const node = document.createElement(kind.startsWith('mark') ? 'mark' : 'span');
      node.className = `t-${kind}`;
      appendText(node, text, budget);
      piece.append(node);
    }
    return piece;
  }

  /** Cuts at a line end if one is near, and never within a surrogate pair. */
  function* textPieces(text) {
    let from = 0;
    while (from < text.length) {
      let to = Math.min(text.length, from + PIECE_CHARS);
      if (to < text.length) {
        const line = text.lastIndexOf('\n', to - 1) + 1;
        if (line > to - 4096 && line > from) to = line;
        else if (/[\ud800-\udbff]/.test(text[to - 1])) to -= 1;
      }
      yield [{ text: text.slice(from, to) }];
      from = to;
    }
  }

  function* hexPieces(content) {
    const perPiece = HEX_ROW * 1024;
    for (let from = 0; from < content.length; from += perPiece) {
      let text = '';
      const end = Math.min(content.length, from + perPiece);
      for (let row = from; row < end; row += HEX_ROW) text += `${hexRow(content, row)}\n`;
      yield [{ text }];
    }
  }

  function hexRow(content, from) {
    let hex = '';
    let letters = '';
    for (let at = from; at < from + HEX_ROW; at += 1) {
      const byte = content[at];
      hex += byte === undefined ? '   ' : `${byte.toString(16).padStart(2, '0')} `;
      if (at === from + 7) hex += ' ';
      if (byte !== undefined) letters += byte > 31 && byte < 127 ? String.fromCharCode(byte) : '·';
    }
    return `${from.toString(16).padStart(8, '0')}  ${hex} ${letters}`;
  }

  /** Packs tokens into pieces that end at a line end. */
  function* packed(tokens) {
    let piece = [];
    let size = 0;
    for (const token of tokens) {
      for (const part of token.text.length > PIECE_CHARS ? split(token) : [token]) {
        piece.push(part);
        size += part.text.length;
        const full = size >= PIECE_CHARS || piece.length >= PIECE_TOKENS;
        if (full && (part.text.startsWith('\n') || size >= 2 * PIECE_CHARS || piece.length >= 2 * PIECE_TOKENS)) {
          yield piece;
          piece = [];
          size = 0;
        }
      }
    }
    if (piece.length) yield piece;
  }

  function* split(token) {
    for (const [{ text }] of textPieces(token.text)) yield { ...token, text };
  }

  // ---------------------------------------------------------------- pretty JSON

  const SPACE = ' \t\r\n';
  const PUNCTUATION = '{}[],:';
  const ENDS_WORD = `${SPACE}${PUNCTUATION}"`;

  /**
   * The tokens of JSON without white space. A loop, as a regular expression overflows its stack in
   * a string of some MiB.
   */
  function* jsonTokens(text) {
    let at = 0;
    while (at < text.length) {
      const from = at;
      const first = text[at];
      at += 1;
      if (SPACE.includes(first)) continue;
      if (first === '"') at = endOfString(text, at);
      else if (!PUNCTUATION.includes(first)) while (at < text.length && !ENDS_WORD.includes(text[at])) at += 1;
      yield text.slice(from, at);
    }
  }

  /** Behind the first quotation mark that has an even number of backslashes before it. */
  function endOfString(text, start) {
    for (let quote = text.indexOf('"', start); quote !== -1; quote = text.indexOf('"', quote + 1)) {
      let before = quote;
      while (before > start && text[before - 1] === '\\') before -= 1;
      if ((quote - before) % 2 === 0) return quote + 1;
    }
    return text.length;
  }

  /**
   * Indents JSON without reading its values: numbers keep every digit, repeated keys stay, and no
   * depth overflows a stack. Each frame knows which part of the marked path is still to come, so
   * that the value at this path is marked when it is met. If it is missing, its nearest parent says
   * so.
   * @param {string} text
   * @param {{path: string, reason: string}|null|undefined} mark
   * @returns {Generator<Token>}
   */
  function* prettyTokens(text, mark) {
    const frames = [];
    const goal = { mark, found: false };
    let key = null;
    let value = mark ? mark.path : null;
    let fresh = false;
    for (const token of jsonTokens(text)) {
      const frame = frames[frames.length - 1];
      if (token === '}' || token === ']') {
        frames.pop();
        if (frame && frame.rest && goal.mark && !goal.found) yield* missing(frame, goal, frames.length + 1);
        yield* note(goal);
        if (!fresh || goal.noted) yield lineBreak(frames.length);
        goal.noted = false;
        yield { text: token };
        fresh = false;
      } else if (token === ',') {
        yield { text: ',' };
        yield* note(goal);
        yield lineBreak(frames.length);
        if (frame) value = frame.array ? step(frame.rest, `[${frame.index += 1}]`) : null;
        key = null;
      } else if (token === ':') {
        yield { text: ': ' };
        if (frame && !frame.array) value = step(frame.rest, keyName(key));
      } else {
        if (fresh) yield lineBreak(frames.length);
        fresh = false;
        const isKey = frame && !frame.array && key === null;
        if (isKey) key = token;
        yield* valueTokens(token, isKey, value, goal);
        if (token === '{' || token === '[') {
          const array = token === '[';
          frames.push({ array, index: 0, rest: value || null });
          value = array ? step(value, '[0]') : null;
          key = null;
          fresh = true;
        }
      }
    }
  }

  function* valueTokens(token, isKey, value, goal) {
    if (isKey) {
      yield { text: token, kind: 'key' };
      return;
    }
    const kind = /^["]/.test(token) ? 'string' : /^[-0-9]/.test(token) ? 'number' : /^[a-z]/i.test(token) ? 'word' : '';
    if (!goal.mark || goal.found || value !== '') {
      yield { text: token, kind };
      return;
    }
    goal.found = true;
    goal.waits = true;
    yield { text: token, kind: `mark ${kind}` };
    if (token === '{' || token === '[') yield* note(goal);
  }

  /** The reason stands at the end of the marked line. */
  function* note(goal) {
    if (!goal.waits) return;
    goal.waits = false;
    yield { text: `  ◂ ${goal.mark.reason}`, kind: 'note' };
  }

  function* missing(frame, goal, depth) {
    goal.found = true;
    goal.noted = true;
    yield lineBreak(depth);
    yield { text: `◂ ${frame.rest.replace(/^\./, '')}: ${goal.mark.reason}`, kind: 'mark missing' };
  }

  const lineBreak = (depth) => ({ text: `\n${'  '.repeat(Math.min(depth, MAX_INDENT))}` });

  /** The rest of the path after one segment; null if the path leads elsewhere. */
  function step(rest, segment) {
    if (rest == null || segment == null || !rest.startsWith(segment)) return null;
    const left = rest.slice(segment.length);
    if (left === '' || left[0] === '[') return left;
    return left[0] === '.' ? left.slice(1) : null;
  }

  /** A key that does not look like a name is `*` in a path. */
  function keyName(token) {
    const name = /^"([0-9A-Za-z_]{1,64})"$/.exec(token || '');
    return name ? name[1] : '*';
  }

  // ---------------------------------------------------------------- sandbox

  const sandbox = { data: null, timer: 0, reading: false };

  function sandboxSoon() {
    if (!sandbox.timer) sandbox.timer = setTimeout(readSandbox, 250);
  }

  async function readSandbox() {
    clearTimeout(sandbox.timer);
    sandbox.timer = 0;
    if (sandbox.reading || !state.connected) return;
    sandbox.reading = true;
    try {
      sandbox.data = await read('/api/sandbox');
      paintSandbox();
    } catch (error) {
      if (state.connected) say(`Reading the sandbox failed: ${error.message}`, 'bad');
    }
    sandbox.reading = false;
  }

  function paintSandbox() {
    const { data } = sandbox;
    paintClock(data.now);
    setOptions($('emit-type'), data.samples, (name) => name);
    setOptions($('fault-name'), data.faults.map((fault) => fault.name), (name) => name);
    paintFaultArgument();
    $('delivery-count').textContent = count(data.deliveries.length, 'delivery').replace('deliverys', 'deliveries');
    paintWebhooks(data);
    paintDeliveries(data);
  }

  function paintClock(now) {
    const clock = $('clock');
    clock.textContent = clockTime(now).slice(0, 8);
    clock.dateTime = now;
    clock.title = dateTime(now);
  }

  /** Leaves a list alone that did not change: the reader may have it open. */
  function setOptions(select, names, label) {
    const known = [...select.options].map((option) => option.value);
    if (known.length === names.length && known.every((name, index) => name === names[index])) return;
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => make('option', { value: name }, label(name))));
    if (names.includes(chosen)) select.value = chosen;
  }

  const chosenFault = () => (sandbox.data ? sandbox.data.faults.find((fault) => fault.name === $('fault-name').value) : null);

  function paintFaultArgument() {
    const fault = chosenFault();
    const input = $('fault-argument');
    input.hidden = !fault || !fault.argument;
    input.required = !input.hidden;
    $('fault-argument-label').hidden = input.hidden;
    input.placeholder = fault && fault.argument === 'bytes' ? '70000' : '10s';
    $('fault-argument-label').textContent = fault && fault.argument === 'bytes' ? 'Bytes' : 'Time, such as 10s';
  }

  function paintWebhooks(data) {
    const rows = data.webhooks.map((webhook) => make('li', {},
      make('span', { class: `tag ${webhook.active ? 'tag-good' : 'tag-fault'}` }, webhook.active ? 'active' : 'inactive'),
      make('code', {}, webhook.url), make('span', { class: 'hint' }, webhook.subscriptions.length ? `subscribed to ${webhook.subscriptions.join(', ')}` : 'no subscriptions')));
    fillIfChanged($('webhooks'), data.webhooks, () => (rows.length ? make('ul', { class: 'webhooks', 'aria-label': 'Webhooks' }, rows)
      : [make('p', { class: 'empty-detail' }, 'No webhook is registered: nothing is delivered. Register one through the API, or start the sandbox with a receiver:'), command('ptolemy-webhooks sandbox --forward http://127.0.0.1:3000/webhooks/ptolemy')]));
  }

  /** Draws again only if the data changed, so that focus and selection stay. */
  function fillIfChanged(node, data, draw) {
    const signature = JSON.stringify(data);
    if (node.dataset.drawn === signature) return;
    const focusedKey = node.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    node.dataset.drawn = signature;
    fill(node, draw());
    if (!focusedKey) return;
    const again = [...node.querySelectorAll('[data-focus]')].find((other) => other.dataset.focus === focusedKey);
    if (again) again.focus({ preventScroll: true });
  }

  function paintDeliveries(data) {
    const now = Date.parse(data.now);
    fillIfChanged($('deliveries'), data.deliveries, () => (data.deliveries.length ? data.deliveries.map((delivery) => deliveryItem(delivery, now))
      : make('li', { class: 'empty-detail' }, 'No delivery yet. Emit an event above.')));
    for (const node of $('deliveries').querySelectorAll('[data-next]')) {
      node.textContent = `in ${span((Number(node.dataset.next) - now) / 1000)}`;
    }
  }

  const DELIVERY_ICONS = { succeeded: 'accepted', failed: 'rejected', pending: 'unknown' };

  function deliveryItem(delivery, now) {
    const shape = DELIVERY_ICONS[delivery.status] || 'unknown';
    const attempts = delivery.attempts.map((attempt, index) => attemptItem(attempt, index + 1));
    if (delivery.next_at) {
      const next = Date.parse(delivery.next_at);
      attempts.push(make('li', { class: 'next' }, make('span', { class: 'nth' }, attempts.length ? 'next' : 'first'), make('time', { datetime: delivery.next_at }, clockTime(delivery.next_at).slice(0, 8)),
        make('span', { 'data-next': next }, `in ${span((next - now) / 1000)}`)));
    }
    return make('li', { class: 'delivery' },
      make('div', { class: 'delivery-head' }, icon(shape, `v-${shape}`), make('strong', {}, delivery.status),
        make('span', { class: 'name' }, delivery.event_type || '–'), make('code', { title: delivery.event_id }, shortId(delivery.event_id || delivery.id)),
        button('Redeliver', () => redeliver(delivery), { 'data-focus': delivery.id, 'aria-label': `Redeliver ${delivery.event_type || 'delivery'} ${shortId(delivery.id)}` })),
      make('ol', { class: 'attempts', 'aria-label': 'Attempts' }, attempts));
  }

  function attemptItem(attempt, nth) {
    const good = /\b2\d\d\b/.test(attempt.outcome);
    return make('li', {}, make('span', { class: 'nth' }, nth), make('time', { datetime: attempt.at }, clockTime(attempt.at).slice(0, 8)),
      make('span', { class: good ? 's-good' : 's-bad' }, attempt.outcome), attempt.ms != null && make('span', { class: 'hint' }, `${milliseconds(attempt.ms)} ms`),
      attempt.fault && make('span', { class: 'tag tag-fault' }, attempt.fault.replaceAll('_', '-')));
  }

  const redeliver = (delivery) => act('Redelivering', async () => {
    await post('/api/sandbox/redeliver', { delivery_id: delivery.id });
    sandboxSoon();
    return `${delivery.event_type || 'The delivery'} is delivered again`;
  });

  const emit = () => act('Emitting', async () => {
    const type = $('emit-type').value;
    await post('/api/sandbox/emit', { event_type: type });
    sandboxSoon();
    return `${type} was emitted`;
  });

  const setFault = () => act('Setting the fault', async () => {
    const fault = chosenFault();
    if (!fault) return null;
    const times = Number($('fault-times').value);
    await post('/api/sandbox/fault', { name: fault.name, argument: fault.argument ? $('fault-argument').value.trim() : null, times });
    return `The next ${times === 1 ? 'attempt has' : `${times} attempts have`} the fault ${fault.name}`;
  });

  const advance = (by) => act('Moving the clock', async () => {
    const json = by === 'next' ? { to_next_retry: true } : { seconds: Number(by) };
    const { now } = await (await post('/api/sandbox/advance', json)).json();
    paintClock(now);
    sandboxSoon();
    return `The sandbox's clock shows ${dateTime(now)}`;
  });

  // ---------------------------------------------------------------- inbox

  const inbox = { chosen: new Set(), dead: [] };

  async function readInbox() {
    if (!state.connected || state.view !== 'inbox') return;
    try {
      const data = await read('/api/inbox');
      inbox.dead = data.dead.map((entry) => entry.key);
      for (const key of inbox.chosen) if (!inbox.dead.includes(key)) inbox.chosen.delete(key);
      fillIfChanged($('inbox'), data, () => inboxParts(data));
      paintChosen();
    } catch (error) {
      fillIfChanged($('inbox'), { error: error.message }, () => make('p', { class: 'empty-detail' }, `The inbox could not be read: ${error.message}.`));
    }
  }

  function inboxParts(data) {
    const names = ['waiting', 'retrying', 'running', 'dead', 'done'].filter((name) => data.stats[name] != null);
    const tiles = names.map((name) => make('div', { class: name === 'dead' && data.stats[name] ? 'tile tile-bad' : 'tile' }, make('dt', {}, name), make('dd', {}, Number(data.stats[name]).toLocaleString('en'))));
    if (data.oldest_due_s != null) tiles.push(make('div', { class: 'tile' }, make('dt', {}, 'oldest due'), make('dd', {}, span(data.oldest_due_s))));
    return [make('dl', { class: 'tiles' }, tiles), data.dead.length ? deadParts(data) : make('p', { class: 'empty-detail' }, 'No event is dead.')];
  }

  function deadParts(data) {
    const actions = make('div', { class: 'actions' },
      button('Replay', () => replayDead(), { id: 'dead-replay', class: 'primary', 'data-focus': 'dead-replay' }),
      button('Discard', () => discardDead(), { id: 'dead-discard', class: 'danger', 'data-focus': 'dead-discard' }),
      make('span', { class: 'hint', id: 'dead-count' }));
    const cap = data.dead.length < data.stats.dead ? `the first ${data.dead.length} of ${data.stats.dead}` : `${data.dead.length}`;
    return make('section', { 'aria-labelledby': 'dead-heading' }, make('h3', { id: 'dead-heading' }, `Dead events: ${cap}`), actions, deadTable(data.dead));
  }

  const DEAD_COLUMNS = ['Event type', 'Event id', 'Attempts', 'Last error', 'Received', 'Dead since'];

  /** Narrow screens show the cells below one another, so the roles are written down. */
  function deadTable(dead) {
    const all = make('input', { type: 'checkbox', 'aria-label': 'Select all', 'data-focus': 'all', id: 'dead-all' });
    all.addEventListener('change', () => {
      inbox.chosen = new Set(all.checked ? inbox.dead : []);
      paintChosen();
    });
    const head = make('tr', { role: 'row' }, make('th', { scope: 'col', role: 'columnheader' }, all), DEAD_COLUMNS.map((name) => make('th', { scope: 'col', role: 'columnheader' }, name)));
    return make('table', { class: 'dead', role: 'table', 'aria-labelledby': 'dead-heading' }, make('thead', { role: 'rowgroup' }, head), make('tbody', { role: 'rowgroup' }, dead.map(deadRow)));
  }

  function deadRow(entry) {
    const box = make('input', { type: 'checkbox', 'aria-label': `Select ${entry.event_type || 'event'} ${entry.event_id || entry.key}`, 'data-focus': `k:${entry.key}` });
    box.dataset.key = entry.key;
    box.addEventListener('change', () => {
      if (box.checked) inbox.chosen.add(entry.key);
      else inbox.chosen.delete(entry.key);
      paintChosen();
    });
    const cells = [entry.event_type || '–', make('code', { title: entry.event_id }, entry.event_id ? shortId(entry.event_id) : '–'), entry.attempts, entry.last_error || '–', dateTime(entry.received_at).slice(0, 19), dateTime(entry.dead_since).slice(0, 19)];
    return make('tr', { role: 'row' }, make('td', { role: 'cell', class: 'pick' }, box), cells.map((cell, index) => make('td', { role: 'cell', 'data-name': DEAD_COLUMNS[index] }, cell)));
  }

  function paintChosen() {
    const size = inbox.chosen.size;
    for (const box of $('inbox').querySelectorAll('input[data-key]')) box.checked = inbox.chosen.has(box.dataset.key);
    if (!$('dead-all')) return;
    $('dead-all').checked = size > 0 && size === inbox.dead.length;
    $('dead-all').indeterminate = size > 0 && size < inbox.dead.length;
    $('dead-replay').disabled = size === 0;
    $('dead-discard').disabled = size === 0;
    $('dead-count').textContent = size === 0 ? 'Select events to replay or discard.' : `${size} selected`;
  }

  const replayDead = () => act('Replaying', async () => {
    const { count: number } = await (await post('/api/inbox/replay', { keys: [...inbox.chosen] })).json();
    await readInbox();
    return `${count(number, 'event')} will be handled again`;
  });

  function discardDead() {
    const keys = [...inbox.chosen];
    $('confirm-text').textContent = `${count(keys.length, 'dead event')} will be removed for good. No worker will handle them.`;
    openDialog('confirm');
    $('confirm-no').focus();
    $('confirm-yes').onclick = () => {
      $('confirm').close();
      act('Discarding', async () => {
        const { count: number } = await (await post('/api/inbox/discard', { keys })).json();
        await readInbox();
        return `${count(number, 'event')} discarded`;
      });
    };
  }

  // ---------------------------------------------------------------- views, theme, dialogs

  function show(view) {
    state.view = view;
    document.body.dataset.view = view;
    for (const name of ['requests', 'sandbox', 'inbox']) $(`view-${name}`).hidden = name !== view;
    for (const tab of $('views').children) {
      if (tab.dataset.view === view) tab.setAttribute('aria-current', 'page');
      else tab.removeAttribute('aria-current');
    }
    if (view === 'inbox') readInbox();
    if (view === 'sandbox') readSandbox();
  }

  const THEMES = ['system', 'light', 'dark'];

  function setTheme(theme) {
    const known = THEMES.includes(theme) ? theme : 'system';
    document.documentElement.dataset.theme = known;
    fill($('theme'), icon('theme'), ' ', make('span', { class: 'theme-label' }, 'Theme: '), known);
    $('theme').setAttribute('aria-label', `Theme: ${known}`);
    sessionStorage.setItem('ptolemy-theme', known);
  }

  const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);

  function openDialog(id) {
    if (!$(id).open) $(id).showModal();
  }

  function clearFilter() {
    $('filters').reset();
    readFilter();
    $('filter-text').focus();
  }

  function readFilter() {
    filter.text = $('filter-text').value.trim().toLowerCase();
    filter.type = $('filter-type').value;
    filter.verdict = $('filter-verdict').value;
    filter.status = $('filter-status').value;
    paint();
  }

  // ---------------------------------------------------------------- keys

  const isField = (node) => node.matches('input, select, textarea');

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') return onEscape(event);
    if (isField(event.target)) return;
    const row = event.target.closest('#rows > .row');
    const handled = row ? rowKey(event.key, row) : false;
    if (handled || ($('single-keys').checked && singleKey(event.key))) event.preventDefault();
  }

  function onEscape(event) {
    if (state.view !== 'requests') return;
    if (event.target.closest('#filters')) {
      if (isFiltered()) clearFilter();
      else leaveDetail();
    } else if (event.target.closest('#detail') || document.body.dataset.pane === 'detail') {
      leaveDetail();
    }
  }

  function rowKey(key, row) {
    const rows = rowsInOrder();
    const at = rows.indexOf(row);
    const page = 10;
    const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + page, PageUp: at - page };
    if (Object.hasOwn(targets, key)) {
      focusRow(rows[Math.min(rows.length - 1, Math.max(0, targets[key]))]);
      return true;
    }
    if (key === 'ArrowRight') return setOpen(row, true);
    if (key === 'ArrowLeft') return closeOrParent(row);
    if (key !== 'Enter' && key !== ' ') return false;
    select(Number(row.dataset.seq));
    enterDetail();
    return true;
  }

  function singleKey(key) {
    const views = { 1: 'requests', 2: 'sandbox', 3: 'inbox' };
    const tab = [...$('views').children].find((other) => other.dataset.view === views[key]);
    if (key === '?') openDialog('help');
    else if (tab && !tab.hidden) show(tab.dataset.view);
    else if (state.view !== 'requests') return false;
    else if (key === '/') $('filter-text').focus();
    else if (key === 'j') move(1);
    else if (key === 'k') move(-1);
    else return false;
    return true;
  }

  // ---------------------------------------------------------------- start

  function onRowClick(event) {
    const row = event.target.closest('#rows > .row');
    if (!row) return;
    if (event.target.closest('.twisty') && setOpen(row, row.getAttribute('aria-expanded') !== 'true')) return;
    row.focus({ preventScroll: true });
    select(Number(row.dataset.seq));
    if (matchMedia('(max-width: 899px)').matches) enterDetail();
  }

  function listenList() {
    $('rows').addEventListener('click', onRowClick);
    $('list').addEventListener('scroll', () => { if ($('list').scrollTop <= 4 && state.newer) paintSoon(); }, { passive: true });
    $('newer').addEventListener('click', () => {
      $('list').scrollTop = 0;
      paint();
      focusRow(rowsInOrder()[0]);
    });
    $('filters').addEventListener('input', readFilter);
    $('filters').addEventListener('submit', (event) => event.preventDefault());
    $('filters').addEventListener('reset', () => setTimeout(readFilter));
    $('back').addEventListener('click', leaveDetail);
    $('status-show').addEventListener('click', () => reveal(Number($('status-show').dataset.seq)));
    $('skip').addEventListener('click', (event) => {
      event.preventDefault();
      show('requests');
      (document.querySelector('#rows > [tabindex="0"]') || $('main')).focus();
    });
  }

  function listenForms() {
    const onSubmit = (id, action) => $(id).addEventListener('submit', (event) => {
      event.preventDefault();
      action();
    });
    onSubmit('emit-form', emit);
    onSubmit('fault-form', setFault);
    $('fault-name').addEventListener('change', paintFaultArgument);
    for (const node of document.querySelectorAll('[data-advance]')) node.addEventListener('click', () => advance(node.dataset.advance));
    for (const tab of $('views').children) tab.addEventListener('click', () => show(tab.dataset.view));
  }

  function listenDialogs() {
    $('theme').addEventListener('click', nextTheme);
    $('help-open').addEventListener('click', () => openDialog('help'));
    $('help-close').addEventListener('click', () => $('help').close());
    $('copy-close').addEventListener('click', () => $('copy').close());
    $('confirm-no').addEventListener('click', () => $('confirm').close());
    $('single-keys').addEventListener('change', () => sessionStorage.setItem('ptolemy-keys', $('single-keys').checked ? 'on' : 'off'));
    fill($('legend'), Object.entries(VERDICTS).map(([verdict, [word, text]]) => make('div', {}, make('dt', {}, verdictIcon(verdict), word), make('dd', {}, text))));
  }

  function start() {
    setTheme(sessionStorage.getItem('ptolemy-theme'));
    $('single-keys').checked = sessionStorage.getItem('ptolemy-keys') !== 'off';
    listenList();
    listenForms();
    listenDialogs();
    document.addEventListener('keydown', onKey);
    $('retry-now').addEventListener('click', connect);
    addEventListener('online', () => { if (!state.connected && state.token) connect(); });
    document.addEventListener('visibilitychange', shownOrHidden);
    // Someone pastes the address of a new run into the tab of an old one: only the fragment
    // changes.
    addEventListener('hashchange', () => {
      if (!takeToken()) return;
      stream.failures = 0;
      connect();
    });
    setInterval(() => {
      if (document.hidden) return;
      if (state.hello && state.hello.sandbox) readSandbox();
      readInbox();
    }, REFRESH_MS);
    closeDetail();
    takeToken();
    connect();
  }

  start();
})();
