// The company: its widget, its keys, its members, its settings.
import { call } from "./api.js";
import { acting, chip, confirmed, el, t, table, when } from "./dom.js";

const field = (label, properties) => el("label", {}, label, el("input", properties));

export async function keysView(main, { me, admin }) {
  const tenant = `/api/v1/tenants/${me.tenant_id}`;
  const widget = el("section", { className: "card" }), own = el("section", { className: "card" });
  const show = (snippet) => {
    const code = el("pre", { tabIndex: 0 }, snippet.snippet);
    const said = el("span", { className: "dim", role: "status" });
    widget.replaceChildren(el("h2", {}, t("ウィジェット", "Widget")), el("p", { className: "dim" }, t("この行をページの末尾に貼り付けてください。表示できるサイトは設定の「許可するオリジン」で決まります。", "Paste this line at the end of your page. Which sites may show it is set under Settings.")), code,
      el("div", { className: "row" }, el("button", { className: "main", onclick: async () => { await navigator.clipboard.writeText(snippet.snippet); said.textContent = t("コピーしました", "Copied"); } }, t("コピー", "Copy")),
        admin ? el("button", { onclick: acting(widget, async () => { if (await confirmed(t("キーを更新しますか？前のキーは24時間使えます。", "Make a new key? The old one works for 24 hours."), t("更新", "Make a new one"))) show(await call("POST", `${tenant}/api-key/rotate`)); }) }, t("キーを更新", "New key")) : "", said));
  };
  const keys = async () => {
    const found = await call("GET", "/api/v1/api-keys");
    const settings = await call("GET", tenant);
    const form = el("form", { onsubmit: acting(own, async () => { await call("POST", "/api/v1/api-keys", Object.fromEntries(new FormData(form))); await keys(); }) },
      el("div", { className: "row" }, el("div", { className: "grow" }, field(t("プロバイダー", "Provider"), { name: "provider", value: "openai", required: true })),
        el("div", { className: "grow" }, field(t("モデル", "Model"), { name: "model", value: settings.settings.llm_model, required: true })),
        el("div", { className: "grow" }, field(t("APIキー", "API key"), { name: "api_key", type: "password", autocomplete: "off", required: true }))), el("button", { className: "main" }, t("追加", "Add")));
    own.replaceChildren(el("h2", {}, t("モデルのAPIキー", "Provider keys")), el("p", { className: "dim" }, t("登録すると、質問への回答はこのキーで行われます。キーは暗号化され、二度と表示されません。", "Questions are then answered with your own key. It is stored encrypted and never shown again.")),
      found.length ? table([[t("プロバイダー", "Provider")], [t("モデル", "Model")], [t("登録", "Added")], [""]], found.map((key) => [key.provider, key.model, when(key.created_at),
        el("button", { className: "plain danger", onclick: acting(own, async () => { await call("DELETE", `/api/v1/api-keys/${key.id}`); await keys(); }) }, t("削除", "Delete"))])) : "", form);
  };
  main.replaceChildren(el("h1", {}, t("キー", "Keys")), widget, admin ? own : "");
  show(await call("GET", `${tenant}/embed-snippet`));
  if (admin) await keys();
}

export async function membersView(main, { me }) {
  const tenant = `/api/v1/tenants/${me.tenant_id}`;
  const box = el("section", { className: "card" }), invited = el("section", { className: "card" });
  const refresh = async () => {
    const [users, invitations] = [await call("GET", `${tenant}/users`), await call("GET", `${tenant}/invitations`)];
    const role = (user) => el("select", { "aria-label": `${t("役割", "Role")}: ${user.username}`, disabled: user.is_owner, onchange: acting(box, async (event) => { await call("PATCH", `${tenant}/users/${user.id}`, { role: event.target.value }); }) },
      ["OPERATOR", "ADMIN"].map((value) => el("option", { value, selected: value === user.role }, value)));
    box.replaceChildren(table([[t("名前", "Name")], [t("メール", "E-mail")], [t("役割", "Role")], [""]], users.map((user) => [user.username, user.email, user.is_owner ? t("所有者", "Owner") : role(user),
      user.is_owner ? "" : el("button", { className: "plain", onclick: acting(box, async () => { await call("PATCH", `${tenant}/users/${user.id}`, { is_active: !user.is_active }); await refresh(); }) }, user.is_active ? t("停止", "Deactivate") : t("再開", "Activate"))])));
    const form = el("form", { onsubmit: acting(invited, async () => { await call("POST", `${tenant}/invitations`, Object.fromEntries(new FormData(form))); await refresh(); }) },
      el("div", { className: "row" }, el("div", { className: "grow" }, field(t("メールアドレス", "E-mail"), { name: "email", type: "email", required: true })),
        el("label", {}, t("役割", "Role"), el("select", { name: "role" }, ["OPERATOR", "ADMIN"].map((value) => el("option", { value }, value))))), el("button", { className: "main" }, t("招待する", "Invite")));
    invited.replaceChildren(el("h2", {}, t("招待", "Invitations")), invitations.length ? table([[t("メール", "E-mail")], [t("役割", "Role")], [t("状態", "Status")], [""]], invitations.map((one) => [one.email, one.role, chip(one.status),
      one.status === "PENDING" ? el("button", { className: "plain danger", onclick: acting(invited, async () => { await call("DELETE", `${tenant}/invitations/${one.id}`); await refresh(); }) }, t("取り消す", "Revoke")) : ""])) : "", form);
  };
  main.replaceChildren(el("h1", {}, t("メンバー", "Members")), box, invited);
  await refresh();
}

export async function settingsView(main, { me }) {
  const tenant = `/api/v1/tenants/${me.tenant_id}`;
  const { name, domain, plan, status, settings } = await call("GET", tenant);
  const box = el("section", { className: "card" }), said = el("span", { className: "dim", role: "status" });
  const origins = el("textarea", { rows: 4, name: "origins" }, (settings.allowed_origins || [`https://${domain}`, `https://www.${domain}`]).join("\n"));
  const save = acting(box, async () => {
    said.textContent = "";
    const data = new FormData(form);
    const budget = data.get("budget");
    await call("PATCH", tenant, { name: data.get("name"), settings: { llm_model: data.get("model"), allowed_origins: data.get("origins").split(/\s+/).filter(Boolean), monthly_budget_usd: budget === "" ? null : Number(budget) } });
    said.textContent = t("保存しました", "Saved");
  });
  const form = el("form", { onsubmit: save }, field(t("会社名", "Company"), { name: "name", value: name, required: true }), field(t("モデル", "Model"), { name: "model", value: settings.llm_model, required: true }),
    el("label", {}, t("許可するオリジン（1行に1つ）", "Allowed origins, one a line"), origins),
    field(t("月の予算（米ドル、空欄は上限なし）", "Monthly budget in USD; empty: no limit"), { name: "budget", type: "number", min: 0, step: "any", value: settings.monthly_budget_usd ?? "" }), el("div", { className: "row" }, el("button", { className: "main" }, t("保存", "Save")), said));
  box.append(el("p", { className: "dim" }, `${domain} · ${plan} · `, chip(status)), form);
  main.replaceChildren(el("h1", {}, t("設定", "Settings")), box);
}
