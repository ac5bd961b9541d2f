import { describe, expect, it } from "vitest";
import { withParameters } from "../dashboards";
import { bars, fromAddress, isCommand, lines, nameInQuery, read, statementAt, statements, toAddress, toCsv, type Cell, type Result } from "./kusto";

const result = (columns: [string, string][], rows: Cell[][], render: Partial<Result["render"]> = {}): Result => ({
  columns: columns.map(([name, type]) => ({ name, type })), rows, render: { kind: "", title: "", x: null, y: [], ...render }, failure: "", spent: null,
});

describe("answers", () => {
  it("are the first result, how it is drawn, and why it ended", () => {
    const error = { error: { "@message": "too many rows" } };
    const read_ = read([
      { FrameType: "DataTable", TableKind: "QueryProperties", Rows: [[1, "Visualization", '{"Visualization":"timechart","Title":"T","YColumns":"a, b"}']] },
      { FrameType: "DataTable", TableKind: "PrimaryResult", Columns: [{ ColumnName: "a", ColumnType: "long" }], Rows: [[1], { OneApiErrors: [error] }] },
      { FrameType: "DataTable", TableKind: "QueryCompletionInformation", Columns: [{ ColumnName: "EventTypeName", ColumnType: "string" }, { ColumnName: "Payload", ColumnType: "string" }],
        Rows: [["QueryInfo", "{}"], ["QueryResourceConsumption", '{"ExecutionTime":0.25,"resource_usage":{"memory":{"peak_per_node":512}},"input_dataset_statistics":{"rows":{"scanned":7}}}']] },
      { FrameType: "DataSetCompletion", HasErrors: true, OneApiErrors: [error] },
    ]);
    expect(read_).toEqual({ columns: [{ name: "a", type: "long" }], rows: [[1]], render: { kind: "timechart", title: "T", x: null, y: ["a", "b"] }, failure: "too many rows", spent: { seconds: 0.25, rowsRead: 7, bytesHeld: 512 } });
  });
});

describe("texts", () => {
  it("survive an address, whatever they say", () => {
    for (const text of ["T | take 1", "print 'ä → 😀'", ""]) expect(fromAddress(toAddress(text))).toBe(text);
    expect(fromAddress("%%")).toBe("");
  });
  it("are commands when a dot comes first", () => {
    expect([".show tables", " // a\n .show tables", "T | take 1", "// .x"].map(isCommand)).toEqual([true, true, false, false]);
  });
  it("quote names that need it", () => {
    expect(["a_1", "a b", "it's"].map(nameInQuery)).toEqual(["a_1", "['a b']", "['it\\'s']"]);
  });
  it("become CSV that others read", () => {
    expect(toCsv(result([["a", "string"], ["b", "dynamic"]], [['x"y', { c: 1 }], ["", null]]))).toBe('a,b\r\n"x""y","{""c"":1}"\r\n,\r\n');
  });
});

describe("statements", () => {
  const texts = (text: string) => statements(text).map((one) => one.text);
  it("have blank lines between them", () => {
    expect(texts("T\n| take 1\n\nU")).toEqual(["T\n| take 1", "U"]);
    expect(texts("T\r\n| take 1\r\n \t\r\n\r\nU\r\n")).toEqual(["T\r\n| take 1", "U"]);
    expect(texts("\n\n  T  \n")).toEqual(["T"]);
    expect(texts(" \n\n")).toEqual([]);
  });
  it("keep the blank lines of a string of several lines", () => {
    for (const fence of ["```", "~~~"]) expect(texts(`print ${fence}a\n\nb${fence}\n\nT`)).toEqual([`print ${fence}a\n\nb${fence}`, "T"]);
    expect(texts("print ```a``` // on one line\n\nT")).toEqual(["print ```a``` // on one line", "T"]);
  });
  it("are the one at the cursor, or before it, or the first", () => {
    const text = "\nT\n| take 1\n\n\nU";
    const asked = [...Array(text.length + 1).keys()].map((at) => statementAt(text, at)[0]);
    expect(asked.join("")).toBe("T".repeat(14) + "UU");
    expect(statementAt("", 0)).toBe("");
  });
});

describe("charts", () => {
  const [one, two] = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
  it("have a line for each text and number, over the time", () => {
    const drawn = lines(result([["t", "datetime"], ["d", "string"], ["v", "real"]], [[two, "a", 2], [one, "a", 1], [one, "b", null]]));
    expect(drawn).toEqual({ isTime: true, x: [Date.parse(one) / 1000, Date.parse(two) / 1000], series: [{ name: "a", values: [1, 2] }, { name: "b", values: [null, null] }] });
  });
  it("spread the arrays of make-series", () => {
    const drawn = lines(result([["d", "string"], ["v", "dynamic"], ["t", "dynamic"]], [["a", [1, 2], [one, two]]]));
    expect(drawn?.series).toEqual([{ name: "a", values: [1, 2] }]);
    expect(drawn?.isTime).toBe(true);
  });
  it("are none of what has no numbers", () => {
    expect(lines(result([["a", "string"]], [["x"]]))).toBeNull();
    expect(bars(result([["a", "string"]], [["x"]]))).toBeNull();
  });
  it("name bars by the first column that is no number", () => {
    expect(bars(result([["n", "long"], ["a", "string"]], [[3, "x"]]))).toEqual([{ name: "x", value: 3 }]);
  });
});

describe("a tile's question", () => {
  const parameters = [{ name: "motor", type: "string", value: "", choices: [] }, { name: "since", type: "timespan", value: "", choices: [] }];
  it("knows the parameters of its dashboard", () => {
    expect(withParameters("T", [])).toBe("T");
    expect(withParameters("T", parameters)).toBe("declare query_parameters(motor:string, since:timespan);\nT");
  });
  it("stands alone with values", () => {
    expect(withParameters("T", parameters, { motor: 'a"b', since: "1h" })).toBe('declare query_parameters(motor:string = "a\\"b", since:timespan = 1h);\nT');
  });
});
