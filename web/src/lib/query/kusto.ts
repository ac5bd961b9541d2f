// Questions in KQL to the Kusto endpoint, with the session of the page.
import type { showSchema } from "@kusto/monaco-kusto";
import { ApiError, signedOutNow, wordsForStatus, csrfHeader } from "../api";

export type Cell = string | number | boolean | null | object;
export interface Column {
  name: string;
  type: string;
}
/** What `render` asked for; `kind` is empty without it. */
export interface Render {
  kind: string;
  title: string;
  x: string | null;
  y: string[];
}
export interface Result {
  columns: Column[];
  rows: Cell[][];
  render: Render;
  /** Why rows are missing behind these. */
  failure: string;
  /** What it took at the platform, when it says so. */
  spent: Spent | null;
}
export interface Spent {
  seconds: number;
  rowsRead: number;
  bytesHeld: number;
}
export interface TableSchema {
  name: string;
  about: string;
  columns: Column[];
}

interface Frame {
  FrameType: string;
  TableKind?: string;
  Columns?: { ColumnName: string; ColumnType: string }[];
  Rows?: unknown[];
  HasErrors?: boolean;
  OneApiErrors?: { error: { "@message"?: string; message?: string } }[];
}

const post = (path: string, csl: string, signal?: AbortSignal, parameters?: Record<string, string>) =>
  send(path, JSON.stringify(parameters ? { csl, properties: { Parameters: parameters } } : { csl }), {}, signal);

async function send(path: string, body: string, more: Record<string, string>, signal?: AbortSignal): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/json", ...csrfHeader(), ...more },
      body,
      credentials: "same-origin",
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw new ApiError(0, "Cancelled", "The question was stopped.");
    throw error instanceof ApiError ? error : new ApiError(0, "Unreachable", wordsForStatus(0));
  }
  const answer = (await response.json().catch(() => null)) as { error?: { code?: string; message?: string; "@message"?: string } } | null;
  if (!response.ok) {
    if (response.status === 401) signedOutNow();
    const error = answer?.error;
    throw new ApiError(response.status, error?.code ?? "Unknown", error?.["@message"] ?? error?.message ?? wordsForStatus(response.status));
  }
  return answer;
}

const columnsOf = (columns: { ColumnName: string; ColumnType: string }[]) => columns.map((column) => ({ name: column.ColumnName, type: column.ColumnType }));

/** Reads the frames of an answer of version 2: the first result, and how it is to be drawn. */
export function read(frames: Frame[]): Result {
  const result: Result = { columns: [], rows: [], render: { kind: "", title: "", x: null, y: [] }, failure: "", spent: null };
  let found = false;
  for (const frame of frames) {
    if (frame.FrameType === "DataSetCompletion" && frame.HasErrors) {
      const error = frame.OneApiErrors?.[0]?.error;
      result.failure = error?.["@message"] ?? error?.message ?? "The question ended early.";
    }
    if (frame.FrameType !== "DataTable") continue;
    if (frame.TableKind === "PrimaryResult" && !found) {
      found = true;
      result.columns = columnsOf(frame.Columns ?? []);
      // What is no row tells of an error; the completion tells it again.
      result.rows = (frame.Rows ?? []).filter((row): row is Cell[] => Array.isArray(row));
    }
    if (frame.TableKind === "QueryCompletionInformation") result.spent = spentOf(frame);
    if (frame.TableKind === "QueryProperties") {
      const row = (frame.Rows ?? []).find((row) => Array.isArray(row) && row[1] === "Visualization") as [number, string, string] | undefined;
      const told = row && (JSON.parse(row[2]) as { Visualization?: string | null; Title?: string | null; XColumn?: string | null; YColumns?: string | null });
      if (told?.Visualization)
        result.render = { kind: told.Visualization, title: told.Title ?? "", x: told.XColumn || null, y: (told.YColumns ?? "").split(",").map((name) => name.trim()).filter(Boolean) };
    }
  }
  return result;
}

function spentOf(frame: Frame): Spent | null {
  const payload = frame.Columns?.findIndex((column) => column.ColumnName === "Payload") ?? -1;
  const name = frame.Columns?.findIndex((column) => column.ColumnName === "EventTypeName") ?? -1;
  const row = (frame.Rows ?? []).find((row): row is string[] => Array.isArray(row) && row[name] === "QueryResourceConsumption");
  const told = row && (JSON.parse(row[payload] ?? "{}") as { ExecutionTime?: number; resource_usage?: { memory?: { peak_per_node?: number } }; input_dataset_statistics?: { rows?: { scanned?: number } } });
  if (told?.ExecutionTime === undefined) return null;
  return { seconds: told.ExecutionTime, rowsRead: told.input_dataset_statistics?.rows?.scanned ?? 0, bytesHeld: told.resource_usage?.memory?.peak_per_node ?? 0 };
}

/** Runs a query with values for its parameters, or a management command when the text starts with a dot. */
export async function ask(text: string, signal?: AbortSignal, parameters?: Record<string, string>): Promise<Result> {
  if (!isCommand(text)) return read((await post("/v2/rest/query", text, signal, parameters)) as Frame[]);
  const answer = (await post("/v1/rest/mgmt", text, signal)) as { Tables: { Columns: { ColumnName: string; ColumnType: string }[]; Rows: Cell[][] }[] };
  const table = answer.Tables[0];
  return { columns: columnsOf(table?.Columns ?? []), rows: table?.Rows ?? [], render: { kind: "", title: "", x: null, y: [] }, failure: "", spent: null };
}

/** Stores lines of JSON in a table. Lines of one id come in once, however often they are sent. */
export async function store(database: string, table: string, lines: string, id: string, signal?: AbortSignal): Promise<void> {
  const path = `/v1/rest/ingest/${encodeURIComponent(database)}/${encodeURIComponent(table)}?streamFormat=json`;
  await send(path, lines, { "x-ms-client-request-id": `KPC.executeStreamingIngest;${id};0` }, signal);
}

/** A text is a command when what comes first, comments aside, is a dot. */
export function isCommand(text: string): boolean {
  return text.replace(/^(\s|\/\/[^\n]*(\n|$))*/, "").startsWith(".");
}

/** What the database holds: its tables, and all of it as the language service of the editor reads it. */
export interface Database {
  tables: TableSchema[];
  schema: showSchema.Result;
}
export async function database(): Promise<Database> {
  const answer = (await post("/v1/rest/mgmt", ".show database schema as json")) as { Tables: { Rows: [string][] }[] };
  const schema = JSON.parse(answer.Tables[0]?.Rows[0]?.[0] ?? '{"Databases":{}}') as showSchema.Result;
  const tables = Object.values(schema.Databases).flatMap((one) =>
    Object.values(one.Tables).map((table) => ({
      name: table.Name,
      about: table.DocString ?? "",
      columns: table.OrderedColumns.map((column) => ({ name: column.Name, type: column.CslType })),
    })),
  );
  return { tables, schema };
}

/** The statements of a text and where they begin: blank lines are between them, except within a string of several lines. */
export function statements(text: string): { start: number; text: string }[] {
  const found: { start: number; text: string }[] = [];
  let [start, at, within] = [-1, 0, false];
  const end = () => {
    if (start >= 0) found.push({ start, text: text.slice(start, at).trim() });
    start = -1;
  };
  for (const line of text.split("\n")) {
    if (!line.trim() && !within) end();
    else if (start < 0) start = at;
    if ((line.match(/```|~~~/g) ?? []).length % 2) within = !within;
    at += line.length + 1;
  }
  end();
  return found;
}

/** The statement at a place of a text: the one that stands there or before it, or else the first. */
export function statementAt(text: string, at: number): string {
  const all = statements(text);
  return (all.findLast(({ start }) => start <= at) ?? all[0])?.text ?? "";
}

/** A name as it stands in a query: as it is, or quoted. */
export function nameInQuery(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? name : `['${name.replace(/\\/g, "\\\\").replace(/'/g, "\\'")}']`;
}

/** A text as the part of an address, and back; nothing when it is none. */
export function toAddress(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
export function fromAddress(part: string): string {
  try {
    const bytes = Uint8Array.from(atob(part.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return "";
  }
}

/** A cell as text. */
export function cellText(cell: Cell): string {
  if (cell === null) return "";
  return typeof cell === "object" ? JSON.stringify(cell) : String(cell);
}

/** Rows as CSV (RFC 4180). */
export function toCsv(result: Result): string {
  const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const lines = [result.columns.map((column) => quote(column.name)), ...result.rows.map((row) => row.map((cell) => quote(cellText(cell))))];
  return lines.map((line) => line.join(",")).join("\r\n") + "\r\n";
}

/** Whether values of a type are numbers. */
export const isNumber = (type: string) => ["int", "long", "real", "decimal"].includes(type);

/** The lines of a chart: instants or numbers, ascending, and a line of values for each series. */
export interface Lines {
  isTime: boolean;
  x: number[];
  series: { name: string; values: (number | null)[] }[];
}

/**
 * What a chart shows of a result: the first datetime (or number) lies along the axis, each column of numbers is a line, and
 * a column of text between them splits the lines. Arrays, as `make-series` gives them, are spread out. None when there is nothing to draw.
 */
export function lines(result: Result): Lines | null {
  const { columns, rows } = result;
  if (!rows.length) return null;
  const arrays = columns.map((_, at) => rows.every((row) => Array.isArray(row[at])));
  const axisOf = (cell: Cell) => (typeof cell === "string" ? Date.parse(cell) / 1000 : typeof cell === "number" ? cell : NaN);
  const valueOf = (cell: Cell) => (cell === null || cell === "" ? null : Number.isFinite(Number(cell)) ? Number(cell) : null);
  const points = new Map<string, Map<number, number | null>>();
  const put = (name: string, x: number, y: number | null) => {
    if (!Number.isFinite(x)) return;
    if (!points.has(name)) points.set(name, new Map());
    points.get(name)!.set(x, y);
  };
  let isTime = true;
  if (arrays.includes(true)) {
    const isAxis = (at: number) => arrays[at] && (rows[0]![at] as Cell[]).some((cell) => typeof cell === "string" && !Number.isNaN(Date.parse(cell)));
    const axis = columns.findIndex((column, at) => (result.render.x ? column.name === result.render.x : isAxis(at)));
    const values = columns.map((_, at) => at).filter((at) => arrays[at] && at !== axis);
    const labels = columns.map((_, at) => at).filter((at) => !arrays[at]);
    isTime = axis >= 0;
    for (const row of rows)
      for (const at of values) {
        const name = [...labels.map((label) => cellText(row[label]!)), ...(values.length > 1 || !labels.length ? [columns[at]!.name] : [])].join(" ");
        (row[at] as Cell[]).forEach((cell, index) => put(name, axis >= 0 ? axisOf((row[axis] as Cell[])[index] ?? null) : index, valueOf(cell)));
      }
  } else {
    const time = columns.findIndex((column) => column.type === "datetime");
    const given = columns.findIndex((column) => column.name === result.render.x);
    const axis = given >= 0 ? given : time >= 0 ? time : columns.findIndex((column) => isNumber(column.type));
    if (axis < 0) return null;
    isTime = columns[axis]!.type === "datetime";
    const wanted = (name: string) => !result.render.y.length || result.render.y.includes(name);
    const values = columns.map((_, at) => at).filter((at) => at !== axis && isNumber(columns[at]!.type) && wanted(columns[at]!.name));
    const labels = columns.map((_, at) => at).filter((at) => at !== axis && columns[at]!.type === "string");
    for (const row of rows)
      for (const at of values) {
        const name = [...labels.map((label) => cellText(row[label]!)), ...(values.length > 1 || !labels.length ? [columns[at]!.name] : [])].join(" ");
        put(name, axisOf(row[axis]!), valueOf(row[at]!));
      }
  }
  const x = [...new Set([...points.values()].flatMap((line) => [...line.keys()]))].sort((a, b) => a - b);
  if (!x.length) return null;
  return { isTime, x, series: [...points].map(([name, line]) => ({ name, values: x.map((at) => line.get(at) ?? null) })) };
}

/** What bars show: the first column names them, the first numbers behind it are their lengths. */
export function bars(result: Result): { name: string; value: number }[] | null {
  const { columns, rows } = result;
  const name = result.render.x ? columns.findIndex((column) => column.name === result.render.x) : columns.findIndex((column) => !isNumber(column.type));
  const value = columns.findIndex((column, at) => at !== name && isNumber(column.type));
  if (value < 0 || !rows.length) return null;
  return rows.slice(0, 50).map((row, at) => ({ name: name < 0 ? String(at + 1) : cellText(row[name]!), value: Number(row[value] ?? 0) }));
}
