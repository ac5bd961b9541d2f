// The shapes of docs/platform-api.md, word for word.

export type Health = "good" | "watch" | "poor" | "unknown";

export interface Point {
  time: string;
  value: number;
  /** Nothing for what was sent before the platform started: it is not judged again. */
  score: number | null;
  low: number | null;
  expected: number | null;
  high: number | null;
  anomaly: boolean;
  reason: string | null;
}

/** Where a signal is expected: nine of ten values lie between low and high. */
export interface Forecast {
  time: string;
  low: number;
  expected: number;
  high: number;
}

/** When a signal reaches the limit of a rule, as far as that can be foreseen. */
export interface ToLimit {
  ruleId: string;
  limit: number;
  direction: "above" | "below";
  earliest: string | null;
  likely: string | null;
  latest: string | null;
  until: string | null;
  words: string;
}

/** The level of a signal changed. */
export interface Change {
  time: string;
  from: number;
  to: number;
}

export interface Device {
  deviceId: string;
  connected: boolean;
  health: Health;
  urgency: number;
  reason: string;
  signal: string | null;
  last: Point | null;
  openAlerts: number;
  lastActivityTime: string | null;
}

export interface MaintenanceItem {
  place: number;
  deviceId: string;
  urgency: number;
  reason: string;
  signal: string | null;
  lastServiced: string | null;
}

export type AlertState = "open" | "acknowledged" | "closed";

export interface AlertAction {
  kind: "webhook" | "email" | "method" | "desired";
  state: "pending" | "done" | "failed";
  attempts: number;
  error: string | null;
}

export interface Alert {
  id: string;
  ruleId: string;
  deviceId: string | null;
  kind: "anomaly" | "maintenance" | "security" | "row" | "limit";
  severity: "info" | "warning" | "critical";
  state: AlertState;
  title: string;
  reason: string;
  openedAt: string;
  updatedAt: string;
  count: number;
  actions: AlertAction[];
}

export interface SecurityEvent {
  at: string;
  claimed: string;
  peer: string;
  operation: string;
  reason: string;
  count: number;
}

export interface StreamingJob {
  name: string;
  query: string;
  input: string;
  outputs: { name: string; to: "table" | "events" }[];
  reference: string[];
  state: "starting" | "running" | "failed";
  failure: string | null;
  since: string;
  watermark: string | null;
  events: number;
  rows: number;
  dropped: Record<string, number>;
  held: { events: number; groups: number; bytes: number };
}

export interface Signal {
  name: string;
  unit: string | null;
  last: Point | null;
}

export type PointEvent = Point & { deviceId: string; signal: string };

export interface Twin {
  version?: number;
  etag?: string;
  tags?: Record<string, unknown>;
  properties?: {
    desired?: Record<string, unknown>;
    reported?: Record<string, unknown>;
  };
}
