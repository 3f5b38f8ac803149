// Elements, words and times. Strings among an element's children are text: what the server says never becomes markup.

export const lang = (localStorage.getItem("millrace-lang") || navigator.language).startsWith("ja") ? "ja" : "en";
document.documentElement.lang = lang;
/// One of two languages.
export const t = (ja, en) => (lang === "ja" ? ja : en);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list" && name !== "form") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const when = (time) => new Date(time).toLocaleString(lang, { dateStyle: "medium", timeStyle: "short" });
export const count = (number) => number.toLocaleString(lang);
export const usd = (number) => number.toLocaleString(lang, { style: "currency", currency: "USD", maximumFractionDigits: number < 1 ? 4 : 2 });
export const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 1 << 20 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / (1 << 20)).toFixed(1)} MiB`);
export const chip = (state) => el("span", { className: `chip ${state}` }, state);
export const alertBox = (error) => el("div", { className: "alert", role: "alert" }, error.status === 404 && !error.code ? t("この機能はこのサーバーにありません。", "This server does not have this feature.") : error.message);

/// Runs an act of a form or button; a refusal is shown above it.
export const acting = (box, act) => async (event) => {
  event?.preventDefault();
  box.querySelector(".alert")?.remove();
  try { await act(event); } catch (error) { box.prepend(alertBox(error)); }
};

export function table(heads, rows) {
  const cell = (kind, content, number) => el(kind, { ...(kind === "th" && { scope: "col" }), className: number ? "number" : "" }, content);
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": t("表", "Table") }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map(([text, number]) => cell("th", text, number)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content, column) => cell("td", content, heads[column][1])))))));
}

export function dialog(title, ...content) {
  const box = el("dialog", { "aria-label": title, onclose: () => box.remove() }, el("h2", {}, title), ...content,
    el("div", { className: "row" }, el("button", { className: "main", autofocus: true, onclick: () => box.close() }, t("閉じる", "Close"))));
  document.body.append(box);
  box.showModal();
  return box;
}

export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const box = el("dialog", { "aria-label": question, onclose: () => { resolve(box.returnValue === "yes"); box.remove(); } }, el("p", {}, question),
      el("div", { className: "row" }, el("button", { className: "danger", onclick: () => box.close("yes") }, yes), el("button", { autofocus: true, onclick: () => box.close("no") }, t("やめる", "Cancel"))));
    document.body.append(box);
    box.showModal();
  });
}
