// A MOCK of the Kusto endpoint: two tables, and one answer for every question. It reads no KQL.
const COLUMNS = [["EnqueuedTime", "datetime"], ["DeviceId", "string"], ["temperature", "real"]];
const column = ([ColumnName, ColumnType]) => ({ ColumnName, ColumnType });

/** Answers a request: status and body. */
export function kusto(path, body, motors) {
  const text = body?.csl ?? "";
  if (path === "/v1/rest/mgmt") {
    const table = (Name, about, columns) => [Name, { Name, DocString: about, OrderedColumns: columns.map(([Name, CslType]) => ({ Name, CslType })) }];
    const Tables = Object.fromEntries([table("Telemetry", "Messages of devices.", COLUMNS), table("Alerts", "Alerts, open and closed.", [["AlertId", "string"]])]);
    const schema = JSON.stringify({ Databases: { telemetry: { Name: "telemetry", Tables } } });
    return [200, { Tables: [{ TableName: "Table_0", Columns: [column(["DatabaseSchema", "string"])], Rows: [[schema]] }] }];
  }
  if (text.includes("nonsense")) {
    const message = "Semantic error: SEM0100: 'where' operator: Failed to resolve scalar expression named 'nonsense'";
    return [400, { error: { code: "General_BadRequest", message: "Request is invalid.", "@message": message } }];
  }
  const rows = motors.flatMap((motor) => motor.points.slice(-40).map((point) => [point.time, motor.deviceId, point.value]));
  const kind = /\|\s*render\s+(\w+)/.exec(text)?.[1] ?? null;
  const visualization = JSON.stringify({ Visualization: kind, Title: null, XColumn: null, YColumns: null });
  return [200, [
    { FrameType: "DataSetHeader", IsProgressive: false, Version: "v2.0" },
    { FrameType: "DataTable", TableId: 0, TableKind: "QueryProperties", TableName: "@ExtendedProperties", Columns: [["TableId", "int"], ["Key", "string"], ["Value", "dynamic"]].map(column), Rows: [[1, "Visualization", visualization]] },
    { FrameType: "DataTable", TableId: 1, TableKind: "PrimaryResult", TableName: "PrimaryResult", Columns: COLUMNS.map(column), Rows: rows },
    { FrameType: "DataSetCompletion", HasErrors: false, Cancelled: false },
  ]];
}
