// Opens the built page in Chromium and watches it live.
//
//   node test/page.mjs SCREENSHOT_FOLDER                                    against the mock
//   node test/page.mjs SCREENSHOT_FOLDER --url https://localhost --token T  against a running gantry
//
// The gantry must have devices that replay something eventful and answer `reduceLoad`, as
// tests/page.sh starts them. Fails when the chart does not move, the maintenance list does not
// re-order without a reload, a control does not do what it says, the page overflows its width, or anything is written to the
// console as an error, a refused content security policy included.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { createMock, TOKEN } from "../mock/server.mjs";
import { account, links } from "./account.mjs";
import { certify, editorsOpen, enroll, fits, provision, shooter } from "./provisioning.mjs";
import { dashboard, editor, ingest, isOfEditor, query, wrongQuery } from "./query.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { url: { type: "string" }, token: { type: "string" } } });
const folder = positionals[0] ?? "screenshots";
await mkdir(folder, { recursive: true });

let server = null;
let base = values.url;
if (!base) {
  server = createMock();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
}
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const problems = [];
const ofEditor = [];
const LOOKS = [
  { name: "light", viewport: { width: 1280, height: 800 }, colorScheme: "light" },
  { name: "dark", viewport: { width: 1280, height: 800 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 360, height: 740 }, colorScheme: "light" },
];
const order = (page) => page.$$eval(".maintenance [data-device]", (rows) => rows.map((row) => row.dataset.device).join());

/** Files come compressed to those who take it, and plain to the others. */
async function packed(page) {
  const address = new URL(await page.getAttribute("script[type=module]", "src"), base).href;
  const ask = (coding) => page.context().request.get(address, { headers: { "accept-encoding": coding } });
  const [small, plain] = [await ask("gzip, br"), await ask("gzip, br;q=0")];
  assert.deepEqual([small.headers()["content-encoding"], plain.headers()["content-encoding"]], ["br", undefined]);
  assert.equal(await small.text(), await plain.text());
}

/** What a person does on a device's page. */
async function operate(page) {
  await page.fill("#desired", "{");
  assert.ok(await page.getByRole("button", { name: "Save desired" }).isDisabled(), "broken JSON cannot be saved");
  await page.fill("#desired", '{"load": 70}');
  await page.getByRole("button", { name: "Save desired" }).click();
  await page.getByText("Saved.").waitFor();
  await page.fill("#method", "reduceLoad");
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.getByText("Status 200").waitFor();
  // Without payload.
  await page.fill("#payload", "");
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.getByText("Waiting for the device").waitFor({ state: "hidden" });
  await page.getByText("Status 200").waitFor();
  await page.getByRole("button", { name: "Acknowledge" }).first().click();
  await page.locator(".alert .state", { hasText: "acknowledged" }).first().waitFor();
  await page.getByRole("button", { name: "Mark as serviced" }).click();
  await page.getByText("Marked as serviced.").waitFor();
}

try {
  const context = await browser.newContext({ ...LOOKS[0], ignoreHTTPSErrors: Boolean(values.url) });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && problems.push(`${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => {
    if (isOfEditor(request.url())) ofEditor.push(request.url());
    if (!request.url().startsWith(new URL(base).origin) && !request.url().startsWith("data:")) problems.push(`external request: ${request.url()}`);
  });

  await page.goto(`${base}/#signin=${encodeURIComponent(values.token ?? TOKEN)}`);
  await page.waitForSelector(".fleet [data-device]");
  assert.ok(!page.url().includes("signin"), "the token is gone from the address bar");
  await page.waitForSelector(".live.connected");
  await packed(page);

  await page.goto(`${base}/#/maintenance`);
  await page.waitForSelector(".maintenance [data-device]");
  const calm = await order(page);
  await page.waitForFunction(
    (old) => [...document.querySelectorAll(".maintenance [data-device]")].map((row) => row.dataset.device).join() !== old,
    calm,
    { timeout: 90_000 },
  );
  console.log(`maintenance list re-ordered live: ${calm} -> ${await order(page)}`);

  const first = (await order(page)).split(",")[0];
  await page.goto(`${base}/#/device/${encodeURIComponent(first)}`);
  await page.waitForSelector(".chart canvas");
  // Time and picture are read in one step, or a point could come in between.
  const look = () => page.$eval(".chart", (chart) => ({ last: chart.dataset.last, picture: chart.querySelector("canvas").toDataURL() }));
  await page.waitForFunction(() => document.querySelector(".chart")?.dataset.last);
  const before = await look();
  await page.waitForFunction((old) => document.querySelector(".chart").dataset.last > old, before.last, { timeout: 30_000 });
  const after = await look();
  assert.ok(after.picture !== before.picture, "the chart was drawn anew");
  // A platform that has just started has nothing to go by.
  if (server) {
    await page.waitForFunction(() => Number(document.querySelector(".chart").dataset.ahead) > 10);
    await page.getByText("in about 6 min, between 2 min and 15 min").waitFor();
  }
  console.log(`chart moved: ${before.last} -> ${after.last}`);

  for (const look of LOOKS) {
    await page.setViewportSize(look.viewport);
    await page.emulateMedia({ colorScheme: look.colorScheme });
    for (const view of ["fleet", "maintenance", "alerts", "dashboards", "query", "streaming", "provisioning", "security", "device"]) {
      const path = view === "fleet" ? "" : view === "device" ? `device/${encodeURIComponent(first)}` : view;
      if (view === "query" && look === LOOKS[0]) assert.deepEqual(ofEditor, [], "no other page loads the editor of questions");
      await page.goto(`${base}/#/${path}`);
      await page.waitForSelector("main h1");
      if (view === "streaming") await page.locator(".job", { hasText: "averages" }).getByText("running").waitFor();
      await editorsOpen(page, look);
      if (view === "device") await page.waitForFunction(() => document.querySelector(".chart")?.dataset.last && document.querySelector("#desired"));
      await fits(page, `${view} in ${look.name}`);
      await page.screenshot({ path: join(folder, `${look.name}-${view}.png`), fullPage: view === "device" });
    }
  }
  assert.ok(ofEditor.length > 0, "the query page loads the editor of questions");
  await page.setViewportSize(LOOKS[2].viewport);
  await operate(page);
  const shoot = shooter(page, LOOKS, folder);
  await query(page, base, shoot);
  await dashboard(page, base, LOOKS[0], shoot);
  await wrongQuery(page, base, problems);
  problems.splice(problems.indexOf(await ingest(page, base, shoot)), 1);
  await editor(page, base, LOOKS[0], shoot);
  await page.setViewportSize(LOOKS[2].viewport);
  await provision(page, base, shoot, problems);
  await enroll(page, base);
  await certify(page, base, shoot);
  if (server) {
    await page.goto(`${base}/#/account`);
    await page.getByText("You came with a link.").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("link", { name: "Sign in with Works" }).waitFor();
    await shoot("signin");
  } else {
    await account(page, base, shoot, problems);
    await links(page, base, shoot, problems);
  }
  assert.deepEqual(problems, [], "console errors, policy violations or external requests");
  console.log(`page test passed; screenshots in ${folder}`);
} finally {
  await browser.close();
  server?.closeAllConnections();
  server?.close();
}
