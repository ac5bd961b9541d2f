"""DuckDB over the files of the bench: one JSON object a line in, one out."""

import json
import sys
import time

import duckdb

connection = duckdb.connect()


def answer(call):
    if "tables" in call:
        connection.execute(f"SET threads = {int(call['threads'])}")
        for name, files in call["tables"].items():
            listed = ", ".join(f"'{file}'" for file in files)
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}])")
        return {}
    if "sql" in call:
        began = time.perf_counter()
        # The result stays in the engine: making objects of Python of it is not what is measured.
        connection.execute(f"CREATE OR REPLACE TEMP TABLE result AS {call['sql']}")
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "rows": connection.execute("SELECT count(*) FROM result").fetchone()[0]}
    [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    return {"peak_mib": int(peak.split()[1]) // 1024}


for line in sys.stdin:
    call = json.loads(line)
    try:
        print(json.dumps(answer(call)), flush=True)
    except duckdb.Error as error:
        print(json.dumps({"error": str(error)}), flush=True)
    if "end" in call:
        break
