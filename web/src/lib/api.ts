// Calls to the platform API. Every failure becomes an ApiError whose message can be shown to a person.
import type { Alert, Change, Device, Forecast, MaintenanceItem, Point, SecurityEvent, Signal, StreamingJob, ToLimit, Twin } from "./types";

export const API_BASE = "/platform/v1";

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** What to tell a person when the answer carries no message of its own. */
export function wordsForStatus(status: number): string {
  if (status === 0) return "The platform did not answer. Check that gantry is running and reachable.";
  if (status === 401) return "You are not signed in, or the session has ended.";
  if (status === 403) return "This session may not do that.";
  if (status === 404) return "Not found.";
  if (status === 429) return "Too many requests. Try again in a moment.";
  if (status >= 500) return `The platform failed to answer (${status}). Its log says why.`;
  return `The request was refused (${status}).`;
}

/** Called when any request other than the session check is answered 401. */
let signedOut: () => void = () => {};
export function onSignedOut(callback: () => void): void {
  signedOut = callback;
}

/** Tells the page that the session has ended. */
export function signedOutNow(): void {
  signedOut();
}

export async function call<T>(method: string, path: string, body?: unknown, more: Record<string, string> = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", ...more };
  if (method !== "GET") headers["x-gantry-csrf"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(API_BASE + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch {
    throw new ApiError(0, "Unreachable", wordsForStatus(0));
  }
  const text = await response.text();
  let parsed: unknown = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw new ApiError(response.status, "BadAnswer", "The platform's answer was not JSON.");
  }
  if (!response.ok) {
    if (response.status === 401 && path !== "/session") signedOut();
    const error = (parsed as { error?: { code?: string; message?: string } } | null)?.error;
    throw new ApiError(response.status, error?.code ?? "Unknown", error?.message || wordsForStatus(response.status));
  }
  return parsed as T;
}

const device = (id: string) => `/devices/${encodeURIComponent(id)}`;

export const api = {
  session: () => call<{ user: string; hub: string; permissions: string[] }>("GET", "/session"),
  signIn: (token: string) => call<unknown>("POST", "/session", { token }),
  signOut: () => call<unknown>("DELETE", "/session"),
  fleet: async () => (await call<{ devices: Device[] }>("GET", "/fleet")).devices,
  maintenance: () => call<{ items: MaintenanceItem[]; updatedAt: string }>("GET", "/maintenance"),
  serviced: (id: string) => call<unknown>("POST", `/maintenance/${encodeURIComponent(id)}/serviced`),
  signals: async (id: string) => (await call<{ signals: Signal[] }>("GET", `${device(id)}/signals`)).signals,
  series: (id: string, signal: string, limit: number) =>
    call<{ points: Point[]; changes: Change[] }>("GET", `${device(id)}/series?signal=${encodeURIComponent(signal)}&limit=${limit}`),
  forecast: (id: string, signal: string, seconds: number, points: number) =>
    call<{ points: Forecast[]; limits: ToLimit[] }>("GET", `${device(id)}/forecast?signal=${encodeURIComponent(signal)}&seconds=${seconds}&points=${points}`),
  twin: (id: string) => call<Twin>("GET", `${device(id)}/twin`),
  patchTwin: (id: string, patch: unknown) => call<Twin>("PATCH", `${device(id)}/twin`, patch),
  method: (id: string, methodName: string, payload: unknown, responseTimeoutInSeconds: number) =>
    call<{ status: number; payload: unknown }>("POST", `${device(id)}/methods`, { methodName, payload, responseTimeoutInSeconds }),
  alerts: async () => (await call<{ alerts: Alert[] }>("GET", "/alerts")).alerts,
  acknowledge: (id: string) => call<Alert>("POST", `/alerts/${encodeURIComponent(id)}/acknowledge`),
  close: (id: string) => call<Alert>("POST", `/alerts/${encodeURIComponent(id)}/close`),
  streamingJobs: async () => (await call<{ value: StreamingJob[] }>("GET", "/streaming/jobs")).value,
  security: async () => (await call<{ events: SecurityEvent[] }>("GET", "/security")).events,
};
