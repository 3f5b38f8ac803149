// The console: sign in, and one view per hash. A view is a function of its place on the page.
import { call, signedIn, signIn, signOut } from "./api.js";
import { askView } from "./ask.js";
import { keysView, membersView, settingsView } from "./company.js";
import { documentsView } from "./documents.js";
import { alertBox, el, lang, t } from "./dom.js";
import { indexView } from "./generations.js";
import { jobsView } from "./jobs.js";
import { usageView } from "./usage.js";

const VIEWS = {
  documents: [t("資料", "Documents"), documentsView], ask: [t("質問", "Ask"), askView], usage: [t("利用状況", "Usage"), usageView], jobs: [t("処理", "Jobs"), jobsView],
  index: [t("索引", "Index"), indexView, true], keys: [t("キー", "Keys"), keysView], members: [t("メンバー", "Members"), membersView, true], settings: [t("設定", "Settings"), settingsView, true],
};
const app = document.getElementById("app");
let leaving = new AbortController();

const language = () => el("button", { className: "plain", onclick: () => { localStorage.setItem("millrace-lang", lang === "ja" ? "en" : "ja"); location.reload(); } }, lang === "ja" ? "English" : "日本語");

function signInPage() {
  leaving.abort();
  const form = el("form", { className: "card", onsubmit: async (event) => {
    event.preventDefault();
    form.querySelector(".alert")?.remove();
    const data = new FormData(form);
    try { await signIn(data.get("email"), data.get("password")); await start(); } catch (error) { form.prepend(alertBox(error)); }
  } }, el("label", {}, t("メールアドレス", "E-mail"), el("input", { name: "email", type: "email", autocomplete: "username", required: true })),
    el("label", {}, t("パスワード", "Password"), el("input", { name: "password", type: "password", autocomplete: "current-password", required: true })), el("button", { className: "main" }, t("サインイン", "Sign in")));
  app.replaceChildren(el("main", { className: "sign" }, el("h1", {}, "Millrace Knowledge"), form, language()));
}

async function start() {
  const me = await call("GET", "/api/v1/auth/me");
  const admin = me.role === "ADMIN" || me.is_owner;
  const main = el("main", { tabIndex: -1 });
  const links = Object.entries(VIEWS).filter(([, view]) => admin || !view[2]).map(([name, [title]]) => el("a", { href: `#/${name}` }, title));
  app.replaceChildren(el("div", { className: "shell" }, el("nav", { className: "side", "aria-label": t("メニュー", "Menu") }, el("div", { className: "brand" }, "Millrace", el("small", {}, me.email)), links,
    el("div", { className: "last" }, language(), el("button", { className: "plain", onclick: () => { signOut(); signInPage(); } }, t("サインアウト", "Sign out")))), main));
  const show = async () => {
    const name = location.hash.slice(2).split("?")[0];
    const view = VIEWS[name] && (admin || !VIEWS[name][2]) ? name : "documents";
    for (const link of links) link.toggleAttribute("aria-current", false);
    links.find((link) => link.hash === `#/${view}`).setAttribute("aria-current", "page");
    leaving.abort();
    leaving = new AbortController();
    document.title = `${VIEWS[view][0]} · Millrace`;
    main.replaceChildren(el("p", { className: "dim", role: "status" }, t("読み込んでいます…", "Loading…")));
    try { await VIEWS[view][1](main, { me, admin, signal: leaving.signal }); } catch (error) { main.replaceChildren(alertBox(error)); }
  };
  window.onhashchange = show;
  await show();
}

addEventListener("signedout", signInPage);
if (signedIn()) start().catch(signInPage);
else signInPage();
