// Drives the provisioning view: a group, a new device that registers with what it is told, settings, deletion.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { join } from "node:path";

/** Registers a device over REST with the block it was told; waits until it is assigned. */
async function register(request, base, block) {
  const told = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  const { PROVISIONING_IDSCOPE: scope, PROVISIONING_REGISTRATION_ID: registrationId, PROVISIONING_SYMMETRIC_KEY: key } = told;
  assert.ok(scope && registrationId && key && told.PROVISIONING_HOST, `the block says everything: ${Object.keys(told)}`);
  const resource = encodeURIComponent(`${scope}/registrations/${registrationId}`);
  const expiry = Math.floor(Date.now() / 1000) + 3600;
  const signature = createHmac("sha256", Buffer.from(key, "base64")).update(`${resource}\n${expiry}`).digest("base64");
  const headers = { authorization: `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=registration` };
  const path = `${base}/${scope}/registrations/${registrationId}`;
  let answer = await request.put(`${path}/register?api-version=2021-10-01`, { headers, data: { registrationId } });
  for (let tries = 0; answer.status() === 202 && tries < 100; tries += 1) {
    const { operationId } = await answer.json();
    answer = await request.get(`${path}/operations/${operationId}?api-version=2021-10-01`, { headers });
  }
  const { status } = await answer.json();
  assert.equal(status, "assigned", `the device is assigned, not ${answer.status()} ${status}`);
  return registrationId;
}

/**
 * Creates a group and a device, sees it come, and deletes both. `shoot` takes a picture in every look.
 * `problems` holds what the console said; the one refusal provoked here is taken out of it.
 */
export async function provision(page, base, shoot, problems) {
  await page.goto(`${base}/#/provisioning`);
  await page.getByRole("button", { name: "New group" }).click();
  await page.fill("#enrollment-id", "page-group");
  await page.fill("#initial-twin", "{");
  assert.ok(await page.getByRole("button", { name: "Create" }).isDisabled(), "a broken first twin cannot be saved");
  await page.fill("#initial-twin", '{"tags": {"hall": "north"}, "properties": {"desired": {"load": 70}}}');
  await page.selectOption("#allocation", "static");
  await page.locator("fieldset input").first().check();
  await shoot("provisioning-create");
  await page.getByRole("button", { name: "Create" }).click();
  await page.waitForURL(/#\/provisioning\/enrollmentGroups\/page-group$/);
  await page.getByText("No device has registered by this group yet.").waitFor();

  await page.fill("#new-device", "no id");
  await page.getByRole("button", { name: "Show key and QR code" }).click();
  await page.locator("[role=alert]", { hasText: "registration id" }).waitFor();
  await page.fill("#new-device", "page-device");
  await page.getByRole("button", { name: "Show key and QR code" }).click();
  await page.getByRole("img", { name: "QR code of the block for page-device" }).waitFor();
  await shoot("provisioning-device");
  const block = await page.locator("[data-block]").innerText();
  const device = await register(page.context().request, base, block);
  await page.getByRole("button", { name: "Reload" }).click();
  await page.locator(`[data-registration="${device}"]`, { hasText: "assigned" }).waitFor();
  await page.getByRole("button", { name: "Done" }).click();
  assert.equal(await page.locator("[data-block]").count(), 0, "the key is gone once it was taken down");

  await page.getByRole("button", { name: "Disable" }).click();
  await page.getByText("○ Disabled").waitFor();
  await page.reload();
  await page.getByText("○ Disabled").waitFor();
  assert.match(await page.inputValue("#initial-twin"), /"hall": "north"/, "the first twin was kept");
  await shoot("provisioning-group");
  await page.goto(`${base}/#/provisioning`);
  await page.locator('[data-enrollment="page-group"]').click();
  await page.getByRole("button", { name: `Delete registration ${device}` }).click();
  await page.locator(`[data-registration="${device}"]`).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.waitForURL(/#\/provisioning$/);
  await page.locator(".enrollments").first().waitFor({ state: "attached" });
  assert.equal(await page.locator('[data-enrollment="page-group"]').count(), 0, "the group is gone");
  const refusal = problems.findIndex((problem) => problem.includes("a status of 400"));
  assert.ok(refusal >= 0, "a bad registration id was refused");
  problems.splice(refusal, 1);
  console.log(`provisioning: ${device} registered with the block it was told`);
}

/** Pictures of one state in every look, each as wide as its window. */
export const shooter = (page, looks, folder) => async (name) => {
  for (const look of looks) {
    await page.setViewportSize(look.viewport);
    await page.emulateMedia({ colorScheme: look.colorScheme });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${name} overflows by ${wide} px in ${look.name}`);
    await page.screenshot({ path: join(folder, `${look.name}-${name}.png`), fullPage: true });
  }
};
