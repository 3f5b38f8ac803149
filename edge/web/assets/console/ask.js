// Questions and their cited answers.
import { call, send } from "./api.js";
import { alertBox, confirmed, dialog, el, svg, t } from "./dom.js";
import { ask } from "./stream.js";

const THUMB = "M7 11v9H4v-9zM7 11l4-8c1.5 0 2.5 1 2.5 2.5V9h5a2 2 0 0 1 2 2.3l-1.2 7a2 2 0 0 1-2 1.7H7"; // turned over: down

/// The passage that a citation names, as it stands in the index.
function openPassage(source) {
  dialog(source.file_name, el("p", { className: "dim" }, `${t("ページ", "Page")} ${source.page ?? "–"}`), el("blockquote", { tabIndex: 0 }, source.chunk_text));
}

function votes(message) {
  const box = el("div", { className: "votes" });
  const vote = async (rating) => {
    const reason = rating === "down" ? prompt(t("どこが良くありませんでしたか？（任意）", "What was wrong? (optional)")) : null;
    await call("POST", `/api/v1/chats/messages/${message.id}/feedback`, { rating, ...(reason && { reason }) });
    for (const button of box.children) button.setAttribute("aria-pressed", String(button.value === rating));
  };
  for (const [rating, label] of [["up", t("役に立った", "Helpful")], ["down", t("役に立たなかった", "Not helpful")]])
    box.append(el("button", { value: rating, "aria-label": label, "aria-pressed": String(message.feedback?.rating === rating), onclick: () => vote(rating) }, svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: THUMB }))));
  return box;
}

/// Marks such as [1] become buttons.
function cited(text, sources) {
  return text.split(/(\[\d+\])/).map((part) => {
    const number = Number(part.slice(1, -1));
    const source = /^\[\d+\]$/.test(part) && sources[number - 1];
    return source ? el("button", { className: "cite", "aria-label": `${t("出典", "Source")} ${number}: ${source.file_name}`, onclick: () => openPassage(source) }, String(number)) : part;
  });
}

function bubble(message) {
  const line = el("div", { className: `said ${message.role}` });
  if (message.role === "user") line.append(message.content);
  else line.append(...cited(message.content, message.sources || []), votes(message));
  return line;
}

export async function askView(main) {
  let conversation = null;
  const log = el("div", { className: "log", role: "log", "aria-live": "polite" });
  const list = el("nav", { className: "list", "aria-label": t("会話", "Conversations") });
  const input = el("textarea", { rows: 2, maxLength: 1000, required: true, "aria-label": t("質問", "Question"), placeholder: t("資料について質問する", "Ask about your documents"),
    onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); } } });
  const button = el("button", { className: "main" }, t("質問する", "Ask"));
  const empty = () => el("p", { className: "empty" }, t("アップロードした資料から、出典つきで答えます。", "Answers come from your documents, with their sources."));

  const open = async (id) => {
    const whole = await call("GET", `/api/v1/chats/${id}`);
    conversation = id;
    log.replaceChildren(...whole.messages.map(bubble));
    await refresh();
  };
  const fresh = () => { conversation = null; log.replaceChildren(empty()); input.focus(); refresh(); };
  const refresh = async () => {
    const found = await call("GET", "/api/v1/chats?limit=50");
    list.replaceChildren(...found.map((one) => el("button", { title: one.title, "aria-current": String(one.conversation_id === conversation), onclick: () => open(one.conversation_id) }, one.title || "–")));
    tools.hidden = !conversation;
  };
  const download = async (format) => {
    const response = await send("GET", `/api/v1/chats/${conversation}/export?format=${format}`);
    const link = el("a", { href: URL.createObjectURL(await response.blob()), download: `conversation.${format === "json" ? "json" : "md"}` });
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const remove = async () => {
    if (!await confirmed(t("この会話を削除しますか？", "Delete this conversation?"), t("削除", "Delete"))) return;
    await call("DELETE", `/api/v1/chats/${conversation}`);
    fresh();
  };
  const tools = el("div", { className: "row", hidden: true }, el("button", { className: "plain", onclick: () => download("markdown") }, "Markdown"), el("button", { className: "plain", onclick: () => download("json") }, "JSON"),
    el("button", { className: "plain danger", onclick: remove }, t("会話を削除", "Delete conversation")));

  const submit = async (event) => {
    event.preventDefault();
    const question = input.value.trim();
    if (!question) return;
    input.value = "";
    button.disabled = true;
    log.querySelector(".empty")?.remove();
    const said = el("span"), note = el("div", { className: "dim" }, t("資料を調べています…", "Looking it up…"));
    const line = el("div", { className: "said assistant", "aria-busy": "true" }, said, note);
    log.append(bubble({ role: "user", content: question }), line);
    line.scrollIntoView({ block: "nearest" });
    try {
      const body = { query: question, ...(conversation && { session_id: conversation }) };
      const result = await ask((headers) => send("POST", "/api/v1/chats/rag", body, headers), {
        delta: (data) => { note.textContent = ""; said.append(data.text); },
        restart: () => said.replaceChildren(),
        reconnecting: () => { note.textContent = t("接続が切れました。再接続しています…", "The connection was lost. Reconnecting…"); },
      });
      conversation = result.conversation_id;
      line.replaceWith(bubble({ id: result.message_id, role: "assistant", content: result.answer, sources: result.sources }));
      await refresh();
    } catch (error) {
      line.replaceChildren(alertBox(error));
    } finally {
      button.disabled = false;
      input.focus();
    }
  };
  const form = el("form", { onsubmit: submit }, input, el("div", { className: "row" }, el("span", { className: "grow" }), button));
  log.append(empty());
  main.replaceChildren(el("h1", {}, t("質問", "Ask")), el("div", { className: "ask" },
    el("aside", { className: "card" }, el("button", { className: "plain", onclick: fresh }, t("＋ 新しい会話", "+ New conversation")), list), el("section", {}, log, form, tools)));
  await refresh();
}
