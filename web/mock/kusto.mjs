// A MOCK of the Kusto endpoint over a few made tables, and over those one makes. It knows no KQL: of a question it takes the
// first table that is named, one `where DeviceId == …`, `summarize … by …` (which it counts), `project`, `take` and `render`,
// and leaves out all else; of commands it knows the schema and `.create table`.
const TABLES = {
  Telemetry: {
    about: "Messages of devices.",
    columns: [["EnqueuedTime", "datetime"], ["DeviceId", "string"], ["temperature", "real"]],
    rows: (motors) => motors.flatMap((motor) => motor.points.slice(-40).map((point) => [point.time, motor.deviceId, point.value])),
  },
  MaintenanceList: {
    about: "What needs maintenance first.",
    columns: [["DeviceId", "string"], ["Urgency", "real"], ["Reason", "string"]],
    rows: (motors) => motors.map((motor) => [motor.deviceId, motor.urgency, motor.reason]).sort((a, b) => b[1] - a[1]),
  },
  Twins: {
    about: "Twins of devices.",
    columns: [["DeviceId", "string"], ["Tags", "dynamic"], ["Reported", "dynamic"]],
    rows: (motors) => motors.map(({ deviceId, twin }) => [deviceId, twin.tags, twin.properties.reported]),
  },
};
const FUNCTIONS = { Celsius: { Name: "Celsius", InputParameters: [{ Name: "fahrenheit", Type: "System.Double", CslType: "real" }], Body: "{ (fahrenheit - 32) / 1.8 }", DocString: "Degrees Celsius of degrees Fahrenheit." } };

const column = ([ColumnName, ColumnType]) => ({ ColumnName, ColumnType });
const shown = (rows) => [200, { Tables: [{ TableName: "Table_0", Columns: rows.columns.map(column), Rows: rows.rows }] }];

/** `.show database schema as json`. */
function schema() {
  const typed = ([Name, CslType]) => ({ Name, CslType });
  const Tables = Object.fromEntries(Object.entries(TABLES).map(([Name, { about, columns }]) => [Name, { Name, DocString: about, OrderedColumns: columns.map(typed) }]));
  const text = JSON.stringify({ Databases: { telemetry: { Name: "telemetry", Tables, ExternalTables: {}, MaterializedViews: {}, Functions: FUNCTIONS, MajorVersion: 1, MinorVersion: 0 } } });
  return shown({ columns: [["DatabaseSchema", "string"]], rows: [[text]] });
}

/** Columns and rows of a question, as far as it is understood. */
function result(text, parameters, motors) {
  const name = Object.keys(TABLES).find((name) => new RegExp(`\\b${name}\\b`).test(text)) ?? "Telemetry";
  let { columns } = TABLES[name];
  let rows = TABLES[name].rows(motors);
  const at = (name) => columns.findIndex(([one]) => one === name);
  const [, device] = /where DeviceId == ("[^"]*"|\w+)/.exec(text) ?? [];
  const declared = Object.fromEntries([...text.matchAll(/(\w+):string = "([^"]*)"/g)].map(([, name, value]) => [name, value]));
  const wanted = device?.startsWith('"') ? device.slice(1, -1) : (parameters[device] ?? declared[device]);
  if (device && at("DeviceId") >= 0) rows = rows.filter((row) => row[at("DeviceId")] === wanted);
  const [, counted, by] = /summarize (?:(\w+) = )?count\(\) by (\w+)\s*$/m.exec(text.replace(/\s*\|\s*render.*/s, "").replace(/\s*\|\s*top.*/s, "")) ?? [];
  if (by && at(by) >= 0) {
    const counts = new Map();
    for (const row of rows) counts.set(row[at(by)], (counts.get(row[at(by)]) ?? 0) + 1);
    rows = [...counts];
    columns = [columns[at(by)], [counted ?? "count_", "long"]];
  }
  const [, projected] = /project ([\w, ]+)/.exec(text) ?? [];
  if (projected) {
    const kept = projected.split(",").map((name) => at(name.trim())).filter((place) => place >= 0);
    rows = rows.map((row) => kept.map((place) => row[place]));
    columns = kept.map((place) => columns[place]);
  }
  return { columns, rows: rows.slice(0, Number(/(?:take|top) (\d+)/.exec(text)?.[1] ?? 10_000)) };
}

const refused = (message) => [400, { error: { code: "General_BadRequest", message: "Request is invalid.", "@message": message } }];

function create(text) {
  const [, name, list] = /\.create table (\w+) \((.*)\)/.exec(text);
  if (TABLES[name]) return refused(`Table '${name}' already exists`);
  const stored = [];
  TABLES[name] = { about: "", columns: list.split(", ").map((one) => one.split(":")), rows: () => stored, stored };
  return shown({ columns: [["TableName", "string"]], rows: [[name]] });
}

/** Answers data: lines of JSON. */
export function ingest(path, text) {
  const table = TABLES[decodeURIComponent(path.split("/").at(-1))];
  if (!table?.stored) return refused("tables of the platform cannot be written into");
  const lines = text.split("\n").map((line) => JSON.parse(line));
  table.stored.push(...lines.map((line) => table.columns.map(([name]) => line[name] ?? null)));
  return shown({ columns: [["ConsumedRecordsCount", "long"]], rows: [[lines.length]] });
}

/** Answers a request: status and body. */
export function kusto(path, body, motors) {
  const text = body?.csl ?? "";
  if (text.startsWith(".create table")) return create(text);
  if (path === "/v1/rest/mgmt") return /schema/.test(text) ? schema() : shown({ columns: [["TableName", "string"]], rows: Object.keys(TABLES).map((name) => [name]) });
  if (text.includes("nonsense")) return refused("Semantic error: SEM0100: 'where' operator: Failed to resolve scalar expression named 'nonsense'");
  const { columns, rows } = result(text, body?.properties?.Parameters ?? {}, motors);
  const [, kind = null, , title = null] = /\|\s*render\s+(\w+)(\s+with \(title = "([^"]*)"\))?/.exec(text) ?? [];
  const visualization = JSON.stringify({ Visualization: kind, Title: title, XColumn: null, YColumns: null });
  return [200, [
    { FrameType: "DataSetHeader", IsProgressive: false, Version: "v2.0" },
    { FrameType: "DataTable", TableId: 0, TableKind: "QueryProperties", TableName: "@ExtendedProperties", Columns: [["TableId", "int"], ["Key", "string"], ["Value", "dynamic"]].map(column), Rows: [[1, "Visualization", visualization]] },
    { FrameType: "DataTable", TableId: 1, TableKind: "PrimaryResult", TableName: "PrimaryResult", Columns: columns.map(column), Rows: rows },
    { FrameType: "DataSetCompletion", HasErrors: false, Cancelled: false },
  ]];
}
