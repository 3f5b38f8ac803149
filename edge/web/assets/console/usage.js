// What was used and what it cost.
import { call } from "./api.js";
import { alertBox, count, el, svg, t, table, usd } from "./dom.js";

const WIDTH = 720, HEIGHT = 200, LEFT = 8, BOTTOM = 22;

function chart(rows) {
  const most = Math.max(1, ...rows.map((row) => row.tokens));
  const step = (WIDTH - LEFT) / rows.length, room = HEIGHT - BOTTOM - 14;
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": t("期間ごとのトークン数", "Tokens per period") }, svg("line", { x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  rows.forEach((row, index) => {
    const height = (row.tokens / most) * room, x = LEFT + index * step;
    picture.append(svg("rect", { x: x + step * 0.1, y: HEIGHT - BOTTOM - height, width: step * 0.8, height, rx: 2 }, svg("title", {}, `${row.date}: ${count(row.tokens)}`)));
    if (index % Math.ceil(rows.length / 8) === 0) picture.append(svg("text", { x: x + step * 0.1, y: HEIGHT - 6 }, row.date.slice(5)));
  });
  return picture;
}

const figure = (name, value) => el("div", { className: "card" }, el("span", { className: "dim" }, name), el("b", {}, value));

export async function usageView(main, { admin }) {
  const granularity = el("select", { "aria-label": t("集計", "Granularity"), onchange: () => show() }, ["day", "week", "month"].map((value, index) => el("option", { value }, [t("日", "Day"), t("週", "Week"), t("月", "Month")][index])));
  const body = el("div");
  const days = { day: 29, week: 83, month: 364 };
  const show = async () => {
    const start = new Date(Date.now() - days[granularity.value] * 86400000).toISOString().slice(0, 10);
    const used = await call("GET", `/api/v1/stats/usage?granularity=${granularity.value}&start_date=${start}`);
    const { limit_usd, spent_usd } = used.budget;
    body.replaceChildren(
      el("div", { className: "figures" }, figure(t("トークン", "Tokens"), count(used.total_tokens)), figure(t("費用", "Cost"), usd(used.total_cost)),
        figure(t("今月の予算", "Budget this month"), limit_usd === null ? t("上限なし", "No limit") : `${usd(spent_usd)} / ${usd(limit_usd)}`)),
      el("div", { className: "card" }, chart(used.by_date), el("details", {}, el("summary", {}, t("表で見る", "As a table")),
        table([[t("日付", "Date")], [t("トークン", "Tokens"), true], [t("費用", "Cost"), true]], used.by_date.filter((row) => row.tokens).map((row) => [row.date, count(row.tokens), usd(row.cost)])))),
      el("div", { className: "card" }, el("h2", {}, t("モデル別", "By model")), used.by_model.length ? table([[t("モデル", "Model")], [t("トークン", "Tokens"), true], [t("費用", "Cost"), true]], used.by_model.map((row) => [row.model, count(row.tokens), usd(row.cost)]))
        : el("p", { className: "empty" }, t("まだ利用がありません。", "Nothing used yet."))));
  };
  const buy = async () => {
    try { location.assign((await call("POST", "/api/v1/billing/checkout", { plan: "PRO", billing_cycle: "MONTHLY" })).url); } catch (error) { body.prepend(alertBox(error)); }
  };
  main.replaceChildren(el("h1", {}, t("利用状況", "Usage")), el("div", { className: "row card" }, el("div", {}, granularity), el("span", { className: "grow" }), admin ? el("button", { onclick: buy }, t("プランを変更", "Change plan")) : ""), body);
  await show();
}
