// Files of records: CSV and its relatives, JSON (an array, or an object on each line), as names and texts of values.
export type Type = "long" | "real" | "bool" | "datetime" | "dynamic" | "string";
export interface Found {
  name: string;
  type: Type;
}
/** One record: the JSON text of each value, by its name. What is not there has none. */
export type Row = Map<string, string>;

const LONG = /^-?(0|[1-9]\d*)$/;
/** A number of so many digits is a name: as a `real` it would lose some. */
const LONG_NAME = /^-?\d{17,}$/;
const TRUTH = /^"?(true|false)"?$/i;
const REAL = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const DATETIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,7})?)?(Z|[+-]\d\d:\d\d)?)?$/;
/** An array is read at once; a line of JSON or CSV is not. */
const ARRAY_BYTES_MAX = 64 << 20;

/** Texts to fields: quoted ones may hold anything (RFC 4180). Fed in pieces, it gives the records that are complete. */
export class Csv {
  #fields: string[] = [];
  #field = "";
  #state: "bare" | "quoted" | "closing" = "bare";
  #carriage = false;
  constructor(readonly separator: string) {}

  push(text: string): string[][] {
    const records: string[][] = [];
    /** Where what is not in the field yet begins. */
    let from = 0;
    const keep = (to: number) => (this.#field += text.slice(from, to));
    for (let at = 0; at < text.length; at += 1) {
      if (this.#state === "quoted") {
        const quote = text.indexOf('"', at);
        at = quote < 0 ? text.length : quote;
        keep(at);
        if (quote >= 0) this.#state = "closing";
        from = at + 1;
        continue;
      }
      const letter = text[at];
      const [after, isEnd] = [this.#carriage, letter === "\n" || letter === "\r"];
      this.#carriage = letter === "\r";
      if (letter === '"' && this.#state === "closing") {
        this.#field += letter;
        this.#state = "quoted";
      } else if (letter === '"' && from === at && !this.#field) this.#state = "quoted";
      else if (isEnd || letter === this.separator) {
        keep(at);
        if (!isEnd) this.#next();
        else if (letter === "\r" || !after) records.push(...this.end());
      } else {
        // What stands behind a closing quote is of the field.
        this.#state = "bare";
        continue;
      }
      from = at + 1;
    }
    if (from < text.length) keep(text.length);
    return records;
  }
  /** What is left when there is no more. */
  end(): string[][] {
    if (this.#state === "quoted") throw new Error("A quoted field does not end.");
    if (!this.#fields.length && !this.#field && this.#state === "bare") return [];
    this.#next();
    const fields = this.#fields;
    this.#fields = [];
    return [fields];
  }
  #next() {
    this.#fields.push(this.#field);
    this.#field = "";
    this.#state = "bare";
  }
}

/** The separator that stands most often in a first line. */
export function separatorOf(line: string): string {
  const bare = line.replace(/"[^"]*"/g, "");
  return [",", ";", "\t", "|"].reduce((best, one) => (bare.split(one).length > bare.split(best).length ? one : best));
}

/** Names of columns: none twice and none empty. */
export function namesOf(header: string[]): string[] {
  const names: string[] = [];
  for (const [at, text] of header.entries()) {
    const name = text.trim() || `Column${at + 1}`;
    let free = name;
    for (let more = 2; names.includes(free); more += 1) free = `${name}_${more}`;
    names.push(free);
  }
  return names;
}

/** The JSON of a field: what reads as a number, a truth, an object or an array is one, and an empty one is not there. */
function jsonOf(field: string): string | null {
  if (!field) return null;
  // Digits and signs sort before a colon: most texts need no look at the expression.
  if (field === "true" || field === "false" || (field < ":" && REAL.test(field))) return field;
  if (/^[[{]/.test(field))
    try {
      JSON.parse(field);
      return field;
    } catch {
      // A text that only begins like one.
    }
  return JSON.stringify(field);
}

function rowOf(value: unknown, place: number): Row {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`Record ${place} is no object: ${JSON.stringify(value).slice(0, 60)}`);
  return new Map(Object.entries(value).filter(([, one]) => one !== null).map(([name, one]) => [name, JSON.stringify(one)]));
}

/** Reads a file, some rows at a time. Fails with a place and a reason. */
export async function* records(file: Blob): AsyncGenerator<Row[]> {
  const start = (await file.slice(0, 1 << 16).text()).replace(/^\uFEFF/, "");
  if (start.trimStart().startsWith("[")) {
    if (file.size > ARRAY_BYTES_MAX) throw new Error("A JSON array may have 64 MiB; an object on each line has no limit.");
    const all = JSON.parse((await file.text()).replace(/^\uFEFF/, "")) as unknown[];
    return yield all.map((value, at) => rowOf(value, at + 1));
  }
  const isJson = start.trimStart().startsWith("{");
  const csv = new Csv(separatorOf(start.split(/[\r\n]/, 1)[0]!));
  let [names, rest, count]: [string[] | null, string, number] = [null, "", 0];
  const take = (text: string, last: boolean): Row[] => {
    if (isJson) {
      const lines = (rest + text).split(/\r?\n/);
      rest = last ? "" : lines.pop()!;
      return lines.filter((line) => line.trim()).map((line) => {
        count += 1;
        try {
          return rowOf(JSON.parse(line), count);
        } catch (error) {
          throw new Error(`Record ${count} is not JSON on a line of its own: ${(error as Error).message}`);
        }
      });
    }
    const found = [...csv.push(text), ...(last ? csv.end() : [])];
    if (!names && found.length) names = namesOf(found.shift()!);
    return found.map((fields) => {
      count += 1;
      if (fields.length > names!.length) throw new Error(`Record ${count} has ${fields.length} fields, the first line names ${names!.length}.`);
      return new Map(fields.map((field, at) => [names![at]!, jsonOf(field)] as const).filter((one): one is [string, string] => one[1] !== null));
    });
  };
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const reader = file.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    const rows = take(decoder.decode(value, { stream: !done }), done);
    if (rows.length) yield rows;
    if (done) return;
  }
}

/** The types that hold every value seen so far, in the order names came. */
export class Types {
  readonly #seen = new Map<string, Type | null>();

  see(row: Row) {
    for (const [name, json] of row) {
      const [known, type] = [this.#seen.get(name), typeOf(json)];
      this.#seen.set(name, !known || known === type ? type : [known, type].every((one) => one === "long" || one === "real") ? "real" : known === "dynamic" || type === "dynamic" ? "dynamic" : "string");
    }
  }
  columns(): Found[] {
    return [...this.#seen].map(([name, type]) => ({ name, type: type ?? "string" }));
  }
}

function typeOf(json: string): Type {
  // Longer than any instant.
  if (json.startsWith('"') && json.length > 40) return "string";
  if (TRUTH.test(json)) return "bool";
  if (LONG_NAME.test(json)) return "string";
  if (LONG.test(json)) return "long";
  if (REAL.test(json)) return "real";
  if (/^[[{]/.test(json)) return "dynamic";
  return DATETIME.test(json.slice(1, -1)) ? "datetime" : "string";
}

/** A row as a line of JSON for columns of these types: what a text column gets is a text, as it was written. */
export function lineOf(row: Row, types: Map<string, string>): string {
  const value = (name: string, json: string) => {
    const type = types.get(name);
    if (type === "string" && !json.startsWith('"')) return JSON.stringify(json);
    return type === "bool" && TRUTH.test(json) ? json.replaceAll('"', "").toLowerCase() : json;
  };
  return `{${[...row].map(([name, json]) => `${JSON.stringify(name)}:${value(name, json)}`).join(",")}}`;
}
