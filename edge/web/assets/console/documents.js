// The tenant's documents: in, watched, out.
import { call, upload } from "./api.js";
import { alertBox, chip, confirmed, el, size, t, table, when } from "./dom.js";

const LIVE = 1500; // ms between two looks while something is on its way

export async function documentsView(main, { admin, signal }) {
  const filter = { search: "", status: "" };
  const list = el("div"), uploads = el("div", { "aria-live": "polite" });
  let timer = 0;

  const refresh = async () => {
    clearTimeout(timer);
    const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value));
    const files = await call("GET", `/api/v1/contents?limit=200&${query}`);
    list.replaceChildren(files.length ? table([[t("資料", "Document")], [t("状態", "Status")], [t("大きさ", "Size"), true], [t("登録", "Added")], [""]], files.map(row))
      : el("p", { className: "empty" }, filter.search || filter.status ? t("見つかりません。", "Nothing fits.") : t("まだ資料がありません。PDF・TXT・DOCXをアップロードしてください。", "No documents yet. Upload a PDF, TXT or DOCX.")));
    if (files.some((file) => file.status === "pending" || file.status === "processing") && !signal.aborted) timer = setTimeout(refresh, LIVE);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));

  const remove = async (file) => {
    if (!await confirmed(t(`「${file.title}」を削除しますか？`, `Delete “${file.title}”?`), t("削除", "Delete"))) return;
    await call("DELETE", `/api/v1/contents/${file.id}`).catch((error) => main.prepend(alertBox(error)));
    await refresh();
  };
  const again = async (file) => { await call("POST", `/api/v1/contents/${file.id}/reindex`).catch((error) => main.prepend(alertBox(error))); await refresh(); };
  const row = (file) => [
    el("div", {}, el("strong", {}, file.title), el("div", { className: "dim" }, file.file_name)),
    el("div", {}, chip(file.status), file.reason ? el("div", { className: "dim" }, file.reason) : null),
    size(file.file_size), when(file.created_at),
    admin ? el("div", { className: "row" }, file.status === "completed" || file.status === "failed" ? el("button", { className: "plain", onclick: () => again(file) }, t("再処理", "Re-index")) : null,
      el("button", { className: "plain danger", "aria-label": `${t("削除", "Delete")}: ${file.title}`, onclick: () => remove(file) }, t("削除", "Delete"))) : "",
  ];

  const send = async (file) => {
    const bar = el("i"), line = el("div", { className: "card" }, file.name, el("div", { className: "bar", role: "progressbar", "aria-label": file.name, "aria-valuemin": 0, "aria-valuemax": 100 }, bar));
    uploads.append(line);
    const form = new FormData();
    form.append("file", file);
    try {
      await upload(form, (part) => { bar.style.width = `${100 * part}%`; bar.parentElement.setAttribute("aria-valuenow", Math.round(100 * part)); });
      line.remove();
    } catch (error) {
      line.append(alertBox(error));
    }
    await refresh();
  };
  const many = async (files) => { for (const file of files) await send(file); };

  const picker = el("input", { type: "file", multiple: true, accept: ".pdf,.txt,.docx", hidden: true, "aria-label": t("ファイルを選ぶ", "Choose files"), onchange: () => { many([...picker.files]); picker.value = ""; } });
  const drop = el("div", { className: "drop card", ondragover: (event) => { event.preventDefault(); drop.classList.add("over"); }, ondragleave: () => drop.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); drop.classList.remove("over"); many([...event.dataTransfer.files]); } },
    el("p", {}, t("ここにファイルを置くか、", "Drop files here, or ")), el("button", { className: "main", onclick: () => picker.click() }, t("ファイルを選ぶ", "Choose files")),
    el("p", { className: "dim" }, t("PDF・TXT・DOCX、100 MBまで", "PDF, TXT, DOCX, up to 100 MB")), picker);
  let typing = 0;
  const search = el("input", { type: "search", placeholder: t("検索", "Search"), "aria-label": t("検索", "Search"), oninput: () => { clearTimeout(typing); typing = setTimeout(() => { filter.search = search.value.trim(); refresh(); }, 250); } });
  const status = el("select", { "aria-label": t("状態", "Status"), onchange: () => { filter.status = status.value; refresh(); } },
    ["", "pending", "processing", "completed", "failed"].map((value) => el("option", { value }, value || t("すべての状態", "Any status"))));
  main.replaceChildren(el("h1", {}, t("資料", "Documents")), admin ? drop : "", uploads,
    el("div", { className: "card" }, el("div", { className: "row" }, el("div", { className: "grow" }, search), el("div", {}, status)), list));
  await refresh();
}
