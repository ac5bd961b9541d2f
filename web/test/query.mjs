// What a person does on the query page: runs a question, sees its chart and rows, shares it, saves it, meets an error; and
// in the editor: is offered columns, reads about a function, sees what is wrong, runs one statement of several.
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

/** The files that only a question needs. */
export const isOfEditor = (url) => /\/assets\/(monaco|kusto|editor\.worker|codicon)/i.test(url);

/** Puts a text into the editor in place of what is there, and the cursor behind it. */
async function write(page, text) {
  await page.locator("#kql").focus();
  await page.keyboard.press("Control+a");
  await page.locator("#kql").evaluate((area, text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    area.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}
const word = (page, text) => page.locator(".view-lines span[class]", { hasText: new RegExp(`^${text}$`) }).last();
const written = (page) => page.locator(".view-lines").innerText();
const rows = (page, count) => page.locator(`.result [data-rows="${count}"]`).waitFor();

/** Kusto's editor, in a wide window; what a narrow one has instead; and what is left when it does not load. */
export async function editor(page, base, look, shoot) {
  await page.setViewportSize(look.viewport);
  await page.goto(`${base}/#/query`);
  await page.waitForSelector(".editor.open");
  await write(page, '.create-or-alter function with (docstring = "Degrees Celsius of degrees Fahrenheit.") Celsius(fahrenheit: real) { (fahrenheit - 32) / 1.8 }');
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector(".result");

  const complete = async () => {
    await write(page, "Telemetry | where ");
    // A name is known as that of a table once the editor knows the schema.
    await page.waitForSelector(".view-lines .Table");
    await page.keyboard.type("temper");
    return page.locator(".suggest-widget.visible").getByRole("option", { name: "temperature", exact: true });
  };
  await (await complete()).waitFor();
  await shoot("query-completion");
  await page.setViewportSize(look.viewport);
  await page.waitForSelector(".editor.open");
  await (await complete()).click();
  assert.match(await written(page), /Telemetry\s\|\swhere\stemperature/, "a column that is chosen is written");
  await page.keyboard.press("Escape");

  await write(page, "Telemetry | extend degrees = Celsius(temperature) | where nonsense > 1");
  await page.waitForSelector(".squiggly-error");
  await word(page, "Celsius").hover();
  await page.locator(".monaco-hover", { hasText: "Degrees Celsius of degrees Fahrenheit." }).waitFor();
  await page.locator(".view-lines span", { hasText: "nonsense" }).last().hover({ position: { x: 12, y: 8 } });
  await page.locator(".monaco-hover", { hasText: "nonsense" }).waitFor();

  await write(page, "Telemetry | take 3\n\nMaintenanceList | take 2");
  await page.keyboard.press("Shift+Enter");
  await rows(page, 2);
  await word(page, "Telemetry").click();
  await page.keyboard.press("Control+Enter");
  await rows(page, 3);
  await word(page, "MaintenanceList").click();
  await page.keyboard.press("F1");
  await page.keyboard.type("Run the question");
  await page.keyboard.press("Enter");
  await rows(page, 2);
  const colours = () => page.evaluate(() => [".monaco-editor", ".card"].map((name) => getComputedStyle(document.querySelector(name)).backgroundColor));
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    const [editor, card] = await colours();
    assert.equal(editor, card, `the editor follows the page when it is ${colorScheme}`);
  }

  // What was loaded for one page is not loaded for another: pages of their own, without what this one has.
  const others = [
    ["in a narrow window", { viewport: { width: 360, height: 740 } }, null],
    ["when the editor does not load", { viewport: look.viewport }, /\/assets\/monaco-/],
    ["when the language service does not load", { viewport: look.viewport }, /\/assets\/kusto\.worker/],
  ];
  for (const [when, { viewport }, missing] of others) {
    const other = await page.context().newPage();
    const asked = [];
    other.on("request", (request) => asked.push(request.url()));
    await other.setViewportSize(viewport);
    if (missing) await other.route(missing, (route) => route.abort());
    await other.goto(`${base}/#/query`);
    if (missing?.test("/assets/kusto.worker")) {
      await other.waitForSelector(".editor.open");
      await write(other, "Telemetry | take 4");
    } else {
      if (missing) await other.getByText("could not be loaded").waitFor();
      await other.fill("#kql", "Telemetry | take 4");
    }
    await other.locator("#kql").press("Shift+Enter");
    await rows(other, 4);
    if (!missing) assert.deepEqual(asked.filter(isOfEditor), [], `nothing of the editor is loaded ${when}`);
    await other.close();
  }
}

/** Files become tables: a CSV a new one; then records of JSON go into the same one, and into one that takes none. */
export async function ingest(page, base, shoot) {
  const name = `Readings_${Date.now().toString(36)}`;
  const file = (name, text) => page.setInputFiles("#file", { name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await page.goto(`${base}/#/query`);
  await page.getByText("Store a file in a table").click();
  await file("broken.csv", "a,b\n1,2,3\n");
  await page.locator(".ingest .error", { hasText: "Record 1 has 3 fields" }).waitFor();
  const lines = Array.from({ length: 30_000 }, (_, at) => `press-${at % 7},2024-01-01T00:00:0${at % 10}Z,${at / 2},"a ""quoted"", text",00${at}`);
  await file("readings.csv", `Machine,At,Value,Note,Serial\n${lines.join("\n")}\n`);
  await page.getByRole("button", { name: "Store 30000 rows" }).waitFor();
  const type = (column) => page.getByLabel(`Type of ${column}`, { exact: true });
  for (const [column, is] of [["Machine", "string"], ["At", "datetime"], ["Value", "real"], ["Serial", "string"]]) assert.equal(await type(column).inputValue(), is);
  await shoot("query-ingest");
  await page.getByLabel("Its name").fill(name);
  await page.getByRole("button", { name: "Store 30000 rows" }).click();
  await page.getByText("30000 of 30000 rows are stored").waitFor();
  await rows(page, 100);
  await page.locator(".result td", { hasText: 'a "quoted", text' }).first().waitFor();
  await page.locator("aside summary", { hasText: name }).waitFor();

  await file("more.json", '[{"Machine": "last", "At": "2024-02-01T00:00:00Z", "Value": 7}]');
  await page.getByLabel("Table", { exact: true }).selectOption(name);
  await page.getByRole("button", { name: "Store 1 rows" }).click();
  await page.getByText("1 of 1 rows are stored").waitFor();
  const count = async (expected) => {
    await page.fill("#kql", `${name} | summarize count() by Machine`);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await rows(page, expected);
  };
  await count(8);
  await file("more.json", '{"DeviceId": "x"}\n');
  await page.getByLabel("Table", { exact: true }).selectOption("Telemetry");
  const refused = page.waitForEvent("console", (message) => message.text().includes("status of 4"));
  await page.getByRole("button", { name: "Store 1 rows" }).click();
  await page.locator(".ingest .error").waitFor();
  const message = await refused;
  return `${message.text()} ${message.location().url}`;
}

/** A dashboard is made, filled from the query page, changed, asked with another value, and deleted. */
export async function dashboard(page, base, wide, shoot) {
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
  await page.setViewportSize(wide.viewport);
  await page.locator('.view-lines span[class*="Parameter"]', { hasText: "motor" }).waitFor();
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
