import { describe, expect, it } from "vitest";
import { formatAgo, formatValue, mergePatch, parseJson, plainSection, signInToken } from "./format";
import { applyPoints, backoff, mergeAlert, mergeSecurity, orderFleet } from "./merge";
import { Series } from "./series";
import type { Alert, Device, MaintenanceItem, Point, PointEvent, SecurityEvent } from "./types";

const point = (ms: number, value = 1): Point => ({ time: new Date(ms).toISOString(), value, score: 0, low: null, expected: null, high: null, anomaly: false, reason: null });
const device = (deviceId: string): Device => ({ deviceId, connected: false, health: "good", urgency: 0, reason: "", signal: null, last: null, openAlerts: 0, lastActivityTime: null });
const item = (place: number, deviceId: string, urgency: number): MaintenanceItem => ({ place, deviceId, urgency, reason: "hot", signal: null, lastServiced: null });

describe("series", () => {
  it("keeps only the newest points", () => {
    const series = new Series(3);
    series.merge([1, 2, 3, 4, 5].map((at) => point(at, at)));
    expect(series.points.map((p) => p.value)).toEqual([3, 4, 5]);
  });
  it("puts late points in their place and replaces the same time", () => {
    const series = new Series(10);
    series.merge([point(10, 1), point(30, 3)]);
    series.merge([point(20, 2), point(30, 9)]);
    expect(series.points.map((p) => p.value)).toEqual([1, 2, 9]);
  });
  it("ignores a time that is none", () => {
    const series = new Series(10);
    series.merge([{ ...point(1), time: "soon" }]);
    expect(series.points).toEqual([]);
  });
  it("marks anomalies in a column of their own", () => {
    const series = new Series(10);
    series.merge([point(1000, 5), { ...point(2000, 7), anomaly: true }]);
    expect(series.columns()[0]).toEqual([1, 2]);
    expect(series.columns()[5]).toEqual([null, 7]);
  });
  it("goes on from the last value with what is still ahead", () => {
    const series = new Series(10);
    series.merge([point(1000, 5), point(2000, 7)]);
    expect(series.columns()[7]).toEqual([null, null]);
    const forecast = (ms: number, expected: number) => ({ time: new Date(ms).toISOString(), low: expected - 1, expected, high: expected + 2 });
    series.forecast = [forecast(2000, 6), forecast(3000, 8), forecast(4000, 9)];
    const columns = series.columns();
    expect(columns[0]).toEqual([1, 2, 3, 4]);
    expect(columns[1]).toEqual([5, 7, null, null]);
    expect(columns.slice(6)).toEqual([[null, 7, 7, 8], [null, 7, 8, 9], [null, 7, 10, 11]]);
    series.merge([point(3500, 6)]);
    expect(series.columns()[7]).toEqual([null, null, 6, 9]);
    expect(series.span()).toBe(2.5);
  });
});

describe("merging", () => {
  it("orders the fleet as the list, then by id", () => {
    const ordered = orderFleet([device("a"), device("c"), device("b"), device("d")], [item(1, "d", 0.9), item(2, "c", 0.1)]);
    expect(ordered.map((d) => d.deviceId)).toEqual(["d", "c", "a", "b"]);
    expect(ordered[0]!.urgency).toBe(0.9);
  });
  it("takes the newest point of the shown signal only", () => {
    const event = (signal: string, value: number): PointEvent => ({ ...point(value, value), deviceId: "a", signal });
    const shown = { ...device("a"), signal: "temperature" };
    const { devices, unknown } = applyPoints([shown], [event("temperature", 1), event("speed", 2), event("temperature", 3)]);
    expect(devices[0]!.last?.value).toBe(3);
    expect(unknown).toBe(false);
    expect(applyPoints([], [event("temperature", 1)]).unknown).toBe(true);
  });
  it("replaces an alert by its id and keeps newest first", () => {
    const alert = (id: string, openedAt: number, state: Alert["state"] = "open") => ({ id, openedAt: new Date(openedAt).toISOString(), state }) as Alert;
    const merged = mergeAlert([alert("b", 2), alert("a", 1)], alert("a", 1, "closed"));
    expect(merged.map((a) => a.id + a.state)).toEqual(["bopen", "aclosed"]);
  });
  it("counts a repeated refusal once", () => {
    const refusal = (count: number): SecurityEvent => ({ at: "", claimed: "m", peer: "p", operation: "connect", reason: "key", count });
    expect(mergeSecurity([refusal(1)], refusal(2)).map((e) => e.count)).toEqual([2]);
    expect(mergeSecurity([refusal(1)], refusal(1))).toHaveLength(2);
  });
  it("backs off to a bound", () => {
    expect(backoff(0, 0.5)).toBe(500);
    expect(backoff(3, 0.5)).toBe(4000);
    expect(backoff(60, 0.5)).toBe(15_000);
  });
});

describe("format", () => {
  it("shows values with four digits", () => {
    expect([71.23456, 0, 1234567, null, NaN].map((v) => formatValue(v))).toEqual(["71.23", "0", "1.23e+6", "–", "–"]);
  });
  it("says how long ago", () => {
    expect(formatAgo(new Date(1_000_000).toISOString(), 1_090_000)).toBe("1 min ago");
    expect(formatAgo(null, 0)).toBe("never");
    expect(formatAgo("0001-01-01T00:00:00Z", 0)).toBe("never");
  });
  it("finds the token in a link, a fragment or bare", () => {
    expect(signInToken("https://host/#signin=ab%2Bc")).toBe("ab+c");
    expect(signInToken("#signin=abc")).toBe("abc");
    expect(signInToken(" abc-_ ")).toBe("abc-_");
    expect(signInToken("https://host/")).toBeNull();
    expect(signInToken("#signin=%")).toBeNull();
  });
  it("refuses what is not an object where one is needed", () => {
    expect(parseJson("[1]", true).ok).toBe(false);
    expect(parseJson("{", false).ok).toBe(false);
    // A method without payload is not a method with null.
    expect(parseJson("", false)).toEqual({ ok: true, value: undefined });
    expect(parseJson("null", false)).toEqual({ ok: true, value: null });
  });
  it("makes the merge patch between two sections", () => {
    expect(mergePatch({ a: 1, b: { c: 1, d: 2 }, e: [1] }, { b: { c: 1, d: 3 }, e: [1], f: 4 })).toEqual({ a: null, b: { d: 3 }, f: 4 });
    expect(plainSection({ $version: 3, load: 1 })).toEqual({ load: 1 });
  });
});
