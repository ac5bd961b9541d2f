// A MOCK of the platform API (docs/platform-api.md) with three simulated motors.
// For development and the page test only; it is never part of the gantry binary.
//
//   node mock/server.mjs [--port 5180] [--vite]
//
// Serves dist/ under the content security policy the page must live with,
// or lets Vite serve the sources with --vite. Sign in with #signin=mock-token.
// The motors are deterministic: the same tick gives the same values.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { createDashboards } from "./dashboards.mjs";
import { ingest, kusto } from "./kusto.mjs";
import { createProvisioning } from "./provisioning.mjs";

export const TOKEN = "mock-token";
export const CSP = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".ttf": "font/ttf", ".txt": "text/plain" };
const TICK_MS = 50;
const COOKIE = "gantry_session=mock";
const SESSION = { user: "admin", displayName: "admin", hub: "gantry", permissions: ["DevicesRead", "SecurityRead"], csrf: "1", hasPassword: false, mustChangePassword: false };
const ACCOUNT = { name: "admin", displayName: "admin", email: null, role: "administrator", issuer: null, hasPassword: false, passwordChangedAt: null, hasTotp: false, recoveryCodesLeft: 0 };

/** A small deterministic generator (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function createMock({ vite = null, tickMs = TICK_MS } = {}) {
  const draw = random(7);
  const clients = new Set();
  const motors = ["motor-healthy", "motor-shifted", "motor-failing"].map((deviceId, index) => ({
    deviceId, index, points: [], urgency: [0.15, 0.12, 0.145][index], reason: "Runs as expected", lastServiced: null,
    twin: { deviceId, version: 2, tags: { hall: "north" }, properties: { desired: { load: 100, $version: 1 }, reported: { firmware: "1.4.2", load: 100, $version: 1 } } },
  }));
  const alerts = [];
  const provisioning = createProvisioning();
  const dashboards = createDashboards();
  const security = [{ at: new Date().toISOString(), claimed: "motor-9", peer: "192.0.2.17:50122", operation: "connect", reason: "device is not registered", count: 4 }];
  let tick = 0;
  let order = "";

  const send = (event, data) => {
    for (const client of clients) client.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  };

  function pointOf(motor, at) {
    const expected = 70 + motor.index * 4 + 5 * Math.sin((tick + motor.index * 40) / 60);
    // The third motor runs hot in a part of every cycle, from second 5 on.
    const hot = motor.index === 2 && tick > 100 && tick % 400 > 100 && tick % 400 < 180;
    const value = expected + (draw() - 0.5) * 2 + (hot ? 14 : 0);
    return { time: new Date(at).toISOString(), value, score: hot ? 0.97 : draw() * 0.4, low: expected - 3, expected, high: expected + 3,
      anomaly: hot, reason: hot ? `${value.toFixed(1)} is above the expected ${(expected - 3).toFixed(1)} to ${(expected + 3).toFixed(1)}` : null };
  }

  function step(at = Date.now(), live = true) {
    tick += 1;
    for (const motor of motors) {
      const point = pointOf(motor, at);
      motor.points.push(point);
      if (motor.points.length > 10_000) motor.points.shift();
      if (live) send("point", { deviceId: motor.deviceId, signal: "temperature", ...point });
      if (point.anomaly) {
        motor.urgency = Math.min(0.95, motor.urgency + 0.02);
        motor.reason = "Temperature left its expected band upward";
        if (live && !alerts.some((alert) => alert.deviceId === motor.deviceId && alert.state !== "closed")) openAlert(motor, point);
      }
    }
    const now = maintenance().map((item) => item.deviceId + item.reason).join();
    if (live && now !== order) {
      order = now;
      send("maintenance", { items: maintenance() });
    }
  }

  /** The wave goes on; how it is off grows with the distance. */
  function forecastOf(motor, seconds, points) {
    const last = Date.parse(motor.points.at(-1)?.time ?? new Date().toISOString());
    const at = (index) => {
      const ahead = (seconds * index) / points;
      const expected = 70 + motor.index * 4 + 5 * Math.sin((tick + (ahead * 1000) / TICK_MS + motor.index * 40) / 60);
      const half = 2 + Math.sqrt(ahead);
      return { time: new Date(last + ahead * 1000).toISOString(), low: expected - half, expected, high: expected + half };
    };
    const time = (minutes) => new Date(last + minutes * 60_000).toISOString();
    const limit = { ruleId: "too-hot", limit: 85, direction: "above", earliest: time(2), likely: time(6), latest: time(15), until: time(60), words: "in about 6 min, between 2 min and 15 min" };
    return { points: Array.from({ length: points }, (_, index) => at(index + 1)), limits: [limit] };
  }

  /** A level that changed, 40 points back. */
  const changesOf = (motor) => motor.points.slice(-40, -39).map((point) => ({ time: point.time, from: point.value - 3, to: point.value }));

  function openAlert(motor, point) {
    const alert = { id: `a${alerts.length + 1}`, ruleId: "anomaly", deviceId: motor.deviceId, kind: "anomaly", severity: "critical", state: "open",
      title: `Temperature of ${motor.deviceId} is unusual`, reason: point.reason, openedAt: point.time, updatedAt: point.time, count: 1,
      actions: [{ kind: "webhook", state: "done", attempts: 1, error: null }, { kind: "email", state: "failed", attempts: 3, error: "connection refused" }] };
    alerts.unshift(alert);
    send("alert", alert);
  }

  const maintenance = () =>
    [...motors].sort((a, b) => b.urgency - a.urgency).map((motor, index) => ({ place: index + 1, deviceId: motor.deviceId, urgency: motor.urgency,
      reason: motor.reason, signal: "temperature", lastServiced: motor.lastServiced }));

  const streaming = () => [{
    name: "averages", query: "SELECT IoTHub.ConnectionDeviceId AS device, AVG(temperature) AS average INTO Averages\nFROM input GROUP BY IoTHub.ConnectionDeviceId, TumblingWindow(minute, 5)",
    input: "input", outputs: [{ name: "Averages", to: "table" }], reference: [], state: "running", failure: null, since: new Date(Date.now() - 60_000).toISOString(),
    watermark: new Date(Date.now() - 2000).toISOString(), events: tick * 3, rows: Math.floor(tick / 100) * 3,
    dropped: { late: 0, "no record": 2 }, held: { events: 0, groups: 3, bytes: 900 },
  }];

  const fleet = () =>
    maintenance().map((item) => {
      const motor = motors.find((one) => one.deviceId === item.deviceId);
      const last = motor.points.at(-1) ?? null;
      return { deviceId: item.deviceId, connected: true, health: item.urgency > 0.7 ? "poor" : item.urgency > 0.4 ? "watch" : "good", urgency: item.urgency,
        reason: item.reason, signal: "temperature", last, openAlerts: alerts.filter((a) => a.deviceId === item.deviceId && a.state === "open").length,
        lastActivityTime: last?.time ?? null };
    });

  function merge(target, patch) {
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) delete target[key];
      else if (typeof value === "object" && !Array.isArray(value)) target[key] = merge(target[key] ?? {}, value);
      else target[key] = value;
    }
    return target;
  }

  function answer(response, status, body, headers = {}) {
    response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  }
  const refuse = (response, status, code, message) => answer(response, status, { error: { code, message } });

  async function platform(request, response, url) {
    const path = url.pathname.slice("/platform/v1".length);
    const key = `${request.method} ${path}`;
    let text = "";
    for await (const chunk of request) text += chunk;
    let body = null;
    try {
      body = text ? JSON.parse(text) : null;
    } catch {
      return refuse(response, 400, "BadRequest", "The body is not JSON.");
    }
    if (key === "GET /sign-in") return answer(response, 200, { openId: [{ id: "works", name: "Works" }] });
    if (key === "POST /session") {
      if (body?.token !== TOKEN) return refuse(response, 401, "Unauthorized", "This sign-in link was used before or is not known.");
      return answer(response, 200, SESSION, { "set-cookie": `${COOKIE}; HttpOnly; SameSite=Strict; Path=/` });
    }
    if (!(request.headers.cookie ?? "").includes(COOKIE)) return refuse(response, 401, "Unauthorized", "Sign in first.");
    if (request.method !== "GET" && request.headers["x-gantry-csrf"] !== "1") return refuse(response, 403, "Forbidden", "The header x-gantry-csrf is missing.");
    if (key === "GET /session") return answer(response, 200, SESSION);
    if (key === "GET /account") return answer(response, 200, ACCOUNT);
    if (key === "GET /account/sessions") return answer(response, 200, { value: [{ id: "a", from: "127.0.0.1 Mozilla/5.0", openedAt: new Date().toISOString(), usedAt: new Date().toISOString(), current: true }] });
    if (key === "DELETE /session") return answer(response, 204, undefined, { "set-cookie": "gantry_session=; Max-Age=0; Path=/" });
    if (key === "GET /fleet") return answer(response, 200, { devices: fleet() });
    if (key === "GET /maintenance") return answer(response, 200, { items: maintenance(), updatedAt: new Date().toISOString() });
    if (key === "GET /alerts") return answer(response, 200, { alerts });
    if (key === "GET /streaming/jobs") return answer(response, 200, { value: streaming() });
    if (key === "GET /security") return answer(response, 200, { events: security });
    if (key === "GET /live") {
      response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
      response.write(": hello\n\n");
      clients.add(response);
      response.on("close", () => clients.delete(response));
      return;
    }
    const [, room, id, action, ...rest] = path.split("/").map(decodeURIComponent);
    if (room === "provisioning") return answer(response, ...provisioning.answer(request.method, [id, action, ...rest], body, request.headers["if-match"]));
    if (room === "dashboards") return answer(response, ...dashboards.answer(request.method, id, body, request.headers["if-match"]));
    if (room === "alerts") {
      const alert = alerts.find((one) => one.id === id);
      if (!alert) return refuse(response, 404, "NotFound", `There is no alert ${id}.`);
      alert.state = action === "close" ? "closed" : "acknowledged";
      send("alert", alert);
      return answer(response, 200, alert);
    }
    const motor = motors.find((one) => one.deviceId === id);
    if (!motor) return refuse(response, 404, "NotFound", `There is no device ${id}.`);
    if (room === "maintenance") {
      Object.assign(motor, { urgency: 0, reason: "Serviced just now", lastServiced: new Date().toISOString() });
      return answer(response, 204);
    }
    if (action === "signals") return answer(response, 200, { signals: [{ name: "temperature", unit: null, last: motor.points.at(-1) ?? null }] });
    if (action === "series") return answer(response, 200, { deviceId: id, signal: "temperature", points: motor.points.slice(-Number(url.searchParams.get("limit") ?? 2000)), changes: changesOf(motor) });
    if (action === "forecast") return answer(response, 200, { deviceId: id, signal: "temperature", ...forecastOf(motor, Number(url.searchParams.get("seconds") ?? 60), Number(url.searchParams.get("points") ?? 100)) });
    if (action === "twin" && request.method === "PATCH") {
      merge(motor.twin, body);
      motor.twin.version += 1;
      motor.twin.properties.desired.$version += 1;
    }
    if (action === "twin") return answer(response, 200, motor.twin);
    if (action === "methods") return body.methodName === "reduceLoad" ? answer(response, 200, { status: 200, payload: { load: 70 } }) : answer(response, 200, { status: 501, payload: null });
    refuse(response, 404, "NotFound", "There is no such path.");
  }

  async function question(request, response, url) {
    let text = "";
    for await (const chunk of request) text += chunk;
    if (!(request.headers.cookie ?? "").includes(COOKIE)) return refuse(response, 401, "Unauthorized", "Sign in first.");
    if (request.headers["x-gantry-csrf"] !== "1") return refuse(response, 403, "Forbidden", "The header x-gantry-csrf is missing.");
    answer(response, ...(url.pathname.startsWith("/v1/rest/ingest/") ? ingest(url.pathname, text) : kusto(url.pathname, JSON.parse(text), motors)));
  }

  async function page(request, response, url) {
    const file = join(DIST, normalize(url.pathname === "/" ? "index.html" : url.pathname));
    const headers = { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": CSP, "x-content-type-options": "nosniff" };
    const plain = await readFile(file).catch(() => null);
    const packed = plain ? null : await readFile(`${file}.br`).catch(() => null);
    if (plain) response.writeHead(200, headers).end(plain);
    else if (!packed) response.writeHead(404).end();
    else if (/\bbr\b(?!;q=0)/.test(request.headers["accept-encoding"] ?? "")) response.writeHead(200, { ...headers, "content-encoding": "br" }).end(packed);
    else response.writeHead(200, headers).end(brotliDecompressSync(packed));
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const registering = /^\/[^/]+\/registrations\/([^/]+)\/register$/.exec(url.pathname);
    if (url.pathname.startsWith("/platform/v1/")) void platform(request, response, url);
    else if (/^\/v[12]\/rest\//.test(url.pathname)) void question(request, response, url);
    else if (registering) answer(response, ...provisioning.register(decodeURIComponent(registering[1])));
    else if (vite) vite.middlewares(request, response);
    else void page(request, response, url);
  });
  // Three seconds of past, so that a chart is not empty at first sight.
  for (let past = 60; past > 0; past -= 1) step(Date.now() - past * TICK_MS, false);
  order = maintenance().map((item) => item.deviceId + item.reason).join();
  // Time passes while somebody watches, so that a slow start misses nothing.
  const timer = setInterval(() => clients.size && step(), tickMs);
  server.on("close", () => clearInterval(timer));
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const at = process.argv.indexOf("--port");
  const port = at > 0 ? Number(process.argv[at + 1]) : 5180;
  const vite = process.argv.includes("--vite") ? await (await import("vite")).createServer({ server: { middlewareMode: true, hmr: { port: port + 1 } } }) : null;
  createMock({ vite }).listen(port, "127.0.0.1", () => console.log(`mock platform: http://127.0.0.1:${port}/#signin=${TOKEN}`));
}
