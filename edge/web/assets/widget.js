// The chat widget: <script src="https://…/widget.js" data-api-key="mrw_…" async></script>
// Attributes: data-lang (ja, en; default the page's), data-title, data-greeting, data-position (right, left), data-color, data-theme
// (auto, light, dark). A page may also set --millrace-color, --millrace-radius and --millrace-font. Everything lives in a shadow root;
// what the server says becomes text and nothing else.

const script = document.currentScript;
const options = script.dataset;
const base = new URL(script.src).origin;
const STORE = "millrace-widget";

const WORDS = {
  ja: { open: "チャットを開く", close: "閉じる", title: "お問い合わせ", greeting: "資料をもとにお答えします。ご質問をどうぞ。", ask: "質問を入力", send: "送信", you: "あなた", bot: "回答",
        source: "出典", page: "ページ", thinking: "回答を作成しています…", reconnecting: "接続が切れました。再接続しています…", failed: "回答できませんでした。", again: "もう一度", busy: (s) => `ご利用が集中しています。${s}秒後にもう一度お試しください。`,
        up: "役に立った", down: "役に立たなかった", thanks: "ありがとうございます。", fresh: "新しい会話" },
  en: { open: "Open chat", close: "Close", title: "Ask us", greeting: "I answer from our documents. What would you like to know?", ask: "Your question", send: "Send", you: "You", bot: "Answer",
        source: "Source", page: "page", thinking: "Looking it up…", reconnecting: "The connection was lost. Reconnecting…", failed: "There was no answer.", again: "Try again", busy: (s) => `Many people are asking. Please try again in ${s} seconds.`,
        up: "Helpful", down: "Not helpful", thanks: "Thank you.", fresh: "New conversation" },
};
const lang = (options.lang || document.documentElement.lang || navigator.language).startsWith("ja") ? "ja" : "en";
const t = WORDS[lang];

const STYLE = `
:host { all: initial; --c: var(--millrace-color, ${CSS.supports("color", options.color || "") ? options.color : "#1f5fbf"}); --r: var(--millrace-radius, 14px);
  --bg: #fff; --fg: #1c2330; --soft: #f2f4f8; --line: #d8dde6; --dim: #586174; font-family: var(--millrace-font, system-ui, sans-serif); }
:host([data-theme=dark]) { --bg: #171b23; --fg: #e8ebf1; --soft: #232935; --line: #39414f; --dim: #a5aebd; }
@media (prefers-color-scheme: dark) { :host([data-theme=auto]) { --bg: #171b23; --fg: #e8ebf1; --soft: #232935; --line: #39414f; --dim: #a5aebd; } }
* { box-sizing: border-box; font: inherit; }
button { cursor: pointer; border: 0; background: none; color: inherit; padding: 0; }
:focus-visible { outline: 3px solid var(--c); outline-offset: 2px; }
.launch { position: fixed; bottom: 20px; inset-inline-end: 20px; width: 56px; height: 56px; border-radius: 50%; background: var(--c); color: #fff; box-shadow: 0 6px 20px #0004; display: grid; place-items: center; z-index: 2147483000; }
.launch svg { width: 26px; height: 26px; }
.panel { position: fixed; bottom: 88px; inset-inline-end: 20px; width: min(380px, calc(100vw - 24px)); height: min(600px, calc(100dvh - 110px)); background: var(--bg); color: var(--fg); border: 1px solid var(--line); border-radius: var(--r); box-shadow: 0 16px 48px #0003; display: flex; flex-direction: column; overflow: hidden; z-index: 2147483000; font-size: 15px; line-height: 1.6; }
.left .launch, .left .panel { inset-inline: 20px auto; }
[hidden] { display: none !important; }
header { display: flex; align-items: center; gap: 8px; padding: 12px 16px; background: var(--c); color: #fff; }
header h2 { flex: 1; margin: 0; font-size: 16px; font-weight: 600; }
header button { border-radius: 6px; padding: 4px 8px; font-size: 13px; }
header button:focus-visible { outline-color: #fff; }
.log { flex: 1; overflow-y: auto; padding: 16px; display: flex; flex-direction: column; gap: 12px; overscroll-behavior: contain; }
.said { max-width: 88%; padding: 10px 14px; border-radius: 14px; white-space: pre-wrap; overflow-wrap: anywhere; }
.you { align-self: flex-end; background: var(--c); color: #fff; border-end-end-radius: 4px; }
.bot { align-self: flex-start; background: var(--soft); border-end-start-radius: 4px; }
.note { color: var(--dim); font-size: 13px; }
.cite { display: inline-block; min-width: 22px; padding: 0 6px; margin: 0 2px; border-radius: 11px; background: var(--bg); border: 1px solid var(--line); font-size: 12px; line-height: 20px; }
.cite[aria-expanded=true] { background: var(--c); color: #fff; }
.quote { margin: 8px 0 0; padding: 8px 12px; border-inline-start: 3px solid var(--c); background: var(--bg); border-radius: 4px; font-size: 13px; max-height: 200px; overflow-y: auto; }
.quote cite { display: block; color: var(--dim); font-style: normal; }
.votes { display: flex; gap: 4px; margin-top: 6px; }
.votes button { padding: 2px 8px; border-radius: 8px; font-size: 13px; border: 1px solid var(--line); color: var(--fg); background: var(--bg); }
.votes svg { width: 16px; height: 16px; display: block; }
.votes button + button svg { transform: rotate(180deg); }
.votes button[aria-pressed=true] { background: var(--c); color: #fff; }
form { display: flex; gap: 8px; padding: 12px; border-top: 1px solid var(--line); }
textarea { flex: 1; resize: none; border: 1px solid var(--line); border-radius: 10px; padding: 9px 12px; background: var(--bg); color: var(--fg); min-height: 42px; max-height: 120px; }
form button { background: var(--c); color: #fff; border-radius: 10px; padding: 0 16px; font-weight: 600; }
form button:disabled { opacity: .5; cursor: default; }
.hide { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (prefers-reduced-motion: no-preference) { .panel { animation: rise .16s ease-out; } @keyframes rise { from { opacity: 0; transform: translateY(8px); } } }
@media (max-width: 480px) { .panel { inset: 0; width: 100vw; height: 100dvh; border-radius: 0; border: 0; } }
`;

/// An element; strings among the children are text.
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "form") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 2, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const line = document.createElementNS(svg.namespaceURI, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function post(path, body, headers, signal) {
  return fetch(base + path, { method: "POST", credentials: "omit", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-API-Key": options.apiKey, ...headers } });
}

const THUMB = "M7 11v9H4v-9zM7 11l4-8c1.5 0 2.5 1 2.5 2.5V9h5a2 2 0 0 1 2 2.3l-1.2 7a2 2 0 0 1-2 1.7H7"; // turned over: down
const saved = () => { try { return JSON.parse(sessionStorage.getItem(STORE)) || {}; } catch { return {}; } };
const save = (state) => { try { sessionStorage.setItem(STORE, JSON.stringify(state)); } catch { /* a page without storage forgets */ } };

class Widget {
  constructor() {
    const host = el("div", { id: "millrace-widget" });
    host.dataset.theme = ["light", "dark"].includes(options.theme) ? options.theme : "auto";
    host.lang = lang;
    this.root = host.attachShadow({ mode: "open" });
    this.log = el("div", { className: "log", role: "log", "aria-live": "polite", tabIndex: 0, "aria-label": t.title });
    this.input = el("textarea", { rows: 1, maxLength: 1000, required: true, id: "question", onkeydown: (event) => this.key(event) });
    this.button = el("button", { type: "submit" }, t.send);
    this.panel = el("section", { className: "panel", hidden: true, role: "dialog", "aria-label": options.title || t.title, onkeydown: (event) => this.trap(event) },
      el("header", {}, el("h2", {}, options.title || t.title), el("button", { type: "button", onclick: () => this.fresh() }, t.fresh), el("button", { type: "button", "aria-label": t.close, onclick: () => this.toggle(false) }, "✕")),
      this.log,
      el("form", { onsubmit: (event) => { event.preventDefault(); this.submit(); } }, el("label", { className: "hide", htmlFor: "question" }, t.ask), this.input, this.button));
    this.launch = el("button", { className: "launch", type: "button", "aria-label": t.open, "aria-expanded": "false", onclick: () => this.toggle(this.panel.hidden) }, icon("M4 5h16v11H9l-5 4z"));
    this.input.placeholder = t.ask;
    this.root.append(el("style", {}, STYLE), el("div", { className: options.position === "left" ? "left" : "" }, this.panel, this.launch));
    this.state = saved();
    this.greet();
    for (const { question, result } of this.state.turns || []) { this.say("you", question); this.show(this.say("bot", ""), result); }
    document.body.append(host);
  }

  greet() { this.say("bot", options.greeting || t.greeting); }

  toggle(open) {
    this.panel.hidden = !open;
    this.launch.setAttribute("aria-expanded", String(open));
    (open ? this.input : this.launch).focus();
  }

  fresh() {
    this.abort?.abort();
    this.state = {};
    save(this.state);
    this.log.replaceChildren();
    this.greet();
    this.input.focus();
  }

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.submit(); }
  }

  trap(event) {
    if (event.key === "Escape") return this.toggle(false);
    if (event.key !== "Tab") return;
    const stops = [...this.panel.querySelectorAll("button:not(:disabled), textarea, [tabindex='0']")];
    const [first, last] = [stops[0], stops[stops.length - 1]];
    const at = this.root.activeElement;
    if (event.shiftKey && at === first) { event.preventDefault(); last.focus(); }
    else if (!event.shiftKey && at === last) { event.preventDefault(); first.focus(); }
  }

  say(who, text) {
    const line = el("div", { className: `said ${who}` }, el("span", { className: "hide" }, `${t[who]}: `), el("span", { className: "text" }, text));
    this.log.append(line);
    this.log.scrollTop = this.log.scrollHeight;
    return line;
  }

  note(line, text) {
    line.querySelector(".note")?.remove();
    if (text) line.append(el("div", { className: "note" }, text));
  }

  /// The whole answer: marks become buttons that open what they quote.
  show(line, result) {
    const quote = el("blockquote", { className: "quote", hidden: true, tabIndex: 0 });
    const text = line.querySelector(".text");
    text.replaceChildren();
    let open = null;
    for (const part of result.answer.split(/(\[\d+\])/)) {
      const source = /^\[\d+\]$/.test(part) && result.sources[Number(part.slice(1, -1)) - 1];
      if (!source) { text.append(part); continue; }
      const button = el("button", { className: "cite", type: "button", "aria-expanded": "false", "aria-label": `${t.source} ${part.slice(1, -1)}: ${source.file_name}`, onclick: () => {
        const again = open === button;
        open?.setAttribute("aria-expanded", "false");
        open = again ? null : button;
        quote.hidden = again;
        button.setAttribute("aria-expanded", String(!again));
        quote.replaceChildren(source.chunk_text, el("cite", {}, `${source.file_name}${source.page ? ` · ${t.page} ${source.page}` : ""}`));
      } }, part.slice(1, -1));
      text.append(button);
    }
    line.append(quote);
    if (result.message_id) line.append(this.votes(result));
  }

  votes(result) {
    const box = el("div", { className: "votes" });
    for (const rating of ["up", "down"]) {
      box.append(el("button", { type: "button", "aria-pressed": "false", "aria-label": t[rating], onclick: async (event) => {
        const button = event.currentTarget;
        const done = await post("/api/v1/chats/widget/feedback", { message_id: result.message_id, conversation_id: result.conversation_id, rating }).catch(() => null);
        if (!done?.ok) return;
        for (const other of box.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        this.note(box.parentElement, t.thanks);
      } }, icon(THUMB)));
    }
    return box;
  }

  async submit() {
    const question = this.input.value.trim();
    if (!question || this.button.disabled) return;
    this.input.value = "";
    this.say("you", question);
    await this.answer(question);
  }

  async answer(question) {
    const line = this.say("bot", "");
    const text = line.querySelector(".text");
    this.button.disabled = true;
    this.log.setAttribute("aria-busy", "true");
    this.abort = new AbortController();
    const body = { query: question, ...(this.state.conversation && { session_id: this.state.conversation }) };
    this.note(line, t.thinking);
    try {
      const result = await ask((headers) => post("/api/v1/chats/widget/chat", body, headers, this.abort.signal), {
        delta: (data) => { this.note(line); text.append(data.text); this.log.scrollTop = this.log.scrollHeight; },
        restart: () => { text.replaceChildren(); this.note(line, t.thinking); },
        reconnecting: () => this.note(line, t.reconnecting),
      }, this.abort.signal);
      this.note(line);
      this.show(line, result);
      this.state.conversation = result.conversation_id;
      this.state.turns = [...(this.state.turns || []), { question, result }].slice(-20);
      save(this.state);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      text.replaceChildren();
      this.note(line, error.status === 429 && error.retryAfter < 600 ? t.busy(error.retryAfter) : `${t.failed} ${error instanceof Refusal ? error.message : ""}`);
      line.append(el("button", { className: "cite", type: "button", onclick: () => { line.remove(); this.answer(question); } }, t.again));
    } finally {
      this.button.disabled = false;
      this.log.removeAttribute("aria-busy");
      this.log.scrollTop = this.log.scrollHeight;
    }
  }
}

if (!options.apiKey) console.error("widget.js: the script element needs data-api-key");
else if (document.body) new Widget();
else addEventListener("DOMContentLoaded", () => new Widget());
