// Numbers, times and words as the page shows them. Pure functions.

/** Four significant digits, without trailing zeros; `-` for nothing. */
export function formatValue(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

export function formatPercent(share: number): string {
  return `${Math.round(Math.min(1, Math.max(0, share)) * 100)} %`;
}

/** How long ago, in the largest fitting unit; `now` in milliseconds. */
export function formatAgo(time: string | null | undefined, now: number): string {
  const at = time ? Date.parse(time) : NaN;
  // The reference service reports year 1 for "never".
  if (!Number.isFinite(at) || at < 0) return "never";
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

export function formatTime(time: string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? time : at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** The one-time token in a sign-in link, a fragment, or pasted bare; null when there is none. */
export function signInToken(text: string): string | null {
  const trimmed = text.trim();
  const marked = /#signin=([^&\s]+)/.exec(trimmed);
  if (marked) {
    try {
      return decodeURIComponent(marked[1]!);
    } catch {
      return null;
    }
  }
  return /^[\w.~+/=-]+$/.test(trimmed) ? trimmed : null;
}

export type JsonResult = { ok: true; value: unknown } | { ok: false; error: string };

/** Parses JSON for an editor; `objectOnly` refuses anything but an object; otherwise no text is no value. */
export function parseJson(text: string, objectOnly: boolean): JsonResult {
  if (!text.trim()) return objectOnly ? { ok: false, error: "Enter a JSON object, for example {}." } : { ok: true, value: undefined };
  try {
    const value: unknown = JSON.parse(text);
    if (objectOnly && (value === null || typeof value !== "object" || Array.isArray(value)))
      return { ok: false, error: "This must be a JSON object: { … }." };
    return { ok: true, value };
  } catch (error) {
    return { ok: false, error: `Not valid JSON: ${(error as Error).message}` };
  }
}

/** A twin section without the service's own `$version` and `$metadata`. */
export function plainSection(section: Record<string, unknown> | undefined): Record<string, unknown> {
  return Object.fromEntries(Object.entries(section ?? {}).filter(([key]) => !key.startsWith("$")));
}

/**
 * The merge patch that turns `before` into `after`: removed keys become null.
 * Arrays are replaced whole (RFC 7396).
 */
export function mergePatch(before: Record<string, unknown>, after: Record<string, unknown>): Record<string, unknown> {
  const patch: Record<string, unknown> = {};
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) patch[key] = null;
  for (const [key, value] of Object.entries(after)) {
    const old = Object.hasOwn(before, key) ? before[key] : undefined;
    if (isObject(old) && isObject(value)) {
      const inner = mergePatch(old, value);
      if (Object.keys(inner).length) patch[key] = inner;
    } else if (JSON.stringify(old) !== JSON.stringify(value)) patch[key] = value;
  }
  return patch;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
