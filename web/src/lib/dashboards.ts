// Dashboards as the platform keeps them, and what their questions become.
import { call } from "./api";

export interface Parameter {
  name: string;
  type: string;
  value: string;
  choices: string[];
}
export interface Tile {
  title: string;
  query: string;
  width: number;
}
export interface Dashboard {
  title: string;
  refreshSeconds: number;
  parameters: Parameter[];
  tiles: Tile[];
}
export type Kept = Dashboard & { id: string; etag: string; updatedAt: string };
export interface Listed {
  id: string;
  title: string;
  tiles: number;
  updatedAt: string;
}

const path = (id: string) => `/dashboards/${encodeURIComponent(id)}`;
export const dashboards = {
  list: async () => (await call<{ value: Listed[] }>("GET", "/dashboards")).value,
  get: (id: string) => call<Kept>("GET", path(id)),
  /** Without an etag it must not be there yet. */
  put: (id: string, { title, refreshSeconds, parameters, tiles }: Dashboard, etag: string | null) =>
    call<Kept>("PUT", path(id), { title, refreshSeconds, parameters, tiles }, etag ? { "if-match": etag } : {}),
  remove: (id: string, etag: string) => call<unknown>("DELETE", path(id), undefined, { "if-match": etag }),
};

/** The id of a new dashboard: its title, or what is left of it, and something that no other has. */
export function idOf(title: string): string {
  const words = title.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40);
  return `${words || "dashboard"}-${Math.random().toString(36).slice(2, 8)}`;
}

/** A question that knows the parameters of its dashboard; with values it stands alone. */
export function withParameters(query: string, parameters: Parameter[], values?: Record<string, string>): string {
  if (!parameters.length) return query;
  const literal = ({ name, type }: Parameter) => (type === "string" ? JSON.stringify(values?.[name] ?? "") : (values?.[name] ?? ""));
  const declared = parameters.map((one) => `${one.name}:${one.type}${values ? ` = ${literal(one)}` : ""}`);
  return `declare query_parameters(${declared.join(", ")});\n${query}`;
}
