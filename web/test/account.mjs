// Drives sign-in and the account view: a password, a second factor, recovery codes, sessions, a link to choose a password.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";

const PASSWORD = "tallow brink seven";
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** The code an authenticator shows, so many steps from now. */
function code(secret, steps) {
  const bits = [...secret].map((c) => ALPHABET.indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac("sha1", key).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** Takes the console's word for one refusal that was provoked here. */
function expected(problems, status) {
  const found = problems.findIndex((problem) => problem.includes(`a status of ${status}`));
  assert.ok(found >= 0, `something was answered ${status}`);
  problems.splice(found, 1);
}

/** As the administrator who came by a link; ends signed out. */
export async function account(page, base, shoot, problems) {
  await page.goto(`${base}/#/account`);
  await page.getByText("You came with a link.").waitFor();
  await page.fill("#next", "short");
  await page.fill("#again", "short");
  await page.getByRole("button", { name: "Set password" }).click();
  await page.locator("[role=alert]", { hasText: "fewer than 12 characters" }).waitFor();
  expected(problems, 400);
  await page.fill("#next", PASSWORD);
  await page.fill("#again", PASSWORD);
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByText("Your password is changed.").waitFor();

  await page.fill("#proof", PASSWORD);
  await page.getByRole("button", { name: "Set up" }).click();
  await page.getByRole("img", { name: "QR code of your second factor" }).waitFor();
  await shoot("account-totp");
  const secret = await page.locator("[data-secret]").innerText();
  await page.fill("#code", code(secret, -1));
  await page.getByRole("button", { name: "Switch on" }).click();
  await page.locator(".codes li").first().waitFor();
  assert.equal(await page.locator(".codes li").count(), 10);
  await shoot("account-codes");
  const [first, second] = await page.locator(".codes li").allInnerTexts();
  await page.getByRole("button", { name: "I have them" }).click();
  await page.getByText("10 recovery codes left").waitFor();
  await shoot("account");

  // Another browser of the same person, which is ended from here.
  const other = await page.context().browser().newContext({ ignoreHTTPSErrors: true });
  try {
    const answer = await other.request.post(`${base}/platform/v1/session`, { data: { name: "admin", password: PASSWORD, code: first } });
    assert.equal(answer.status(), 200);
    await page.reload();
    await page.locator('[data-session="other"]').getByRole("button").click();
    await page.locator('[data-session="other"]').waitFor({ state: "detached" });
    assert.equal((await other.request.get(`${base}/platform/v1/session`)).status(), 401, "the other session has ended");
  } finally {
    await other.close();
  }

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForSelector("#name");
  await shoot("signin");
  await page.fill("#name", "admin");
  await page.fill("#password", "wrong");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.locator("[role=alert]", { hasText: "name, password or code is wrong" }).waitFor();
  expected(problems, 401);
  await page.fill("#password", PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForSelector("#code");
  expected(problems, 401);
  await shoot("signin-code");
  await page.fill("#code", second);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.locator(".who", { hasText: "admin" }).waitFor();
  await page.goto(`${base}/#/account`);
  await page.getByText("8 recovery codes left").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForSelector("#name");
  console.log("account: a password, a second factor with recovery codes, sessions");
}

/** What the page looks like with a link to choose a password, and after a provider's refusal. */
export async function links(page, base, shoot, problems) {
  await page.goto("about:blank");
  await page.goto(`${base}/#password=guess`);
  await page.waitForSelector("#new-password");
  assert.ok(!page.url().includes("guess"), "the token is gone from the address bar");
  expected(problems, 401);
  await page.fill("#new-password", PASSWORD);
  await page.fill("#again", "another");
  await page.getByRole("button", { name: "Set password" }).click();
  await page.locator("[role=alert]", { hasText: "not the same" }).waitFor();
  await page.fill("#again", PASSWORD);
  await page.getByRole("button", { name: "Set password" }).click();
  await page.locator("[role=alert]", { hasText: "the link is unknown" }).waitFor();
  expected(problems, 403);
  await shoot("password");
  await page.goto("about:blank");
  await page.goto(`${base}/#refused`);
  await page.locator("[role=alert]", { hasText: "The provider did not sign you in here." }).waitFor();
  expected(problems, 401);
}
