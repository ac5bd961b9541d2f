"""The platform API as docs/platform-api.md lists it, and the application behind it."""

import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.device.common.auth.signing_mechanism import SymmetricKeySigningMechanism

from conftest import wait_for

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def call(env):
    """Calls the platform API with a hub token; returns status and body."""
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    owner = dict(part.split("=", 1) for part in env["IOTHUB_CONNECTION_STRING"].split(";"))

    def token():
        uri, expiry = urllib.parse.quote(owner["HostName"], safe=""), int(time.time()) + 600
        signature = SymmetricKeySigningMechanism(owner["SharedAccessKey"]).sign(f"{uri}\n{expiry}")
        return f"SharedAccessSignature sr={uri}&sig={urllib.parse.quote(signature, safe='')}&se={expiry}&skn=iothubowner"

    def request(method, path, body=None, headers=None, signed=True):
        headers = dict(headers or {})
        if signed:
            headers["Authorization"] = token()
        data = None if body is None else json.dumps(body).encode()
        url = f"{env['GANTRY_URL']}/platform/v1{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data, headers, method=method), context=context, timeout=20
            ) as answer:
                content = b"" if "event-stream" in answer.headers.get("content-type", "") else answer.read()
                return answer.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            content = error.read()
            return error.code, json.loads(content) if content else None

    return request


def documented_routes():
    """Method and path of every route of the platform in the reference that needs a sign-in, with ids filled in."""
    text = (ROOT / "docs/api.md").read_text()
    for method, path, access in re.findall(r"^\| (\w+) `/platform/v1(/\S*)` \| \S+ \| (.*?) \|", text, re.M):
        if access != "anybody" and not access.startswith("the code"):
            yield method, re.sub(r"\{\w+\}", "x", path)


def test_every_documented_route_exists_and_is_closed_to_strangers(call):
    routes = list(documented_routes())
    assert len(routes) >= 60, routes
    for method, path in routes:
        if (method, path) == ("POST", "/session") or path.startswith("/sign-in"):
            continue  # Opened by proofs of their own: test_sign_in.py.
        if path.startswith("/directory"):
            continue  # There where the directory is on: test_directory.py.
        status, body = call(method, path, body={} if method != "GET" else None, signed=False)
        assert (status, body["error"]["code"]) == (401, "Unauthorized"), (method, path, status, body)
        if path.startswith("/application/"):
            continue  # Opened by tokens of the application: test_central.py.
        if path.startswith("/account"):
            continue  # Programs have none: test_sign_in.py.
        status, _ = call(method, path, body={} if method != "GET" else None)
        assert status in (200, 204, 400, 404), (method, path, status)


def test_openapi_is_valid_and_tells_of_everything(call):
    status, document = call("GET", "/openapi.json", signed=False)
    assert status == 200
    OpenAPIV30SpecValidator(document).validate()
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    text = (ROOT / "docs/api.md").read_text()
    rows = re.findall(r"^\| (\w+) `(\S+)` \|", text, re.M)
    # A WebSocket begins with a GET; requests of the blob service are no routes.
    written = {("GET" if method == "any" else method, path.replace("{*", "{")) for method, path in rows if "{account}" not in path}
    # The directory's are there where it is on, the repository's where models are served.
    written = {(method, path) for method, path in written if not re.search("/directory|^/{tenant}/|^/common/", path)}
    assert told == written and len(told) > 130


def test_sign_in_needs_the_token_and_attempts_are_few(call):
    answers = [call("POST", "/session", {"token": "guess"}, signed=False)[0] for _ in range(12)]
    assert answers[0] == 401 and answers[-1] == 429
    events = call("GET", "/security")[1]["events"]
    assert any(e["operation"] == "page sign-in" and e["count"] >= 5 for e in events)


def test_repeated_refusals_are_events_and_an_alert(call, device, ca, env):
    name, _ = device
    wrong = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    for _ in range(6):
        client = IoTHubDeviceClient.create_from_connection_string(wrong, server_verification_cert=ca, connection_retry=False)
        with pytest.raises(Exception):
            client.connect()
        client.shutdown()
    event = next(e for e in call("GET", "/security")[1]["events"] if e["claimed"] == name)
    assert event["count"] == 6 and event["reason"] == "signature does not match"
    assert "AAECAwQF" not in json.dumps(event)
    assert wait_for(lambda: [a for a in call("GET", "/alerts")[1]["alerts"] if a["kind"] == "security"])


class Receiver(BaseHTTPRequestHandler):
    """Refuses the first alert, takes the second."""

    attempts = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.attempts.append(body)
        self.send_response(503 if len(self.attempts) == 1 else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_an_anomaly_is_an_alert_a_webhook_and_a_method_back_to_the_device(call, device, ca):
    name, connection_string = device
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    rule = {
        "when": {"kind": "anomaly", "signal": f"load-{name}"},
        "severity": "critical",
        "actions": [
            {"kind": "webhook", "url": f"http://127.0.0.1:{server.server_port}/alerts"},
            {"kind": "method", "name": "reduceLoad", "payload": {"to": 70}},
            {"kind": "desired", "patch": {"load": 70}},
            {"kind": "email", "to": "maria@localhost"},
        ],
    }
    assert call("PUT", "/rules/hot-motor", rule)[0] == 200
    calls = []
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)

    def answer(request):
        calls.append(request.payload)
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, None))

    client.on_method_request_received = answer
    client.connect()
    for n in range(400):
        value = 300.0 if n == 399 else 80 + n % 7
        message = Message(json.dumps({f"load-{name}": value, "timestamp": 1_700_000_000_000 + n * 60_000}))
        message.content_type = "application/json"
        client.send_message(message)
    alert = lambda: next((a for a in call("GET", "/alerts")[1]["alerts"] if a["ruleId"] == "hot-motor"), None)
    opened = wait_for(alert)
    assert opened["deviceId"] == name and "300" in opened["reason"]
    finished = wait_for(lambda: all(a["state"] != "pending" for a in alert()["actions"]) and alert())
    webhook, method, desired, email = finished["actions"]
    assert (webhook["state"], webhook["attempts"]) == ("done", 2)
    assert Receiver.attempts[1]["id"] == opened["id"]
    assert method["state"] == "done" and calls == [{"to": 70}]
    assert desired["state"] == "done" and client.get_twin()["desired"]["load"] == 70
    assert email["state"] == "failed" and "mail.server" in email["error"]
    assert call("POST", f"/alerts/{opened['id']}/acknowledge")[1]["state"] == "acknowledged"
    assert call("POST", f"/alerts/{opened['id']}/close")[1]["state"] == "closed"
    fleet = call("GET", "/fleet")[1]["devices"]
    mine = next(d for d in fleet if d["deviceId"] == name)
    assert mine["connected"] and mine["last"]["value"] == 300.0 and mine["last"]["anomaly"]
    points = call("GET", f"/devices/{name}/series?signal=load-{name}")[1]["points"]
    assert len(points) == 400 and points[-1]["low"] < 80 < points[-1]["high"]
    assert name in [i["deviceId"] for i in call("GET", "/maintenance")[1]["items"]]
    assert call("POST", f"/maintenance/{name}/serviced")[0] == 204
    assert call("DELETE", "/rules/hot-motor")[0] == 204
    client.shutdown()
    server.shutdown()


def test_a_limit_is_told_before_it_is_reached_and_seen_in_the_forecast(call, device, ca):
    name, connection_string = device
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    signal = f"wear-{name}"
    when = {"kind": "limit", "signal": signal, "above": 125.0, "withinHours": 12}
    assert call("PUT", "/rules/worn", {"when": when, "severity": "critical"})[0] == 200
    client.connect()

    def send(n):
        body = {signal: 50 + 0.1 * n + 0.3 * (n % 7), "timestamp": 1_700_000_000_000 + n * 60_000}
        message = Message(json.dumps(body))
        message.content_type = "application/json"
        client.send_message(message)

    for n in range(600):
        send(n)
    alert = lambda: next((a for a in call("GET", "/alerts")[1]["alerts"] if a["ruleId"] == "worn"), None)
    opened = wait_for(alert)
    assert (opened["kind"], opened["deviceId"], opened["count"]) == ("limit", name, 1)
    assert "expected to rise to 125 in about" in opened["reason"]
    wait_for(lambda: len(call("GET", f"/devices/{name}/series?signal={signal}")[1]["points"]) == 600)
    foreseen = call("GET", f"/devices/{name}/forecast?signal={signal}&seconds=7200&points=24")[1]
    points, limits = foreseen["points"], foreseen["limits"]
    assert len(points) == 24 and all(p["low"] < p["expected"] < p["high"] for p in points)
    assert abs(points[-1]["expected"] - 122) < 4
    assert [(one["ruleId"], one["direction"], one["limit"]) for one in limits] == [("worn", "above", 125.0)]
    assert limits[0]["earliest"] < limits[0]["likely"] < limits[0]["until"] and limits[0]["words"].startswith("in about")
    for n in range(600, 760):
        send(n)
    reached = wait_for(lambda: alert()["count"] == 2 and alert())
    assert "the limit is 125" in reached["reason"]
    assert call("DELETE", "/rules/worn")[0] == 204
    client.shutdown()


def test_bad_rules_say_what_is_wrong(call):
    base = {"when": {"kind": "urgency", "urgencyMin": 2}, "severity": "info"}
    status, body = call("PUT", "/rules/x", base)
    assert (status, body["error"]["message"]) == (400, "urgencyMin must be 0 to 1")
    status, body = call("PUT", "/rules/x", {"severity": "loud"})
    assert status == 400 and "`loud`" in body["error"]["message"]


def test_a_dashboard_is_kept_as_it_was_written_and_not_over_what_others_wrote(call):
    tiles = [{"title": "Hot", "query": "Telemetry | where DeviceId == motor | take 1", "width": 3}]
    board = {
        "title": "Motors", "refreshSeconds": 30, "tiles": tiles,
        "parameters": [{"name": "motor", "type": "string", "value": "m1", "choices": ["m1", "m2"]}],
    }
    status, made = call("PUT", "/dashboards/motors", board)
    assert status == 200 and {name: made[name] for name in board} == board
    assert call("GET", "/dashboards/motors")[1] == made
    listed = next(one for one in call("GET", "/dashboards")[1]["value"] if one["id"] == "motors")
    assert (listed["title"], listed["tiles"]) == ("Motors", 1)
    # As it was read it may be written again; what is left out of it has its default.
    status, changed = call("PUT", "/dashboards/motors", made | {"tiles": []}, {"If-Match": made["etag"]})
    assert status == 200 and changed["tiles"] == [] and changed["etag"] != made["etag"]
    assert call("PUT", "/dashboards/motors", made, {"If-Match": made["etag"]})[0] == 412
    assert call("DELETE", "/dashboards/motors", headers={"If-Match": made["etag"]})[0] == 412
    for wrong, named in [
        ({"title": ""}, "title"), ({"title": "x", "refreshSeconds": 1}, "refreshSeconds"), ({"title": "x", "tile": []}, "tile"),
        ({"title": "x", "tiles": [{"title": "t", "query": "", "width": 1}]}, "query"), ({"tiles": []}, "title"),
    ]:
        status, answer = call("PUT", "/dashboards/other", wrong)
        assert status == 400 and named in answer["error"]["message"], answer
    assert call("GET", "/dashboards/other")[0] == 404
    assert call("DELETE", "/dashboards/motors")[0] == 204
    assert call("DELETE", "/dashboards/motors")[0] == 404
    assert call("GET", "/dashboards/motors", signed=False)[0] == 401
