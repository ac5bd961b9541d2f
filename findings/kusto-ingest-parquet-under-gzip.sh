#!/usr/bin/env bash
# Package   azure-kusto-ingest 6.0.4 (PyPI), pyarrow 26.0.1, Python 3.11.
# Behaviour A stream is ingested with the streaming client. The request says `Content-Encoding: gzip` whatever is in it: a
#           stream of CSV is compressed, one of Parquet is sent as it is, under the same header. A service that believes
#           the header cannot read the Parquet; it has to look at the first bytes.
# Seen      CSV gzip b'\x1f\x8b'
#           PARQUET gzip b'PA'
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install -q --disable-pip-version-check azure-kusto-ingest==6.0.4 azure-kusto-data==6.0.4 pyarrow==26.0.1
cat > seen.py <<'PY'
import http.server
import io
import threading

import pyarrow
import pyarrow.parquet
from azure.kusto.data import KustoConnectionStringBuilder, DataFormat
from azure.kusto.ingest import KustoStreamingIngestClient, IngestionProperties, StreamDescriptor
seen = []
class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_error(404)
    def do_POST(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size); self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        seen.append((self.headers.get("Content-Encoding"), body[:2]))
        answer = b'{"Tables":[{"TableName":"Table_0","Columns":[{"ColumnName":"ConsumedRecordsCount","DataType":"Int64","ColumnType":"long"}],"Rows":[[1]]}]}'
        self.send_response(200); self.send_header("Content-Type", "application/json"); self.send_header("Content-Length", str(len(answer))); self.end_headers(); self.wfile.write(answer)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
file = io.BytesIO(); pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), file)
client = KustoStreamingIngestClient(KustoConnectionStringBuilder.with_no_authentication(f"http://127.0.0.1:{server.server_port}"))
for format, data in ((DataFormat.CSV, b"1\n"), (DataFormat.PARQUET, file.getvalue())):
    client.ingest_from_stream(StreamDescriptor(io.BytesIO(data)), IngestionProperties("db", "T", format))
    print(format.name, *seen[-1])
PY
bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
CSV gzip b'\x1f\x8b'
PARQUET gzip b'PA'
SEEN
