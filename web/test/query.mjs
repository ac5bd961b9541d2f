// What a person does on the query page: runs a question, sees its chart and rows, shares it, saves it, meets an error.
import assert from "node:assert/strict";

const LIVE = "Telemetry\n| summarize temperature = avg(temperature) by DeviceId, bin(EnqueuedTime, 1s)\n| render timechart";

/** Runs over every look; `shoot` takes pictures of it. */
export async function query(page, base, shoot) {
  await page.goto(`${base}/#/query`);
  await page.getByRole("group").first().waitFor();
  await page.fill("#kql", LIVE);
  await page.getByRole("button", { name: "Run" }).click();
  await page.waitForSelector(".result .chart canvas");
  assert.ok(Number(await page.getAttribute(".result [data-rows]", "data-rows")) > 0, "the question has rows");
  await shoot("query-chart");
  await page.getByRole("button", { name: "Table", exact: true }).click();
  await page.waitForSelector(".result tbody tr");
  await shoot("query-table");

  await page.getByRole("button", { name: "Share" }).click();
  await page.locator(".done").waitFor();
  const link = page.url();
  await page.goto(`${base}/#/`);
  await page.waitForSelector(".fleet [data-device]");
  await page.goto(link);
  await page.waitForSelector(".result .chart canvas");
  assert.equal(await page.inputValue("#kql"), LIVE, "a link carries the question, and runs it");

  await page.getByPlaceholder("Name").fill("by device");
  await page.getByRole("button", { name: "Save", exact: true }).click();
  await page.reload();
  await page.getByRole("button", { name: "by device", exact: true }).click();
  await page.waitForSelector(".result .chart canvas");
  await page.getByRole("button", { name: "Forget by device" }).click();

  await page.locator("summary", { hasText: "Telemetry" }).click();
  await page.getByRole("button", { name: "Show rows" }).first().click();
  await page.waitForSelector(".result tbody tr");
  assert.match(await page.inputValue("#kql"), /^Telemetry\n\| take 100$/);
}

/** A question that is wrong is answered with the place and the reason; the browser tells of the refused request, and of nothing else. */
export async function wrongQuery(page, base, problems) {
  await page.goto(`${base}/#/query`);
  await page.fill("#kql", "Telemetry | where nonsense > 1");
  const refused = page.waitForEvent("console", (message) => message.text().includes("400"));
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator(".error", { hasText: "nonsense" }).waitFor();
  const message = await refused;
  const told = `${message.text()} ${message.location().url}`;
  problems.splice(problems.indexOf(told), 1);
}
