#!/usr/bin/env bash
# Package   azure-kusto-ingest 6.0.4 with azure-storage-queue 12.13.0 (PyPI), Python 3.11.
# Behaviour A status queue is popped for one message. The client takes two: it asks each queue for its share and one more,
#           returns and deletes the first, and leaves the other taken and hidden until its time is over, so whoever reads
#           the queue next does not see it. For 32, which is the most a queue gives at once, it asks 33.
# Seen      pop(1) asked 2 returned ['first'] deleted ['first'] hidden ['second']
#           pop(32) asked 33
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install -q --disable-pip-version-check azure-kusto-ingest==6.0.4 azure-kusto-data==6.0.4 azure-storage-queue==12.13.0
cat > seen.py <<'PY'
import base64
import http.server
import json
import threading
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from azure.kusto.ingest.status import KustoIngestStatusQueues

NAMES = ["first", "second", "third"]
asked, taken, deleted = [], [], []


class Queue(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        count = int(parse_qs(urlsplit(self.path).query)["numofmessages"][0])
        asked.append(count)
        given = [name for name in NAMES if name not in taken][:count]
        taken.extend(given)
        when = "Mon, 01 Jan 2024 00:00:00 GMT"
        one = "<QueueMessage><MessageId>{0}</MessageId><InsertionTime>{2}</InsertionTime><ExpirationTime>{2}</ExpirationTime><PopReceipt>{0}</PopReceipt><TimeNextVisible>{2}</TimeNextVisible><DequeueCount>1</DequeueCount><MessageText>{1}</MessageText></QueueMessage>"
        text = lambda name: base64.b64encode(json.dumps({"Table": name}).encode()).decode()
        body = "".join(one.format(name, text(name), when) for name in given)
        self.answer(200, f'<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>{body}</QueueMessagesList>'.encode())

    def do_DELETE(self):
        deleted.append(urlsplit(self.path).path.rsplit("/", 1)[1])
        self.answer(204, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Queue)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = SimpleNamespace(account_uri=f"http://127.0.0.1:{server.server_port}/account?sv=1&sig=x", object_name="success")
resources = SimpleNamespace(get_successful_ingestions_queues=lambda: [place], get_failed_ingestions_queues=lambda: [place])
queues = KustoIngestStatusQueues(SimpleNamespace(_resource_manager=resources))
returned = [message.Table for message in queues.success.pop(1)]
print("pop(1) asked", asked[0], "returned", returned, "deleted", deleted, "hidden", [name for name in taken if name not in deleted])
asked.clear()
queues.success.pop(32)
print("pop(32) asked", asked[0])
PY
bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
pop(1) asked 2 returned ['first'] deleted ['first'] hidden ['second']
pop(32) asked 33
SEEN
