// Drives the provisioning view: a group, a new device that registers with what it is told, settings, deletion.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
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

/** Makes an individual enrollment with a key of its own, registers its device, and deletes it. */
export async function enroll(page, base) {
  await page.goto(`${base}/#/provisioning`);
  await page.getByRole("button", { name: "New enrollment" }).click();
  await page.fill("#enrollment-id", "page-single");
  await page.fill("#device-id", "page-single-at-hub");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("The device has not registered yet.").waitFor();
  await page.getByRole("button", { name: "Show key and QR code" }).click();
  await page.getByRole("img", { name: "QR code of the block for page-single" }).waitFor();
  await register(page.context().request, base, await page.locator("[data-block]").innerText());
  await page.reload();
  await page.getByText("as page-single-at-hub").waitFor();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.waitForURL(/#\/provisioning$/);
  console.log("provisioning: the device of an individual enrollment registered");
}

/** Uploads an authority, proves that its key is ours, and makes a group whose devices have certificates under it. */
export async function certify(page, base, shoot) {
  const folder = await mkdtemp(join(tmpdir(), "gantry-page-"));
  const file = (name) => join(folder, name);
  const openssl = (...args) => execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  try {
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", file("root.key"), "-out", file("root.pem"), "-subj", "/CN=Page root", "-days", "30");
    await page.goto(`${base}/#/provisioning`);
    await page.getByRole("button", { name: "Upload" }).click();
    await page.fill("#authority-name", "page-root");
    await page.setInputFiles("#authority-file", file("root.key"));
    await page.getByRole("button", { name: "Upload" }).click();
    await page.getByText("This file holds a private key.").waitFor();
    await page.setInputFiles("#authority-file", file("root.pem"));
    await page.getByRole("button", { name: "Upload" }).click();
    const authority = page.locator('[data-authority="page-root"]');
    await authority.getByText("○ Not verified").waitFor();
    await authority.getByRole("button", { name: "Verify page-root" }).click();
    const code = (await authority.locator("[data-code]").innerText()).trim();
    await shoot("provisioning-authority");
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", file("proof.key"), "-out", file("proof.csr"), "-subj", `/CN=${code}`);
    openssl("x509", "-req", "-in", file("proof.csr"), "-CA", file("root.pem"), "-CAkey", file("root.key"), "-CAcreateserial", "-out", file("proof.pem"), "-days", "1");
    await page.setInputFiles("#proof", file("proof.pem"));
    await authority.getByRole("button", { name: "Check proof" }).click();
    await authority.getByText("● Verified").waitFor();

    for (const [id, way] of [["page-by-name", "authority"], ["page-by-file", "certificate"]]) {
      await page.goto(`${base}/#/provisioning`);
      await page.getByRole("button", { name: "New group" }).click();
      await page.fill("#enrollment-id", id);
      await page.selectOption("#way", way);
      if (way === "authority") await page.selectOption("#authority", "page-root");
      else await page.setInputFiles("#certificate", file("root.pem"));
      await page.getByRole("button", { name: "Create" }).click();
      await page.getByText(way === "authority" ? "Certificate under page-root" : /Certificate under .*Page root/).waitFor();
      await page.getByRole("button", { name: "Delete", exact: true }).click();
      await page.getByRole("button", { name: "Delete for good" }).click();
      await page.waitForURL(/#\/provisioning$/);
    }
    await authority.getByRole("button", { name: "Delete page-root" }).click();
    await authority.getByRole("button", { name: "Delete for good" }).click();
    await authority.waitFor({ state: "detached" });
    console.log("provisioning: an authority was uploaded and verified, groups take certificates under it");
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Waits until the editors of a wide window are there, and have their colours. */
export async function editorsOpen(page, look) {
  if (look.viewport.width <= 700) return;
  await page.waitForFunction(() => [...document.querySelectorAll(".editor")].every((box) => box.querySelector('.view-lines span[class*=" "]')));
}

/** The page is no wider than its window; what is laid out by its own code follows the window a moment later. */
export async function fits(page, what) {
  const within = () => document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  await page.waitForFunction(within).catch(() => assert.fail(`${what} overflows`));
}

/** Pictures of one state in every look, each as wide as its window. */
export const shooter = (page, looks, folder) => async (name) => {
  for (const look of looks) {
    await page.setViewportSize(look.viewport);
    await page.emulateMedia({ colorScheme: look.colorScheme });
    await editorsOpen(page, look);
    await fits(page, `${name} in ${look.name}`);
    await page.screenshot({ path: join(folder, `${look.name}-${name}.png`), fullPage: true });
  }
};
