"""Kills a platform again and again while messages come in, files are sealed, merged and moved to a cold storage, and rows
are ingested; then counts.

    python tests/soak/tables.py BINARY [ROUNDS]

After every start each acknowledged message is in the table `Telemetry` once, each acknowledged row of a table of one's own is
there once, and every file of the tables, here and in the cold storage, is one that the catalogue names.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

BINARY, ROUNDS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
DICE = random.Random(20261129)
API = "2021-04-12"


def environment(path):
    with open(path) as lines:
        pairs = (line.strip().split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return {name: value.strip("'\"") for name, value in pairs}


class Platform:
    def __init__(self, folder):
        self.folder = folder
        self.log = open(folder + ".log", "ab")

    def start(self):
        command = [BINARY, "serve", "--data", self.folder, "--config", self.folder + ".toml"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        until = time.monotonic() + 120
        while True:
            try:
                self.env = environment(os.path.join(self.folder, "connection.env"))
                self.context = ssl.create_default_context(cafile=self.env["GANTRY_CA_FILE"])
                self.call("GET", "/readyz")
                return
            except (OSError, KeyError):
                assert self.process.poll() is None, "the platform ended, see " + self.folder + ".log"
                assert time.monotonic() < until, "the platform did not start"
                time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def call(self, method, path, body=None, token=None, **headers):
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.env["KUSTO_URL"] + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if token:
            request.add_header("Authorization", token)
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith((b"{", b"[")) else None

    def command(self, text):
        body = {"db": self.env["KUSTO_DATABASE"], "csl": text}
        return self.call("POST", "/v1/rest/mgmt", body, "Bearer " + self.env["KUSTO_TOKEN"])["Tables"][0]["Rows"]

    def query(self, text):
        body = {"db": self.env["KUSTO_DATABASE"], "csl": text}
        return self.call("POST", "/v1/rest/query", body, "Bearer " + self.env["KUSTO_TOKEN"])["Tables"][0]["Rows"]


def signature(resource, key, policy=None):
    until = str(int(time.time()) + 86_400)
    name = urllib.parse.quote(resource, safe="")
    digest = hmac.new(base64.b64decode(key), f"{name}\n{until}".encode(), hashlib.sha256).digest()
    sig = urllib.parse.quote(base64.b64encode(digest).decode(), safe="")
    return f"SharedAccessSignature sr={name}&sig={sig}&se={until}" + (f"&skn={policy}" if policy else "")


def parts(connection):
    return dict(part.split("=", 1) for part in connection.split(";"))


def load(platform, number, acknowledged, stop):
    """Sends messages and rows of one worker until the platform is gone; notes what was acknowledged."""
    device = f"soak-{number}"
    resource = f"{platform.host}/devices/{device}"
    token = signature(resource, platform.keys[device])
    kusto = "Bearer " + platform.env["KUSTO_TOKEN"]
    sent = 0
    while not stop.is_set():
        sent += 1
        mark = f"{acknowledged['round']}-{number}-{sent}"
        try:
            platform.call("POST", f"/devices/{device}/messages/events?api-version={API}", {"mark": mark, "n": sent}, token)
            acknowledged["messages"].add(mark)
            if sent % 5 == 0:
                platform.call("POST", "/v1/rest/ingest/telemetry/Rows?streamFormat=csv", f"{mark},{sent}\n".encode(), kusto)
                acknowledged["rows"].add(mark)
        except (OSError, urllib.error.URLError):
            return


def check(platform, acknowledged):
    for table, marks in (("Telemetry", acknowledged["messages"]), ("Rows", acknowledged["rows"])):
        found = [row[0] for row in platform.query(f"set notruncation; {table} | where isnotempty(mark) | project mark")]
        assert len(found) == len(set(found)), f"{table}: {len(found) - len(set(found))} rows are there twice"
        lost = marks - set(found)
        assert not lost, f"{table}: {len(lost)} acknowledged rows are lost: {sorted(lost)[:5]}"
        acknowledged[table] = len(found)
    folder = os.path.join(platform.folder, "tables")
    with open(os.path.join(folder, "catalog.json")) as text:
        extents = [extent for all in json.load(text)["extents"].values() for extent in all]
    named = {extent.get("cold") or extent["id"] + ".parquet" for extent in extents}
    here = {name for name in os.listdir(folder) if name.endswith((".parquet", ".tmp"))}
    lake = platform.folder + ".lake"
    return named, here | {os.path.relpath(os.path.join(at, name), lake) for at, _, names in os.walk(lake) for name in names}


def main():
    folder = tempfile.mkdtemp()
    platform = Platform(os.path.join(folder, "data"))
    with open(platform.folder + ".toml", "w") as config:
        config.write(f'[tables]\nseal_rows = 300\n[tables.cold]\nplace = "file://{platform.folder}.lake"\nhot_days = 0\n')
    platform.start()
    service = parts(platform.env["IOTHUB_CONNECTION_STRING"])
    platform.host = service["HostName"]
    owner = signature(platform.host, service["SharedAccessKey"], service["SharedAccessKeyName"])
    platform.keys = {}
    for number in range(4):
        made = platform.call("PUT", f"/devices/soak-{number}?api-version={API}", {"deviceId": f"soak-{number}"}, owner)
        platform.keys[made["deviceId"]] = made["authentication"]["symmetricKey"]["primaryKey"]
    platform.command(".create table Rows (mark:string, n:long)")
    platform.command(".alter table Rows policy streamingingestion enable")
    acknowledged = {"messages": set(), "rows": set(), "round": 0}
    files = cold = 0
    for number in range(ROUNDS):
        acknowledged["round"] = number
        stop = threading.Event()
        workers = [threading.Thread(target=load, args=(platform, worker, acknowledged, stop)) for worker in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(DICE.uniform(0.5, 3))
        platform.kill()
        stop.set()
        for worker in workers:
            worker.join()
        # What a crash has left behind is gone when the platform is there again.
        platform.start()
        until = time.monotonic() + 30
        while True:
            named, there = check(platform, acknowledged)
            # A file that is being written or moved, or one that a query still reads.
            if named == there or time.monotonic() > until:
                break
            time.sleep(0.2)
        cold = max(cold, sum("/" in name for name in named))
        assert there <= named, f"files that nobody names: {sorted(there - named)[:5]}"
        assert named <= there, f"files that are missing: {sorted(named - there)[:5]}"
        files = max(files, len(named))
    platform.kill()
    print(f"{ROUNDS} rounds: {len(acknowledged['messages'])} messages and {len(acknowledged['rows'])} rows acknowledged, "
          f"{acknowledged['Telemetry']} and {acknowledged['Rows']} found, none lost, none twice; up to {files} files, {cold} of them cold")
    shutil.rmtree(folder)


main()
