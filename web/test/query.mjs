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

/** A dashboard is made, filled from the query page, changed, asked with another value, and deleted. */
export async function dashboard(page, base, shoot) {
  await page.goto(`${base}/#/dashboards`);
  await page.getByPlaceholder("Title").fill("Motors");
  await page.getByRole("button", { name: "New dashboard" }).click();
  await page.getByRole("heading", { name: "Motors" }).waitFor();

  await page.goto(`${base}/#/query`);
  await page.fill("#kql", LIVE.replace("| render timechart", '| render timechart with (title = "Temperature")'));
  await page.getByRole("button", { name: "Run" }).click();
  await page.waitForSelector(".result .chart canvas");
  await page.getByLabel("Add to a dashboard").selectOption({ label: "Motors" });
  await page.locator(".done", { hasText: "Temperature" }).waitFor();

  await page.goto(`${base}/#/dashboards`);
  await page.getByRole("link", { name: /Motors/ }).click();
  await page.waitForSelector(".tiles .chart canvas");
  await page.getByRole("button", { name: "Change" }).click();
  await page.getByRole("button", { name: "Add a parameter" }).click();
  await page.getByLabel("Name in questions").fill("motor");
  await page.getByLabel("Value at first").fill("motor-healthy");
  await page.getByLabel(/^Choices/).fill("motor-healthy, motor-failing");
  const tile = async (number, title, query) => {
    await page.getByRole("button", { name: "Add a tile" }).click();
    await page.getByLabel("Title", { exact: true }).nth(number).fill(title);
    await page.getByLabel("Question", { exact: true }).nth(number - 1).fill(query);
  };
  await tile(2, "One motor", "Telemetry | where DeviceId == motor | summarize messages = count() by DeviceId | render card");
  await tile(3, "Most urgent", "MaintenanceList | project DeviceId, Urgency | top 5 by Urgency | render barchart");
  await page.getByRole("button", { name: "Save" }).click();
  const one = page.getByRole("region", { name: "One motor" });
  await one.getByText("motor-healthy").waitFor();
  await page.getByRole("region", { name: "Most urgent" }).locator("meter").first().waitFor();
  await page.getByLabel("motor", { exact: true }).selectOption("motor-failing");
  await one.getByText("motor-failing").waitFor();
  await page.reload();
  await one.getByText("motor-healthy").waitFor();
  await shoot("dashboard");
  await one.getByRole("link", { name: "Query" }).click();
  await page.waitForSelector(".result .cards");
  assert.match(await page.inputValue("#kql"), /^declare query_parameters\(motor:string = "motor-healthy"\);\nTelemetry/, "a tile's question stands alone");
  await page.goBack();
  await page.getByRole("button", { name: "Change" }).click();
  await shoot("dashboard-changing");
  await page.getByRole("button", { name: "Cancel" }).click();
  page.once("dialog", (dialog) => void dialog.accept());
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No dashboard yet").waitFor();
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
