"""Migration on the command line: an application and a hub taken over by another platform, cut short, repeated, compared.

The suite's platform is the source. Two more, each new, take over its application and its hub.
"""

import base64
import http.server
import json
import os
import signal
import ssl
import stat
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import Configuration, ConfigurationContent, Twin, TwinProperties
from azure.iot.hub.protocol.models import Device, DeviceCapabilities

from conftest import PATIENCE, Platform, wait_for
from test_central import ADMINISTRATOR, BUILDER, LAST, MODULES, OPERATOR, ORG_VIEWER, TEMPLATE, THERMOSTAT, Api

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()
BEYOND = {"enrollment-groups", "exports", "destinations"}
"""Kinds that an application may not have by its API."""
PLAIN = [f"plain-{n:03}" for n in range(120)]


def another(offset):
    folder = Path(tempfile.mkdtemp(prefix="gantry-migration-"))
    (folder / "gantry.toml").write_text(f"[ports]\noffset = {offset}\n")
    running = Platform(os.environ["GANTRY_BIN"], folder)
    running.config = folder / "gantry.toml"
    return running.start()


@pytest.fixture(scope="module")
def second():
    running = another(2000)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def third():
    running = another(4000)
    yield running
    running.stop()


def command(platform, *words, **variables):
    """The command of a platform's operator, in an environment that says nothing of any platform."""
    names = ("GANTRY_", "IOTHUB_", "IOTCENTRAL_", "SSL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    line = [os.environ["GANTRY_BIN"], "--json", *words]
    if platform:
        line[1:1] = ["--data", str(platform.folder / "data")]
    return line, {**clean, **variables}


def run(platform, *words, fails=False, **variables):
    line, environment = command(platform, *words, **variables)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode != 0) == fails, f"{line}\n{done.stdout}{done.stderr}"
    return done.stderr if fails else json.loads(done.stdout)


def items(report, *, kind=None, outcome=None):
    found = json.loads((report / "report.json").read_text())["items"]
    return {one["id"]: one.get("why") for one in found
            if kind in (None, one["kind"]) and outcome in (None, one["outcome"])}


def files(folder, *, without=()):
    """What was exported, without what is not carried and without what devices said meanwhile."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if path.name in ("export.json", *without):
            continue
        text = path.read_text()
        documents = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
        for one in documents:
            one.pop("reported", None)
            one.get("properties", {}).pop("reported", None)
        found[path.name] = documents
    return found


@pytest.fixture(scope="module")
def api(env):
    return Api(env, env["IOTCENTRAL_API_TOKEN"])


@pytest.fixture(scope="module")
def there(second):
    return Api(second.env, second.env["IOTCENTRAL_API_TOKEN"])


@pytest.fixture(scope="module")
def application(api):
    """An application with something of every kind."""
    api.ok("PUT", "organizations/a-west", {"displayName": "West"})
    api.ok("PUT", "organizations/z-us", {"displayName": "US"})
    # Below one that the alphabet has behind it.
    api.ok("PATCH", "organizations/a-west", {"parent": "z-us"})
    user = {"type": "email", "email": "a@contoso.com", "roles": [{"role": ORG_VIEWER, "organization": "a-west"}]}
    api.ok("PUT", "users/alice", user)
    api.ok("PUT", "users/chief", {"type": "email", "email": "c@contoso.com", "roles": [{"role": ADMINISTRATOR}]})
    api.ok("PUT", "apiTokens/robot", {"roles": [{"role": OPERATOR}]})
    api.ok("PUT", f"deviceTemplates/{TEMPLATE}", THERMOSTAT)
    api.ok("PUT", "deploymentManifests/edge1", {"displayName": "Edge", "data": MODULES}, version=LAST)
    pump = {"displayName": "Pump", "template": TEMPLATE, "organizations": ["a-west"]}
    api.ok("PUT", "devices/pump-1", pump)
    api.ok("PATCH", "devices/pump-1/properties", {"target": 20.5, "room": "A4", "thermostat1": {"limit": 30}})
    api.ok("PUT", "devices/pump-2", {"enabled": False})
    own = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": OTHER_KEY}}
    api.ok("PUT", "devices/pump-2/attestation", own)
    api.ok("PUT", "devices/played", {"template": TEMPLATE, "simulated": True})
    api.ok("PUT", "devices/gateway", {"type": ["iotEdge"]}, version=LAST)
    api.ok("PUT", "devices/leaf", {}, version=LAST)
    api.ok("PUT", "devices/gateway/relationships/r1", {"source": "gateway", "target": "leaf"})
    for name in PLAIN:
        api.ok("PUT", f"devices/{name}", {"displayName": f"Plain {name}"})
    group = {"displayName": "Pumps", "filter": f'SELECT * FROM devices WHERE $template = "{TEMPLATE}"'}
    api.ok("PUT", "deviceGroups/pumps", group)
    tile = {"displayName": "Chart", "x": 1, "y": 0, "width": 2, "height": 2, "configuration": {
        "type": "lineChart", "group": "pumps", "devices": [], "capabilities": [{"capability": "temp", "aggregateFunction": "avg"}],
        "queryRange": {"type": "time", "duration": "PT30M", "resolution": "PT1M"},
        "format": {"xAxisEnabled": True, "yAxisEnabled": True, "legendEnabled": True}}}
    api.ok("PUT", "dashboards/one", {"displayName": "One", "tiles": [tile], "organizations": ["z-us"]}, version=LAST)
    change = [{"type": "cloudProperty", "target": TEMPLATE, "path": "room", "value": "A4"}]
    api.ok("PUT", "jobs/ran", {"displayName": "Ran", "group": "pumps", "data": change})
    wait_for(lambda: api.ok("GET", "jobs/ran")["status"] not in ("running", "pending"))
    schedule = {"start": "2099-01-01T00:00:00Z", "recurrence": "daily", "end": {"type": "occurrences", "occurrences": 3}}
    api.ok("PUT", "scheduledJobs/daily", {"displayName": "Daily", "group": "pumps", "data": change, "schedule": schedule})
    return api


@pytest.fixture(scope="module")
def source(application, env, tmp_path_factory):
    """How the application is named: the token is in a file."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(env["IOTCENTRAL_API_TOKEN"] + "\n")
    return ["--from", env["IOTCENTRAL_URL"], "--token-file", str(token), "--ca", env["GANTRY_CA_FILE"]]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return tmp_path_factory.mktemp("reports") / "report"


@pytest.fixture(scope="module")
def imported(second, there, source, report, env):
    """The application in the second platform; the import was killed once on the way."""
    words = ["import", "iotcentral", *source, "--report", str(report)]
    said = run(second, *words)
    assert said["dryRun"] is True and said["from"] == env["IOTCENTRAL_URL"] and said["to"] == second.env["IOTCENTRAL_URL"]
    assert said["summary"]["devices"] == {"create": len(PLAIN) + 5}
    assert said["summary"]["organizations"] == {"create": 2} and set(said["summary"]["roles"]) == {"same"}
    assert there.all("devices") == [] and there.all("organizations") == []
    assert "robot" in items(report, kind="api-tokens", outcome="left")
    assert "jobs.json" in items(report, kind="jobs", outcome="left")["ran"]
    assert json.loads((report / "jobs.json").read_text())[0]["data"][0]["path"] == "room"

    line, environment = command(second, *words, "--yes", "--at-once", "1")
    cut = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = report / "state.jsonl"
    wait_for(lambda: state.exists() and state.read_text().count('"finished"') > 20)
    cut.send_signal(signal.SIGKILL)
    cut.wait(PATIENCE)
    assert there.all("scheduledJobs") == []

    said = run(second, *words, "--yes")
    assert "failed" not in json.dumps(said["summary"]), items(report, outcome="failed")
    assert "same" in said["summary"]["organizations"] and said["summary"]["scheduled-jobs"] == {"created": 1}
    return words


def test_an_application_is_taken_over(imported, api, there):
    shown = there.ok("GET", "devices/pump-1")
    assert shown["displayName"] == "Pump" and shown["template"] == TEMPLATE and shown["organizations"] == ["a-west"]
    properties = there.ok("GET", "devices/pump-1/properties")
    assert properties["room"] == "A4" and properties["$metadata"]["target"]["desiredValue"] == 20.5
    assert properties["thermostat1"]["$metadata"]["limit"]["desiredValue"] == 30
    assert there.ok("GET", "devices/pump-2")["enabled"] is False and there.ok("GET", "devices/played")["simulated"] is True
    # Each device has the keys it had, those of a group of enrollments too.
    keys = lambda of, name: of.ok("GET", f"devices/{name}/credentials")["symmetricKey"]
    assert keys(there, "pump-2") == {"primaryKey": KEY, "secondaryKey": OTHER_KEY}
    for name in ["pump-1", "leaf", PLAIN[0], PLAIN[-1]]:
        assert keys(there, name) == keys(api, name), name
    assert there.all("devices/leaf/relationships") == [{"id": "r1", "source": "gateway", "target": "leaf"}]
    assert there.ok("GET", "organizations/a-west")["parent"] == "z-us"
    assert there.ok("GET", "users/alice")["roles"] == [{"role": ORG_VIEWER, "organization": "a-west"}]
    assert there.ok("GET", "scheduledJobs/daily")["enabled"] is False and there.all("jobs") == []
    there.refused(404, "GET", "apiTokens/robot")


def test_again_nothing_is_missing(imported, second, report, env):
    summary = run(second, *imported, "--yes")["summary"]
    words = {word for kind, counts in summary.items() for word in counts if kind not in BEYOND}
    assert words <= {"same", "left"}, summary
    told = "".join(path.read_text() for path in report.iterdir())
    for secret in [KEY, OTHER_KEY, env["IOTCENTRAL_API_TOKEN"], second.env["IOTCENTRAL_API_TOKEN"]]:
        assert secret not in told
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in report.iterdir())


def test_what_is_missing_comes_and_what_differs_stays(imported, second, there, report):
    there.ok("DELETE", "dashboards/one", version=LAST)
    there.ok("PATCH", "devices/pump-1", {"displayName": "Changed here"})
    there.ok("PATCH", "devices/pump-1/properties", {"room": "B1", "thermostat1": {"limit": 31}})
    there.ok("PATCH", "deviceGroups/pumps", {"description": "ours"})
    run(second, *imported, "--yes")
    assert items(report, outcome="created") == {"one": None}
    assert items(report, kind="devices", outcome="differs") == {"pump-1": "displayName"}
    assert set(items(report, kind="properties", outcome="differs")["pump-1"].split(", ")) == {"room", "thermostat1.limit"}
    assert there.ok("GET", "devices/pump-1")["displayName"] == "Changed here"
    assert there.ok("GET", "devices/pump-1/properties")["room"] == "B1"
    run(second, *imported, "--overwrite")
    assert items(report, kind="devices", outcome="overwrite") == {"pump-1": "displayName"}
    assert there.ok("GET", "devices/pump-1")["displayName"] == "Changed here"
    summary = run(second, *imported, "--overwrite", "--yes")["summary"]
    assert summary["devices"]["overwritten"] == summary["device-groups"]["overwritten"] == 1
    assert there.ok("GET", "devices/pump-1")["displayName"] == "Pump"
    assert there.ok("GET", "devices/pump-1/properties")["$metadata"]["target"]["desiredValue"] == 20.5
    assert there.ok("GET", "devices/pump-1/properties")["room"] == "A4"
    assert "description" not in there.ok("GET", "deviceGroups/pumps")


def test_a_round_trip_changes_nothing(imported, second, platform, tmp_path):
    first, other = tmp_path / "first", tmp_path / "second"
    line = ["export", "iotcentral", "--keys"]
    said = run(platform, *line, str(first))
    assert said["exported"]["devices"] == len(PLAIN) + 5
    assert set(said["unreadable"]) <= BEYOND
    run(second, *line, str(other))
    # Jobs run when they are made, and secrets of tokens cannot be read.
    left = ("jobs.json", "api-tokens.json", *(f"{kind}.json" for kind in BEYOND))
    one, two = files(first, without=left), files(other, without=left)
    assert len(one["devices.jsonl"]) == len(PLAIN) + 5 and len(one["attestations.jsonl"]) == len(PLAIN) + 5
    assert [job.pop("enabled") for all in (one, two) for job in all["scheduled-jobs.json"]] == [True, False]
    assert one == two
    assert "not empty" in run(second, *line, str(other), fails=True)


def test_files_are_taken_over_and_have_keys_when_asked(imported, second, platform, there, tmp_path):
    folder, report = tmp_path / "files", tmp_path / "report"
    run(platform, "export", "iotcentral", str(folder))
    text = "".join(path.read_text() for path in folder.iterdir())
    assert KEY not in text and "primaryKey" not in text
    there.ok("DELETE", "devices/pump-2")
    run(second, "import", "iotcentral", "--from", str(folder), "--report", str(report), "--yes")
    assert items(report, kind="devices", outcome="created") == {"pump-2": None}
    assert "--keys" in items(report, kind="attestations", outcome="left")["pump-2"]
    assert there.ok("GET", "devices/pump-2/credentials")["symmetricKey"]["primaryKey"] != KEY
    error = run(second, "import", "iothub", "--from", str(folder), "--report", str(report), fails=True)
    assert "iotcentral" in error


def test_a_device_that_was_begun_is_finished_and_anothers_is_not(imported, second, there, source, env, tmp_path):
    there.call("DELETE", "devices/pump-2")
    there.ok("PUT", "devices/pump-2", {"enabled": False})
    report = tmp_path / "report"
    words = ["import", "iotcentral", *source, "--report", str(report), "--yes"]
    run(second, *words)
    assert items(report, kind="attestations", outcome="differs") == {
        "pump-2": "symmetricKey.primaryKey, symmetricKey.secondaryKey"}
    with open(report / "state.jsonl", "a") as state:
        state.write('{"begun": "devices", "id": "pump-2"}\n{"finis')
    run(second, *words)
    assert items(report, kind="attestations", outcome="created") == {"pump-2": None}
    assert there.ok("GET", "devices/pump-2/credentials")["symmetricKey"]["primaryKey"] == KEY
    # The state is of this migration alone.
    folder = tmp_path / "files"
    run(second, "export", "iotcentral", str(folder))
    error = run(second, "import", "iotcentral", "--from", str(folder), "--report", str(report), fails=True)
    assert "another --report" in error


def test_what_is_refused_is_said_and_the_rest_is_done(second, there, tmp_path):
    folder, report = tmp_path / "files", tmp_path / "report"
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps({"format": 1, "of": "iotcentral", "from": "x", "keys": False}))
    (folder / "organizations.json").write_text(json.dumps([{"id": "fine"}, {"id": "wrong", "colour": 1}]))
    (folder / "users.json").write_text(json.dumps([{"id": "u", "type": "email", "email": "u@c.d", "roles": [{"role": "x"}]}]))
    words = ["import", "iotcentral", "--from", str(folder), "--report", str(report), "--yes"]
    assert "1 things were refused" in run(second, *words, fails=True)
    assert items(report, outcome="created") == {"fine": None}
    assert "colour" in items(report, outcome="failed")["wrong"]
    assert "no role `x`" in items(report, outcome="left")["u"]
    there.ok("DELETE", "organizations/fine")
    there.refused(404, "GET", "organizations/wrong")


def test_a_platform_is_that_of_the_environment_when_none_is_named(second, source, tmp_path):
    given = {name: second.env[name] for name in ("IOTCENTRAL_URL", "IOTCENTRAL_API_TOKEN", "GANTRY_CA_FILE")}
    said = run(None, "import", "iotcentral", *source, "--report", str(tmp_path / "report"), **given)
    assert said["to"] == second.env["IOTCENTRAL_URL"]
    wrong = [*source[:2], "--ca", source[-1], "--report", str(tmp_path / "other")]
    assert "GANTRY_IMPORT_TOKEN" in run(second, "import", "iotcentral", *wrong, fails=True)
    error = run(second, "import", "iotcentral", *wrong, fails=True, GANTRY_IMPORT_TOKEN="SharedAccessSignature sr=no-secret")
    assert "does not know the token" in error and "no-secret" not in error


class Busy(http.server.BaseHTTPRequestHandler):
    """An application that asks for patience once for each list, gives devices in two pages, and knows one of them well."""

    protocol_version = "HTTP/1.1"
    asked, elsewhere = [], False

    def do_GET(self):
        path, _, query = self.path.partition("?")
        first = self.path not in self.asked
        self.asked.append(self.path)
        here = f"https://{self.headers['Host']}"
        status, headers, body = 200, {}, {"value": []}
        if self.headers["Authorization"] != "Bearer once":
            status, body = 401, {"error": {"code": "Unauthorized", "message": "no"}}
        elif first:
            status, headers, body = (429 if len(self.asked) % 2 else 503), {"Retry-After": "0"}, None
        elif path == "/api/devices" and "page=2" not in query:
            link = "https://elsewhere.example.com" if self.elsewhere else here
            body = {"value": [{"id": "one"}], "nextLink": f"{link}/api/devices?page=2"}
        elif path == "/api/devices":
            body = {"value": [{"id": "two", "etag": "x", "provisioned": False}]}
        elif path == "/api/devices/two/properties":
            status, body = 500, {"error": {"code": "Broken", "message": "not today"}}
        elif path.endswith("/properties"):
            body = {"$metadata": {}}
        elif path.endswith("/attestation"):
            body = {"type": "x509", "x509": {"clientCertificates": {"primary": {"info": {"sha1Thumbprint": "AA"}}}}}
        elif path == "/api/dashboards":
            status, body = 403, {"error": {"code": "Forbidden", "message": "not yours"}}
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def busy(platform):
    tls = platform.folder / "data/tls"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls / "server.pem", tls / "server.key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Busy.asked, Busy.elsewhere = [], False
    yield f"https://localhost:{server.server_port}"
    server.shutdown()


def test_a_service_is_asked_again_when_it_is_busy_and_its_token_is_its_own(busy, second, env, tmp_path):
    report = tmp_path / "report"
    words = ["import", "iotcentral", "--from", busy, "--ca", env["GANTRY_CA_FILE"], "--report", str(report)]
    said = run(second, *words, GANTRY_IMPORT_TOKEN="once")
    assert said["summary"]["devices"] == {"create": 2} and said["summary"]["attestations"] == {"left": 2}
    assert "thumbprint" in items(report, kind="attestations")["one"]
    assert any("properties of `two`" in note and "500: not today" in note for note in said["notes"])
    assert any("dashboards cannot be read at the source: 403: not yours" in note for note in said["notes"])
    assert all(Busy.asked.count(path) == 2 for path in Busy.asked), "once refused, once answered"
    # What cannot be read is not in the files, and that is said.
    folder = tmp_path / "files"
    line = ["export", "iotcentral", "--from", busy, "--ca", env["GANTRY_CA_FILE"], str(folder)]
    assert "1 things cannot be read" in run(second, *line, fails=True, GANTRY_IMPORT_TOKEN="once")
    assert not (folder / "dashboards.json").exists() and (folder / "devices.jsonl").exists()
    Busy.elsewhere = True
    error = run(second, *words, fails=True, GANTRY_IMPORT_TOKEN="once")
    assert "outside of" in error and "once" not in error


@pytest.fixture(scope="module")
def registered(registry, application, env):
    """Devices and modules of every kind at the hub."""
    manager = IoTHubConfigurationManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    registry.create_device_with_sas("hub-keys", KEY, OTHER_KEY, "disabled")
    registry.create_device_with_x509("hub-thumbs", "A" * 40, "B" * 40, "enabled")
    registry.create_device_with_certificate_authority("hub-authority", "enabled")
    twin = Twin(tags={"site": {"hall": 3}}, properties=TwinProperties(desired={"rate": 5, "nested": {"a": [1, 2]}}))
    registry.update_twin("hub-keys", twin, "*")
    registry.create_module_with_sas("hub-keys", "camera", "us", KEY, OTHER_KEY)
    registry.update_module_twin("hub-keys", "camera", Twin(properties=TwinProperties(desired={"fps": 25})), "*")
    edge = DeviceCapabilities(iot_edge=True)
    top = registry.create_device_with_sas("z-top", "", "", "enabled", iot_edge=True)
    made = lambda name, scope, capabilities=None: registry.protocol.devices.create_or_update_identity(
        name, Device(device_id=name, status="enabled", capabilities=capabilities, **scope))
    low = made("m-low", {"parent_scopes": [top.device_scope]}, edge)
    made("a-leaf", {"device_scope": low.device_scope})
    manager.apply_configuration_on_edge_device("z-top", ConfigurationContent(modules_content=MODULES["modulesContent"]))
    content = ConfigurationContent(device_content={"properties.desired.paint": "red"})
    manager.create_configuration(Configuration(
        id="paint", schema_version="1.0", content=content, target_condition="tags.site.hall=3", priority=7,
        labels={"a": "b"}))
    wait_for(lambda: registry.get_twin("hub-keys").properties.desired.get("paint"))
    return registry


def test_a_hub_is_taken_over(registered, third, platform, env, tmp_path):
    report = tmp_path / "report"
    words = ["import", "iothub", "--ca", env["GANTRY_CA_FILE"], "--report", str(report)]
    given = {"GANTRY_IMPORT_FROM": env["IOTHUB_CONNECTION_STRING"]}
    summary = run(third, *words, **given)["summary"]
    assert summary["devices"] == {"create": len(PLAIN) + 5 + 6} and summary["configurations"] == {"create": 1}
    summary = run(third, *words, "--yes", **given)["summary"]
    assert {word for counts in summary.values() for word in counts} == {"created"}, items(report, outcome="failed")
    first, other = tmp_path / "first", tmp_path / "second"
    run(platform, "export", "iothub", str(first), "--keys")
    run(third, "export", "iothub", str(other), "--keys")
    one, two = files(first), files(other)
    assert one == two
    devices = {device["id"]: device for device in two["devices.jsonl"]}
    assert devices["hub-keys"]["authentication"]["symmetricKey"] == {"primaryKey": KEY, "secondaryKey": OTHER_KEY}
    assert devices["hub-keys"]["status"] == "disabled" and devices["hub-keys"]["tags"] == {"site": {"hall": 3}}
    assert devices["hub-thumbs"]["authentication"]["x509Thumbprint"]["primaryThumbprint"] == "A" * 40
    assert devices["a-leaf"]["parentScopes"] == [devices["m-low"]["deviceScope"]]
    modules = {(module["id"], module["moduleId"]): module for module in two["modules.jsonl"]}
    assert modules["hub-keys", "camera"]["properties"]["desired"] == {"fps": 25}
    assert "probe" in modules["z-top", "$edgeAgent"]["properties"]["desired"]["modules"]
    summary = run(third, *words, "--yes", **given)["summary"]
    assert {word for counts in summary.values() for word in counts} == {"same"}, items(report, outcome="differs")
    told = "".join(path.read_text() for path in report.iterdir())
    assert KEY not in told and "SharedAccessKey" not in told

    # What differs stays until it is to be overwritten, and then is as it is at the source.
    twin = json.loads(subprocess.run(
        command(third, "twin", "update", "hub-keys", "--desired", '{"rate": 6, "more": 1}')[0],
        capture_output=True, text=True, check=True).stdout)
    assert twin["properties"]["desired"]["rate"] == 6
    run(third, *words, "--yes", **given)
    assert items(report, outcome="differs") == {"hub-keys": "properties.desired.rate, properties.desired.more"}
    run(third, *words, "--yes", "--overwrite", **given)
    assert "hub-keys" in items(report, outcome="overwritten")
    again = tmp_path / "again"
    run(third, "export", "iothub", str(again), "--keys")
    assert files(again) == one

    # Without keys everything is the same, and what is new gets its own.
    keyless = tmp_path / "keyless"
    run(platform, "export", "iothub", str(keyless))
    text = "".join(path.read_text() for path in keyless.iterdir())
    assert KEY not in text and "symmetricKey" not in text
    subprocess.run(command(third, "device", "delete", "hub-keys")[0], capture_output=True, check=True)
    elsewhere = tmp_path / "elsewhere"
    said = run(third, "import", "iothub", "--from", str(keyless), "--report", str(elsewhere), "--yes")
    assert said["summary"]["devices"] == {"created": 1, "same": len(PLAIN) + 5 + 5}, items(elsewhere, outcome="differs")
    assert any("get new keys" in note for note in said["notes"])


def test_the_first_devices_of_an_application_may_come_at_once(third):
    fresh = Api(third.env, third.env["IOTCENTRAL_API_TOKEN"])
    make = lambda n: fresh.call("PUT", f"devices/at-once-{n}", {})
    with ThreadPoolExecutor(16) as pool:
        assert [status for status, _ in pool.map(make, range(64))] == [200] * 64
