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

/** Shows that a call is the page's own; told with the session. */
let csrf = "";
export const csrfHeader = (): Record<string, string> => ({ "x-gantry-csrf": csrf });

export interface Session {
  user: string;
  displayName: string;
  hub: string;
  permissions: string[];
  csrf: string;
  hasPassword: boolean;
  mustChangePassword: boolean;
}

export interface Account {
  name: string;
  displayName: string;
  email: string | null;
  role: string;
  issuer: string | null;
  hasPassword: boolean;
  passwordChangedAt: string | null;
  hasTotp: boolean;
  recoveryCodesLeft: number;
}

export interface OwnSession {
  id: string;
  from: string;
  openedAt: string;
  usedAt: string;
  current: boolean;
}

async function opened<T extends { csrf: string }>(answer: Promise<T>): Promise<T> {
  const told = await answer;
  csrf = told.csrf;
  return told;
}

export async function call<T>(method: string, path: string, body?: unknown, more: Record<string, string> = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", ...more };
  if (method !== "GET") Object.assign(headers, csrfHeader());
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
    if (response.status === 401 && path !== "/session" && path !== "/sign-in/password") signedOut();
    const error = (parsed as { error?: { code?: string; message?: string } } | null)?.error;
    throw new ApiError(response.status, error?.code ?? "Unknown", error?.message || wordsForStatus(response.status));
  }
  return parsed as T;
}

const device = (id: string) => `/devices/${encodeURIComponent(id)}`;

export const api = {
  session: () => opened(call<Session>("GET", "/session")),
  signIn: (proof: { token: string } | { name: string; password: string; code?: string }) => opened(call<Session>("POST", "/session", proof)),
  providers: async () => (await call<{ openId: { id: string; name: string }[] }>("GET", "/sign-in")).openId,
  choosePassword: (token: string, password: string) => call<unknown>("POST", "/sign-in/password", { token, password }),
  account: () => call<Account>("GET", "/account"),
  changePassword: (current: string, next: string) => opened(call<{ csrf: string }>("PUT", "/account/password", current ? { current, new: next } : { new: next })),
  beginTotp: (password: string) => call<{ secret: string; uri: string }>("POST", "/account/totp", { password }),
  confirmTotp: async (code: string) => (await call<{ recoveryCodes: string[] }>("PUT", "/account/totp", { code })).recoveryCodes,
  removeTotp: (password: string) => call<unknown>("POST", "/account/totp/remove", { password }),
  drawCodes: async (password: string) => (await call<{ recoveryCodes: string[] }>("POST", "/account/recoveryCodes", { password })).recoveryCodes,
  ownSessions: async () => (await call<{ value: OwnSession[] }>("GET", "/account/sessions")).value,
  endSession: (id: string) => call<unknown>("DELETE", `/account/sessions/${encodeURIComponent(id)}`),
  endOtherSessions: () => call<unknown>("DELETE", "/account/sessions"),
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
