// How live events change what was loaded. Pure functions, so they can be tested without a browser.
import type { Alert, Device, MaintenanceItem, PointEvent, SecurityEvent } from "./types";

const KEPT_MAX = 500;

/** Newest first; an alert already held is replaced in place of its old state. */
export function mergeAlert(alerts: readonly Alert[], alert: Alert): Alert[] {
  const others = alerts.filter((other) => other.id !== alert.id);
  return [alert, ...others].sort((a, b) => Date.parse(b.openedAt) - Date.parse(a.openedAt)).slice(0, KEPT_MAX);
}

/** A repeated refusal arrives with a higher count and takes the place of the former. */
export function mergeSecurity(events: readonly SecurityEvent[], event: SecurityEvent): SecurityEvent[] {
  const same = (other: SecurityEvent) =>
    event.count > 1 &&
    other.claimed === event.claimed && other.peer === event.peer &&
    other.operation === event.operation && other.reason === event.reason;
  return [event, ...events.filter((other) => !same(other))].slice(0, KEPT_MAX);
}

/** Devices in the order of the maintenance list, then by id; urgency and reason come from the list. */
export function orderFleet(devices: readonly Device[], items: readonly MaintenanceItem[]): Device[] {
  const byId = new Map(items.map((item) => [item.deviceId, item]));
  const place = (device: Device) => byId.get(device.deviceId)?.place ?? Infinity;
  return devices
    .map((device) => {
      const item = byId.get(device.deviceId);
      return item ? { ...device, urgency: item.urgency, reason: item.reason } : device;
    })
    .sort((a, b) => {
      const [left, right] = [place(a), place(b)];
      return left === right ? (a.deviceId < b.deviceId ? -1 : 1) : left - right;
    });
}

/** The latest point of each device's shown signal. A device not yet in the list is reported as unknown. */
export function applyPoints(devices: readonly Device[], points: readonly PointEvent[]): { devices: Device[]; unknown: boolean } {
  const known = new Set(devices.map((device) => device.deviceId));
  const unknown = points.some((point) => !known.has(point.deviceId));
  const next = devices.map((device) => {
    let changed = device;
    for (const { deviceId, signal, ...point } of points)
      if (deviceId === device.deviceId && (device.signal === null || device.signal === signal))
        changed = { ...changed, signal, last: point, connected: true, lastActivityTime: point.time };
    return changed;
  });
  return { devices: next, unknown };
}

/** Open alerts of each device, counted from the alerts themselves. */
export function countOpen(alerts: readonly Alert[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const alert of alerts)
    if (alert.state === "open" && alert.deviceId) counts.set(alert.deviceId, (counts.get(alert.deviceId) ?? 0) + 1);
  return counts;
}

/** Milliseconds before reconnection attempt `attempt` (from 0): doubling, at most 15 s, with jitter in [0, 1). */
export function backoff(attempt: number, jitter: number): number {
  return Math.min(15_000, 500 * 2 ** attempt) * (0.75 + jitter / 2);
}
