// One's own jobs, as they go on.
import { call } from "./api.js";
import { chip, dialog, el, t, table, when } from "./dom.js";

const OPEN = ["queued", "waiting", "parked", "running"];
const LIVE = 2000; // ms

export async function jobsView(main, { signal }) {
  const list = el("div", { className: "card" });
  let timer = 0;
  const cancel = async (id) => { await call("DELETE", `/api/jobs/${id}`).catch(() => {}); await refresh(); };
  const open = async (id) => {
    const job = await call("GET", `/api/jobs/${id}`);
    dialog(job.kind, el("p", {}, chip(job.status)), el("pre", { tabIndex: 0 }, JSON.stringify(job.error || job.result || job.progress || {}, null, 2).slice(0, 20000)));
  };
  const refresh = async () => {
    clearTimeout(timer);
    const jobs = (await call("GET", "/api/jobs?limit=50")).jobs;
    list.replaceChildren(jobs.length ? table([[t("種類", "Kind")], [t("状態", "Status")], [t("受付", "Accepted")], [""]], jobs.map((job) => [
      el("button", { className: "plain", onclick: () => open(job.job_id) }, job.kind), chip(job.status), when(job.created_at),
      OPEN.includes(job.status) ? el("button", { className: "plain danger", onclick: () => cancel(job.job_id) }, t("中止", "Cancel")) : ""]))
      : el("p", { className: "empty" }, t("処理はまだありません。", "No jobs yet.")));
    if (!signal.aborted) timer = setTimeout(refresh, LIVE);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  main.replaceChildren(el("h1", {}, t("処理", "Jobs")), list);
  await refresh();
}
