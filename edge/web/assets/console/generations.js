// The index: made anew as a whole, the questions that judge it, and the way back.
import { call } from "./api.js";
import { acting, chip, confirmed, count, el, t, table, when } from "./dom.js";

const LIVE = 1500; // ms between two looks while one is being built

const score = (value) => (value === null ? "–" : value.toFixed(2));

export async function indexView(main, { me, signal }) {
  const tenant = `/api/v1/tenants/${me.tenant_id}`;
  const built = el("section", { className: "card" }), asked = el("section", { className: "card" });
  let timer = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));

  const again = acting(built, async () => { await call("POST", `${tenant}/reindex`); await refresh(); });
  const activate = (one) => acting(built, async () => {
    if (!await confirmed(t("この索引に切り替えますか？", "Search this index from now on?"), t("切り替える", "Switch"))) return;
    await call("POST", `${tenant}/index-generations/${one.id}/activate`);
    await refresh();
  });
  const row = (one) => [when(one.created_at),
    el("div", {}, chip(one.status), one.reason ? el("div", { className: "dim" }, one.reason) : null),
    one.job_id ? `${count(one.files_done)} / ${count(one.files_total)}` : "", one.score_after === null ? "" : `${score(one.score_before)} → ${score(one.score_after)}`,
    one.can_activate ? el("button", { className: "plain", onclick: activate(one) }, t("切り替える", "Switch to it")) : ""];
  const refresh = async () => {
    clearTimeout(timer);
    const found = await call("GET", `${tenant}/index-generations`);
    const building = found.some((one) => one.status === "building");
    built.replaceChildren(el("h2", {}, t("作り直し", "Made anew")), el("p", { className: "dim" }, t("すべての資料を読み直して新しい索引を作ります。できあがるまで今の索引で検索され、質問への答えが悪くなる場合は切り替わりません。", "Every document is read again into a new index. Until it is complete the present one is searched; if it answers the questions below worse, the present one stays.")),
      el("button", { className: "main", disabled: building, onclick: again }, building ? t("作成中…", "Being built…") : t("索引を作り直す", "Re-index everything")),
      found.length ? table([[t("開始", "Started")], [t("状態", "Status")], [t("資料", "Documents"), true], ["recall@5"], [""]], found.map(row)) : "");
    if (building && !signal.aborted) timer = setTimeout(refresh, LIVE);
  };

  const questions = async () => {
    const [{ questions: stored }, files] = [await call("GET", `${tenant}/question-set`), await call("GET", "/api/v1/contents?limit=1000")];
    const title = (id) => files.find((file) => file.id === id)?.title || t("（削除済み）", "(deleted)");
    const store = async (next) => { await call("PUT", `${tenant}/question-set`, { questions: next }); await questions(); };
    // What was deleted cannot be stored again.
    const alive = stored.map((one) => ({ ...one, file_ids: one.file_ids.filter((id) => files.some((file) => file.id === id)) })).filter((one) => one.file_ids.length);
    const form = el("form", { onsubmit: acting(asked, async () => { const data = new FormData(form); await store([...alive, { question: data.get("question"), file_ids: [data.get("file")] }]); }) },
      el("div", { className: "row" }, el("label", { className: "grow" }, t("質問", "Question"), el("input", { name: "question", required: true, maxLength: 1000 })),
        el("label", {}, t("答えのある資料", "Answered by"), el("select", { name: "file", required: true }, files.map((file) => el("option", { value: file.id }, file.title))))),
      el("button", { className: "main" }, t("追加", "Add")));
    asked.replaceChildren(el("h2", {}, t("確認の質問", "Questions to check with")), el("p", { className: "dim" }, t("新しい索引がこれらの質問の資料を見つけられるかを確かめます。", "A new index must find the documents that answer these.")),
      stored.length ? table([[t("質問", "Question")], [t("資料", "Documents")], [""]], stored.map((one) => [one.question, one.file_ids.map(title).join(", "),
        el("button", { className: "plain danger", "aria-label": `${t("削除", "Delete")}: ${one.question}`, onclick: acting(asked, () => store(alive.filter((other) => other.question !== one.question))) }, t("削除", "Delete"))])) : "",
      files.length ? form : el("p", { className: "empty" }, t("まだ資料がありません。", "No documents yet.")));
  };

  main.replaceChildren(el("h1", {}, t("検索の索引", "Search index")), built, asked);
  await refresh();
  await questions();
}
