// What people see and do, in headless Chromium. Started by test_pages.py, which says where everything is.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

const { EDGE, SHOP, EMAIL, PASSWORD, SAMPLE, NPM, MILLRACE_SCREENSHOTS: PICTURES } = process.env;
const { chromium } = createRequire(import.meta.url)(`${NPM}/playwright-core`);
const AXE = readFileSync(`${NPM}/axe-core/axe.min.js`, "utf8");
const PHONE = { width: 360, height: 740 };
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
  if (PICTURES) mkdirSync(PICTURES, { recursive: true });
});
after(() => browser?.close());

/// A page that remembers what went wrong in it and whom it asked.
async function open(url, options = {}) {
  const context = await browser.newContext({ locale: "en", ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.asked = [];
  page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("request", (request) => page.asked.push(request));
  await page.goto(url);
  return page;
}

async function picture(page, name) {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png` });
}

/// axe finds nothing serious in light or dark. Its script comes in past the page's policy, as a browser's tools would.
async function accessible(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
    assert.deepEqual(serious.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`), [], `${name}, ${colorScheme}`);
    await picture(page, `${name}-${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

async function signedIn(options) {
  const page = await open(`${EDGE}/console`, options);
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Documents" }).waitFor();
  return page;
}

const view = (page, name) => page.getByRole("link", { name, exact: true }).click();

test("the console says what is wrong with a sign-in", async () => {
  const page = await open(`${EDGE}/console`);
  await accessible(page, "sign-in");
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill("Wrong-password1");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.context().close();
});

test("the console: upload, ask, open a citation, and every view", async () => {
  const page = await signedIn();
  await page.locator("input[type=file]").setInputFiles(SAMPLE);
  await page.locator("tr", { hasText: "staff-handbook-ja.pdf" }).getByText("completed").waitFor({ timeout: 60_000 });
  await accessible(page, "documents");

  await view(page, "Ask");
  await page.getByLabel("Question").fill("How often does the espresso machine have to be descaled?");
  await page.getByLabel("Question").press("Enter");
  await page.locator(".said.assistant .cite").first().waitFor({ timeout: 30_000 });
  await accessible(page, "ask");
  await page.locator(".said.assistant .cite").first().click();
  assert.match(await page.locator("dialog blockquote").innerText(), /descaled/);
  await accessible(page, "passage");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Helpful", exact: true }).click();
  await page.locator(".votes [aria-pressed=true]").waitFor();
  await page.locator(".list button").first().waitFor();

  await view(page, "Usage");
  await page.locator("svg.chart rect").first().waitFor({ state: "attached" });
  await accessible(page, "usage");
  await view(page, "Jobs");
  await page.getByText("knowledge.answer").first().waitFor();
  await accessible(page, "jobs");
  await view(page, "Index");
  await page.getByLabel("Question").fill("有給休暇は何日ですか？");
  await page.getByLabel("Answered by").selectOption({ label: "staff-handbook-ja.pdf" });
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByRole("button", { name: "Delete: 有給休暇は何日ですか？" }).waitFor();
  await page.getByRole("button", { name: "Re-index everything" }).click();
  await page.getByRole("button", { name: "Switch to it" }).waitFor({ timeout: 60_000 });
  await page.getByRole("cell", { name: "1.00 → 1.00" }).waitFor();
  await accessible(page, "index");
  await page.getByRole("button", { name: "Switch to it" }).click();
  await page.getByRole("button", { name: "Switch", exact: true }).click();
  await page.locator("tr", { hasText: "1.00 → 1.00" }).getByText("retired").waitFor();
  await view(page, "Keys");
  await page.getByText("data-api-key").waitFor();
  await page.getByLabel("API key").fill("sk-of-the-browser-test");
  await page.getByLabel("Model").fill("gpt-4");
  await page.getByRole("button", { name: "Add" }).click();
  await page.getByRole("cell", { name: "gpt-4" }).waitFor();
  await accessible(page, "keys");
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("cell", { name: "gpt-4" }).waitFor({ state: "detached" });
  await view(page, "Members");
  await page.getByRole("cell", { name: EMAIL }).waitFor();
  await accessible(page, "members");
  await view(page, "Settings");
  await page.getByLabel("Monthly budget").fill("25");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Saved").waitFor();
  await accessible(page, "settings");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  assert.deepEqual(page.wrong, []);
  assert.deepEqual(page.asked.filter((request) => new URL(request.url()).origin !== EDGE && !request.url().startsWith("data:")).map((request) => request.url()), []);
  await page.context().close();
});

test("the console on a phone, in Japanese", async () => {
  const page = await open(`${EDGE}/console`, { viewport: PHONE, locale: "ja" });
  await page.getByLabel("メールアドレス").fill(EMAIL);
  await page.getByLabel("パスワード").fill(PASSWORD);
  await page.getByRole("button", { name: "サインイン" }).click();
  for (const [link, name] of [["資料", "documents"], ["質問", "ask"], ["利用状況", "usage"], ["索引", "index"], ["設定", "settings"]]) {
    await view(page, link);
    await page.getByRole("heading", { name: link }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width, `${name} does not scroll sideways`);
    await picture(page, `phone-${name}`);
  }
  await page.context().close();
});

/// A shop's page with the widget open.
async function atShop(query = "", options = {}) {
  const page = await open(`${SHOP}/?${query}`, options);
  await page.getByRole("button", { name: /Open chat|チャットを開く/ }).click();
  await page.getByRole("dialog").waitFor();
  return page;
}

test("the widget answers with citations, by keyboard alone", async () => {
  const page = await atShop();
  await page.keyboard.type("How often does the espresso machine have to be descaled?");
  await page.keyboard.press("Enter");
  const cite = page.locator(".bot .cite").first();
  await cite.waitFor({ timeout: 30_000 });
  await cite.focus();
  await page.keyboard.press("Enter");
  assert.match(await page.locator(".quote").last().innerText(), /descaled/);
  await page.getByRole("button", { name: "Helpful", exact: true }).click();
  await page.getByText("Thank you.").waitFor();
  await accessible(page, "widget");
  for (let presses = 0; presses < 20; presses++) await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "millrace-widget", "focus stays in the dialog");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.reload();
  await page.getByRole("button", { name: "Open chat" }).click();
  await page.locator(".bot .cite").first().waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("the widget on a phone, dark, in Japanese", async () => {
  const page = await atShop("lang=ja&theme=dark", { viewport: PHONE });
  await accessible(page, "widget-phone");
  await page.context().close();
});

test("a connection that breaks is taken up where it broke", async () => {
  const page = await atShop("proxy=yes");
  const shop = (path) => page.evaluate((url) => fetch(url), SHOP + path);
  await shop("/scripted");
  const resumed = page.waitForRequest((request) => request.headers()["last-event-id"] !== undefined, { timeout: 30_000 });
  await page.keyboard.type("How often does the espresso machine have to be descaled?");
  await page.keyboard.press("Enter");
  await page.getByText("word20").waitFor();
  await shop("/cut");
  await resumed;
  await shop("/go-on");
  await page.getByRole("button", { name: "Helpful", exact: true }).waitFor({ timeout: 30_000 });
  const said = await page.locator(".bot .text").last().innerText();
  const words = said.match(/word\d+/g);
  assert.deepEqual(words, Array.from({ length: 60 }, (_, n) => `word${n}`), "without gap or repeat");

  // The same answer is hostile: it stays text.
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  const inside = await page.evaluate(() => document.getElementById("millrace-widget").shadowRoot.querySelectorAll("img, script, iframe, .text a").length);
  assert.equal(inside, 0);
  assert.deepEqual(page.asked.filter((request) => request.url().includes("evil.example")), []);
  await picture(page, "widget-hostile");
  await page.context().close();
});

test("the widget is small, and foreign pages may load it", async () => {
  const response = await fetch(`${EDGE}/widget.js`);
  assert.ok((await response.text()).length < 30 * 1024);
  assert.equal(response.headers.get("cross-origin-resource-policy"), "cross-origin");
  const again = await fetch(`${EDGE}/widget.js`, { headers: { "If-None-Match": response.headers.get("etag") } });
  assert.equal(again.status, 304);
  assert.equal((await fetch(`${EDGE}/console/assets/nothing.js`)).status, 404);
  assert.equal((await fetch(`${EDGE}/console/assets/..%2fwidget.js`)).status, 404);
});

test("Swagger UI and ReDoc show the API and ask nobody else", async () => {
  for (const [path, shown] of [["/docs", "/api/v1/chats/rag"], ["/redoc", "/api/v1/auth/register"]]) {
    const page = await open(EDGE + path);
    await page.getByText(shown).filter({ visible: true }).first().waitFor({ timeout: 30_000 });
    assert.deepEqual(page.wrong, [], path);
    assert.deepEqual(page.asked.map((request) => new URL(request.url())).filter((url) => url.protocol.startsWith("http") && url.origin !== EDGE).map(String), []);
    await picture(page, path.slice(1));
    await page.context().close();
  }
});
