import { describe, expect, it } from "vitest";
import { Csv, lineOf, namesOf, records, separatorOf, Types, type Row } from "./records";

async function read(text: string): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const some of records(new Blob([text]))) rows.push(...some);
  return rows;
}
const objects = async (text: string) => (await read(text)).map((row) => Object.fromEntries(row));
async function types(text: string) {
  const seen = new Types();
  for (const row of await read(text)) seen.see(row);
  return seen.columns().map(({ name, type }) => `${name}:${type}`).join();
}

describe("CSV", () => {
  it("is read the same in whatever pieces it comes", () => {
    const text = 'a,b\r\n"x ""y"", z","1\r\n2"\r\n\r\n,\n"",q\rlast,1';
    const whole = [["a", "b"], ['x "y", z', "1\r\n2"], ["", ""], ["", "q"], ["last", "1"]];
    for (let size = 1; size <= text.length; size += 1) {
      const csv = new Csv(",");
      const found: string[][] = [];
      for (let at = 0; at < text.length; at += size) found.push(...csv.push(text.slice(at, at + size)));
      expect([...found, ...csv.end()]).toEqual(whole);
    }
  });
  it("has the separator of its first line, and each name once", () => {
    expect(["a,b", "a;b;c,d", "a\tb", '"a,b,c";d', "a"].map(separatorOf)).toEqual([",", ";", "\t", ";", ","]);
    expect(namesOf([" a", "", "a", "a_2"])).toEqual(["a", "Column2", "a_2", "a_2_2"]);
  });
  it("says where it is wrong", async () => {
    await expect(read("a,b\n1,2\n1,2,3")).rejects.toThrow("Record 2 has 3 fields, the first line names 2.");
    await expect(read('a\n"1')).rejects.toThrow("does not end");
  });
  it("leaves out what is empty, also at the end of a record", async () => {
    expect(await objects("a,b,c\n1,,x\n2\n")).toEqual([{ a: "1", c: '"x"' }, { a: "2" }]);
  });
});

describe("JSON", () => {
  it("is an array or an object on each line", async () => {
    const wanted = [{ a: "1", b: '{"c":[1]}' }, { a: '"x"' }];
    expect(await objects('[{"a":1,"b":{"c":[1]},"d":null},\n{"a":"x"}]')).toEqual(wanted);
    expect(await objects('\uFEFF{"a":1,"b":{"c":[1]}}\r\n\r\n{"a":"x"}')).toEqual(wanted);
  });
  it("says which record is wrong", async () => {
    await expect(read('{"a":1}\n{"a":')).rejects.toThrow("Record 2 is not JSON");
    await expect(read("[{},3]")).rejects.toThrow("Record 2 is no object: 3");
  });
});

describe("types", () => {
  it("hold every value of a column", async () => {
    expect(await types("i,r,b,t,d,s,m\n1,1.5,true,2024-01-01T10:00:00Z,[1],x,1\n-2,2,False,2024-01-01,{},y,true\n")).toBe("i:long,r:real,b:bool,t:datetime,d:dynamic,s:string,m:string");
    expect(await types("zip,big,none\n007,12345678901234567,\n")).toBe("zip:string,big:string");
    expect(await types("a,b\n1,1\n2.5,x\n")).toBe("a:real,b:string");
    expect(await types('{"a":1}\n{"a":{"b":2},"c":"2024-01-01"}')).toBe("a:dynamic,c:datetime");
  });
  it("decide how a value is sent", async () => {
    const [row] = await read("a,b,c,d\n1.50,True,True,[1]\n");
    expect(lineOf(row!, new Map([["a", "string"], ["b", "bool"], ["c", "string"], ["d", "string"]]))).toBe('{"a":"1.50","b":true,"c":"True","d":"[1]"}');
  });
});
