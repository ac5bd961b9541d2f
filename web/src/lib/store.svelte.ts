// What the page knows, and the live stream that keeps it true.
//
// Points arrive far more often than a screen is drawn, so they wait in `pending`
// and are applied once per animation frame. Whoever draws a chart subscribes to
// the batches with `onPoints`; the rest reads the reactive fields of `store`.
import { API_BASE, ApiError, api, onSignedOut } from "./api";
import { applyPoints, backoff, countOpen, mergeAlert, mergeSecurity, orderFleet } from "./merge";
import type { Alert, Device, MaintenanceItem, PointEvent, SecurityEvent } from "./types";

const PENDING_MAX = 20_000;
const REFRESH_MS = 5000;

export type LiveState = "connecting" | "connected" | "reconnecting" | "lagged";

class Store {
  session = $state<"checking" | "in" | "out">("checking");
  user = $state("");
  permissions = $state.raw<string[]>([]);
  /** Nothing but another password may be chosen. */
  mustChange = $state(false);
  hasPassword = $state(true);
  hub = $state("");
  live = $state<LiveState>("connecting");
  loaded = $state(false);
  error = $state<string | null>(null);
  devices = $state.raw<Device[]>([]);
  maintenance = $state.raw<MaintenanceItem[]>([]);
  alerts = $state.raw<Alert[]>([]);
  security = $state.raw<SecurityEvent[]>([]);
  /** Rises whenever everything was loaded again, so that a chart reloads its series too. */
  generation = $state(0);
  now = $state(Date.now());
  openAlerts = $derived(this.alerts.filter((alert) => alert.state === "open").length);
}

export const store = new Store();

/** The text to show for any failure. */
export function words(error: unknown): string {
  return error instanceof ApiError ? error.message : `Something unexpected happened: ${String(error)}`;
}

let source: EventSource | null = null;
let retry: ReturnType<typeof setTimeout> | null = null;
let attempt = 0;
let opened = false;
let pending: PointEvent[] = [];
let frame = 0;
let loading: Promise<void> | null = null;
let reloadAgain = false;
const listeners = new Set<(points: readonly PointEvent[]) => void>();

export function onPoints(listener: (points: readonly PointEvent[]) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Loads everything again. Calls made while a load runs are joined into one more load. */
export function reload(): Promise<void> {
  if (loading) {
    reloadAgain = true;
    return loading;
  }
  loading = (async () => {
    do {
      reloadAgain = false;
      await loadOnce();
    } while (reloadAgain);
  })().finally(() => (loading = null));
  return loading;
}

async function loadOnce(): Promise<void> {
  try {
    const [devices, maintenance, alerts, security] = await Promise.all([api.fleet(), api.maintenance(), api.alerts(), store.permissions.includes("SecurityRead") ? api.security() : []]);
    store.maintenance = maintenance.items;
    store.devices = orderFleet(devices, maintenance.items);
    store.alerts = alerts;
    store.security = security;
    store.loaded = true;
    store.error = null;
    store.generation += 1;
  } catch (error) {
    store.error = words(error);
  }
}

/** Signs in with a token when there is one, else looks for a session. Throws when the token is refused. */
export async function start(token: string | null): Promise<void> {
  onSignedOut(leave);
  setInterval(() => {
    store.now = Date.now();
    // The stream reports a new order or reason only; urgency and health drift between them.
    if (store.session === "in" && !document.hidden && store.permissions.includes("DevicesRead")) refreshFleet();
  }, REFRESH_MS);
  if (!token) return enter();
  try {
    await signIn(token);
  } catch (refusal) {
    // A used link opened again is no harm while its session lasts.
    await enter();
    if (store.session !== "in") throw refusal;
  }
}

export async function signIn(proof: string | { name: string; password: string; code?: string }): Promise<void> {
  try {
    await api.signIn(typeof proof === "string" ? { token: proof } : proof);
  } catch (error) {
    store.session = "out";
    throw error;
  }
  await enter();
}

export async function enter(): Promise<void> {
  try {
    const session = await api.session();
    store.user = session.user;
    store.hub = session.hub;
    store.permissions = session.permissions;
    store.mustChange = session.mustChangePassword;
    store.hasPassword = session.hasPassword;
    store.session = "in";
  } catch (error) {
    store.session = "out";
    if (error instanceof ApiError && error.status === 401) return;
    throw error;
  }
  // Whoever may see no device has an account here, and their roles in the application.
  if (store.mustChange || !store.permissions.includes("DevicesRead")) {
    store.loaded = true;
    return;
  }
  connect();
  await reload();
}

export async function signOut(): Promise<void> {
  // Nothing is asked any more while the session ends: it would be refused.
  disconnect();
  store.session = "checking";
  try {
    await api.signOut();
    leave();
  } catch (error) {
    store.session = "in";
    store.error = words(error);
    if (store.permissions.includes("DevicesRead")) connect();
  }
}

function leave(): void {
  disconnect();
  opened = false;
  Object.assign(store, { session: "out", loaded: false, permissions: [], mustChange: false, devices: [], maintenance: [], alerts: [], security: [], error: null });
}

function disconnect(): void {
  source?.close();
  source = null;
  if (retry) clearTimeout(retry);
  retry = null;
  if (fleetTimer) clearTimeout(fleetTimer);
  fleetTimer = null;
  cancelAnimationFrame(frame);
  frame = 0;
  pending = [];
}

function connect(): void {
  disconnect();
  store.live = opened ? "reconnecting" : "connecting";
  const stream = new EventSource(`${API_BASE}/live`);
  source = stream;
  stream.onopen = () => {
    attempt = 0;
    store.live = "connected";
    if (opened) void reload();
    opened = true;
  };
  stream.onerror = () => {
    // The browser's own retry has no back-off, so the stream is closed and opened again by us.
    stream.close();
    if (source !== stream) return;
    store.live = "reconnecting";
    retry = setTimeout(() => void reconnect(), backoff(attempt++, Math.random()));
  };
  const on = <T>(name: string, handle: (data: T) => void) =>
    stream.addEventListener(name, (event) => {
      let data: T;
      try {
        data = JSON.parse((event as MessageEvent<string>).data) as T;
      } catch {
        return;
      }
      handle(data);
    });
  on<PointEvent>("point", queuePoint);
  on<{ items: MaintenanceItem[] }>("maintenance", ({ items }) => {
    store.maintenance = items;
    // Health is only in /fleet, and it changes with the list.
    store.devices = orderFleet(store.devices, items);
    void refreshFleet();
  });
  on<Alert>("alert", putAlert);
  on<SecurityEvent>("security", (event) => (store.security = mergeSecurity(store.security, event)));
  on<{ deviceId: string; connected: boolean }>("connection", ({ deviceId, connected }) => {
    if (!store.devices.some((device) => device.deviceId === deviceId)) return void refreshFleet();
    store.devices = store.devices.map((device) => (device.deviceId === deviceId ? { ...device, connected } : device));
  });
  on<{ missed: number }>("lagged", async () => {
    store.live = "lagged";
    await reload();
    if (source === stream && store.live === "lagged") store.live = "connected";
  });
}

/** An EventSource does not say why it failed; the session check finds out whether it was a 401. */
async function reconnect(): Promise<void> {
  try {
    await api.session();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return leave();
  }
  if (store.session === "in") connect();
}

let fleetTimer: ReturnType<typeof setTimeout> | null = null;

/** Loads the fleet and the maintenance list at most once a second. */
function refreshFleet(): void {
  if (fleetTimer) return;
  fleetTimer = setTimeout(async () => {
    try {
      const [devices, { items }] = await Promise.all([api.fleet(), api.maintenance()]);
      if (store.session !== "in") return;
      store.maintenance = items;
      store.devices = orderFleet(devices, items);
      store.error = null;
    } catch (error) {
      store.error = words(error);
    } finally {
      fleetTimer = null;
    }
  }, 1000);
}

function queuePoint(point: PointEvent): void {
  pending.push(point);
  // A hidden page gets no animation frames; it keeps only the newest points.
  if (pending.length > PENDING_MAX) pending.splice(0, PENDING_MAX / 2);
  if (!frame) frame = requestAnimationFrame(flush);
}

function flush(): void {
  frame = 0;
  const batch = pending;
  pending = [];
  const applied = applyPoints(store.devices, batch);
  store.devices = applied.devices;
  if (applied.unknown && store.loaded) refreshFleet();
  for (const listener of listeners) listener(batch);
}

export function putAlert(alert: Alert): void {
  store.alerts = mergeAlert(store.alerts, alert);
  const counts = countOpen(store.alerts);
  store.devices = store.devices.map((device) => ({ ...device, openAlerts: counts.get(device.deviceId) ?? 0 }));
}
