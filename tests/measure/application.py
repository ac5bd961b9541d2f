"""What the application's API costs over a large fleet: lists of devices, and a job on ten thousand of them.

    python3 tests/measure/application.py CONNECTION_ENV [DEVICES]

Registers devices over the hub's API in bulk, a twentieth of them of the template `dtmi:bench:pump;1` (ten thousand at
most), asks for pages of them, each request thirty times on one kept connection, and runs a job that writes a property.
"""

import http.client
import json
import shlex
import ssl
import statistics
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import base64
import hashlib
import hmac

LAST = "2022-10-31-preview"


def read_env(path):
    pairs = (line.split("=", 1) for line in Path(path).read_text().splitlines() if "=" in line and line[0] != "#")
    return {name: shlex.split(value)[0] for name, value in pairs}


class Connection:
    def __init__(self, env, token):
        url = urllib.parse.urlsplit(env["IOTCENTRAL_URL"])
        context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
        self.http = http.client.HTTPSConnection(url.hostname, url.port or 443, context=context)
        self.token = token

    def call(self, method, path, body=None):
        headers = {"Authorization": self.token, "Content-Type": "application/json"}
        self.http.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.http.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text[:500])
        return json.loads(text) if text else None


def owner(env):
    parts = dict(part.split("=", 1) for part in env["IOTHUB_CONNECTION_STRING"].split(";"))
    resource, end = urllib.parse.quote(env["IOTHUB_HOSTNAME"], safe=""), int(time.time()) + 7200
    key = base64.b64decode(parts["SharedAccessKey"])
    signature = base64.b64encode(hmac.new(key, f"{resource}\n{end}".encode(), hashlib.sha256).digest())
    quoted = urllib.parse.quote(signature, safe="")
    return f"SharedAccessSignature sr={resource}&sig={quoted}&se={end}&skn={parts['SharedAccessKeyName']}"


def register(env, token, count):
    def some(start):
        connection = Connection(env, token)
        for at in range(start, min(start + 5_000, count), 100):
            entries = []
            for n in range(at, min(at + 100, count)):
                kept = {"displayName": f"Pump {n * 7919 % count}"}
                if n % 20 == 0 and n < 200_000:
                    kept["template"] = "dtmi:bench:pump;1"
                entries.append({"id": f"d{n:07}", "importMode": "create", "tags": {"iotCentral": kept}})
            connection.call("POST", "/devices?api-version=2021-04-12", entries)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(0, count, 5_000)))


def main():
    env, count = read_env(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    api = Connection(env, env["IOTCENTRAL_API_TOKEN"])
    contents = [{"@type": "Property", "name": "target", "schema": "double", "writable": True}]
    model = {"@id": "dtmi:bench:model;1", "@type": "Interface", "contents": contents}
    template = {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "Pump", "capabilityModel": model}
    api.call("PUT", f"/api/deviceTemplates/dtmi:bench:pump;1?api-version={LAST}", template)
    began = time.perf_counter()
    register(env, owner(env), count)
    print(f"{count} devices registered in {time.perf_counter() - began:.0f} s")
    quote = urllib.parse.quote
    # A connection that asked for nothing so long was closed.
    api = Connection(env, env["IOTCENTRAL_API_TOKEN"])
    asked = {
        "the first page": "",
        "a page behind the middle": f"&%24skiptoken=d{count // 2:07}",
        "a page of a template": "&filter=" + quote("template eq 'dtmi:bench:pump;1'"),
        "a page of those called so": "&filter=" + quote("indexof(displayName, 'pump 77') ge 0"),
        "a page of those that are off": "&filter=" + quote("enabled eq false"),
        "the first page by name": "&orderby=displayName",
    }
    for name, query in asked.items():
        times = []
        for _ in range(30 if "by name" not in name and "off" not in name else 3):
            began = time.perf_counter()
            api.call("GET", f"/api/devices?api-version={LAST}{query}")
            times.append((time.perf_counter() - began) * 1000)
        print(f"{name}: median {statistics.median(times):.1f} ms, most {max(times):.1f} ms")
    group = {"displayName": "Pumps", "filter": 'SELECT * FROM devices WHERE $template = "dtmi:bench:pump;1"'}
    api.call("PUT", f"/api/deviceGroups/pumps?api-version={LAST}", group)
    change = {"type": "property", "target": "dtmi:bench:pump;1", "path": "target", "value": 7}
    began = time.perf_counter()
    api.call("PUT", f"/api/jobs/one?api-version={LAST}", {"group": "pumps", "data": [change]})
    made = time.perf_counter()
    while (job := api.call("GET", f"/api/jobs/one?api-version={LAST}"))["status"] == "running":
        time.sleep(0.05)
    spent = time.perf_counter() - made
    print(f"job: {job['progress']}, begun in {made - began:.2f} s, {job['progress']['completed'] / spent:.0f} devices/s")


main()
