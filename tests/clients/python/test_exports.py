"""Exports of data: what devices of the unmodified SDK do arrives at a webhook, in files read by azure-storage-blob, and
through transforms; and devices upload files where the application says.
"""

import http.server
import json
import threading
import time

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.device.exceptions import ClientError
from azure.storage.blob import BlobServiceClient
from conftest import wait_for
from test_central import LAST, OPERATOR, THERMOSTAT, Api, api, as_role

__all__ = ["api"]


@pytest.fixture
def hook():
    """A receiver of one message a request: what it got, and what it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = server.answers.pop(0) if server.answers else 200
            if status == 200:
                server.got.append((self.path, dict(self.headers), json.loads(body)))
            server.asked += 1
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answers, server.asked = [], [], 0
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def export(api, hook):
    """Makes exports to the receiver, and takes them away."""
    made = []

    def make(source, **rest):
        transform = rest.pop("transform", None)
        name = f"e{len(made)}"
        made.append(name)
        api.ok("PUT", "dataExport/destinations/hook", {
            "displayName": "Hook", "type": "webhook@v1", "url": hook.url,
            "headerCustomizations": {"x-region": {"value": "north", "secret": False},
                                     "x-key": {"value": "k3y", "secret": True}}}, version=LAST)
        to = {"id": "hook", **({"transform": transform} if transform else {})}
        body = {"displayName": name, "enabled": True, "source": source, "destinations": [to], **rest}
        api.ok("PUT", f"dataExport/exports/{name}", body, version=LAST)
        # What happens before it begins to listen is not sent.

        time.sleep(1)
        return name

    yield make
    for name in made:
        api.call("DELETE", f"dataExport/exports/{name}", version=LAST)
    for name in ["hook", "files"]:
        api.call("DELETE", f"dataExport/destinations/{name}", version=LAST)


@pytest.fixture(scope="module")
def template(api):
    path = "deviceTemplates/dtmi:exports:thermostat;1"
    api.ok("PUT", path, THERMOSTAT)
    yield path.partition("/")[2]
    api.call("DELETE", path)


@pytest.fixture
def machine(api, env, device, template, ca):
    """A device with a template and a name, and its client."""
    name, connection_string = device
    api.ok("PATCH", f"devices/{name}", {"displayName": "Motor one", "template": template})
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.connect()
    yield name, client
    try:
        client.shutdown()
    except ClientError:
        pass  # Cut off already, as a disabled device is.


def send(client, body, **properties):
    message = Message(json.dumps(body))
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.custom_properties.update(properties)
    client.send_message(message)


def bodies(hook, name):
    of = lambda body: body.get("deviceId") or body.get("device", {}).get("id") or body.get("id")
    return [body for _, _, body in hook.got if of(body) == name]


def test_telemetry_arrives_in_the_published_format(api, env, hook, export, machine, template):
    name, client = machine
    export("telemetry", enrichments={"site": {"value": "north"}, "name": {"path": "$displayName"},
                                     "room": {"target": template, "path": "room"}})
    send(client, {"workingSet": 21.5, "unknown": {"a": [1]}}, batch="b7")
    body = wait_for(lambda: bodies(hook, name))[0]
    assert set(body) == {"applicationId", "messageSource", "deviceId", "schema", "templateId", "enqueuedTime",
                         "telemetry", "messageProperties", "enrichments"}
    assert body["messageSource"] == "telemetry" and body["schema"] == "default@v1"
    assert body["telemetry"] == {"workingSet": 21.5, "unknown": {"a": [1]}} and body["templateId"] == template
    assert body["messageProperties"] == {"batch": "b7"}
    assert body["enrichments"] == {"site": "north", "name": "Motor one"}, "what the device has not is left out"
    _, headers, _ = hook.got[0]
    assert headers["x-region"] == "north" and headers["x-key"] == "k3y"
    said = wait_for(lambda: (one := api.ok("GET", "dataExport/exports/e0", version=LAST))["status"] == "healthy" and one)
    assert said["lastExportTime"] and "errors" not in said


def test_filters_choose_and_transforms_change(api, hook, export, machine, template):
    name, client = machine
    export("telemetry", filter=f"SELECT * FROM {template} AS A WHERE A.workingSet > 20 AND batch = 'b1'",
           transform='import "iotc" as iotc; {id: .device.id, name: .device.name, set: .telemetry '
                     '| iotc::find(.name == "workingSet"), template: .device.templateName} , '
                     '(.telemetry[] | select(.name == "extra") | {id: "' + name + '", extra: .value})')
    send(client, {"workingSet": 30}, batch="b2")
    send(client, {"workingSet": 10}, batch="b1")
    send(client, {"workingSet": 31, "extra": "x"}, batch="b1")
    wait_for(lambda: len(bodies(hook, name)) >= 2)
    shown = {"id": name, "name": "Motor one", "set": 31, "template": "Thermostat"}
    got = bodies(hook, name)
    assert [{key: one[key] for key in shown} if "set" in one else one for one in got] == \
        [shown, {"id": name, "extra": "x"}] or got == [shown, {"id": name, "extra": "x"}]


def test_what_becomes_of_devices_and_properties_arrives(api, registry, hook, export, machine):
    name, client = machine
    for source in ["properties", "deviceLifecycle", "deviceConnectivity"]:
        export(source)
    wait_for(lambda: client.connected)
    client.patch_twin_reported_properties({"serialNumber": "s1", "thermostat1": {"__t": "c", "limit": 3}})
    api.ok("PATCH", f"devices/{name}/properties", {"target": 7, "room": "A4"})
    api.ok("PATCH", f"devices/{name}", {"displayName": "Motor two"})
    api.ok("PATCH", f"devices/{name}", {"enabled": False})
    wait_for(lambda: not client.connected)
    api.ok("PATCH", f"devices/{name}", {"enabled": True})
    registry.delete_device(name)
    kinds = lambda: {body["messageType"] for body in bodies(hook, name)}
    wait_for(lambda: {"deleted", "disconnected"} <= kinds())
    wanted = {"devicePropertyReportedChange", "devicePropertyDesiredChange", "cloudPropertyChange",
              "displayNameChanged", "disabled", "enabled", "deleted", "disconnected"}
    wait_for(lambda: wanted <= kinds())
    assert "deviceTemplateChanged" not in kinds(), "the template stayed"
    by = lambda kind: [one for body in bodies(hook, name) if body["messageType"] == kind for one in body["properties"]]
    assert {"name": "limit", "value": 3, "component": "thermostat1"} in by("devicePropertyReportedChange")
    assert by("devicePropertyDesiredChange") == [{"name": "target", "value": 7}]
    assert by("cloudPropertyChange") == [{"name": "room", "value": "A4"}]
    registry.create_device_with_sas(name, "", "", "enabled")
    wait_for(lambda: "registered" in kinds())


def test_a_receiver_that_is_away_gets_everything_later(api, hook, export, machine):
    name, client = machine
    hook.answers = [503, 503]
    export("telemetry")
    for n in range(3):
        send(client, {"n": n})
    said = wait_for(lambda: (one := api.ok("GET", "dataExport/destinations/hook", version=LAST))["status"] == "error" and one)
    assert said["errors"][0]["code"] == "InvalidResponse" and "503" in said["errors"][0]["message"]
    wait_for(lambda: len(bodies(hook, name)) == 3)
    assert [body["telemetry"]["n"] for body in bodies(hook, name)] == [0, 1, 2]
    wait_for(lambda: api.ok("GET", "dataExport/exports/e0", version=LAST)["status"] == "healthy")


def test_a_program_without_end_costs_its_own_messages_only(api, hook, export, machine):
    name, client = machine
    export("telemetry", transform="if .telemetry[0].value == 1 then (def f: f; f) else {id: .device.id, v: .telemetry[0].value} end")
    for n in [0, 1, 2]:
        send(client, {"n": n})
    wait_for(lambda: [body["v"] for body in bodies(hook, name)] == [0, 2])
    error = api.refused(400, "PUT", "dataExport/exports/broken", {
        "displayName": "x", "enabled": True, "source": "telemetry",
        "destinations": [{"id": "hook", "transform": "{ a: "}]}, version=LAST)
    assert "transform" in error["message"] and "hook" in error["message"]


def test_a_new_name_of_an_export_sends_nothing_again(api, hook, export, machine):
    name, client = machine
    path = f"dataExport/exports/{export('telemetry')}"
    for n in range(10):
        send(client, {"n": n})
        api.ok("PATCH", path, {"displayName": f"Name {n}"}, version=LAST)
    wait_for(lambda: len(bodies(hook, name)) >= 10)
    assert [body["telemetry"]["n"] for body in bodies(hook, name)] == list(range(10))


def test_an_export_that_was_off_sends_nothing_of_that_time(api, hook, export, machine):
    name, client = machine
    path = f"dataExport/exports/{export('telemetry')}"
    send(client, {"n": 1})
    wait_for(lambda: bodies(hook, name))
    assert api.ok("PATCH", path, {"enabled": False}, version=LAST)["status"] == "notStarted"

    time.sleep(1)
    send(client, {"n": 2})
    time.sleep(1)
    assert api.ok("PATCH", path, {"enabled": True}, version=LAST)["status"] in ("starting", "healthy")
    time.sleep(1)
    send(client, {"n": 3})
    wait_for(lambda: len(bodies(hook, name)) == 2)
    assert [body["telemetry"]["n"] for body in bodies(hook, name)] == [1, 3]


def test_files_of_a_minute_are_read_by_the_storage_sdk(api, env, export, machine):
    name, client = machine
    service = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])
    container = service.get_container_client("exported")
    if not container.exists():
        container.create_container()
    api.ok("PUT", "dataExport/destinations/files", {
        "displayName": "Files", "type": "blobstorage@v1", "authorization": {
            "type": "connectionString", "connectionString": env["AZURE_STORAGE_CONNECTION_STRING"],
            "containerName": "exported"}}, version=LAST)
    shown = api.ok("GET", "dataExport/destinations/files", version=LAST)
    assert "AccountKey=*****" in shown["authorization"]["connectionString"] and shown["status"] == "waiting"
    export("telemetry", destinations=[{"id": "files"}])
    for n in range(20):
        send(client, {"n": n})

    def lines():
        found = []
        for blob in container.list_blobs():
            text = container.download_blob(blob.name).readall().decode()
            found += [(blob.name, json.loads(line)) for line in text.splitlines()]
        return [(path, line) for path, line in found if line["deviceId"] == name]

    found = wait_for(lambda: len(got := lines()) == 20 and got)
    assert sorted(line["telemetry"]["n"] for _, line in found) == list(range(20))
    application, partition, *minute, file = found[0][0].split("/")
    assert application == found[0][1]["applicationId"] and partition.isdigit() and len(minute) == 5 and file.endswith(".json")


WEBHOOK = {"displayName": "W", "type": "webhook@v1", "url": "https://example.org/"}


@pytest.mark.parametrize("wrong, status, part", [
    ({**WEBHOOK, "type": "carrierpigeon@v1"}, 400, "carrierpigeon@v1"),
    ({**WEBHOOK, "url": "ftp://x"}, 422, "`url`"),
    ({**WEBHOOK, "database": "d"}, 400, "`database`"),
    ({**WEBHOOK, "authorization": {"type": "basic"}}, 400, "basic"),
    ({**WEBHOOK, "authorization": {"type": "header", "value": "x", "realm": "y"}}, 400, "`realm`"),
    ({**WEBHOOK, "authorization": {"type": "header"}}, 422, "value"),
    ({**WEBHOOK, "headerCustomizations": {"a b": {"value": "x"}}}, 422, "headerCustomizations"),
    ({"displayName": "E", "type": "eventhubs@v1"}, 400, "`authorization`"),
    ({"displayName": "E", "type": "eventhubs@v1", "authorization": {
        "type": "systemAssignedManagedIdentity", "hostName": "h", "eventHubName": "e"}}, 501, "systemAssignedManagedIdentity"),
    ({"displayName": "E", "type": "eventhubs@v1", "authorization": {
        "type": "connectionString", "connectionString": "Endpoint=sb://x/"}}, 422, "EntityPath"),
])
def test_wrong_destinations_are_refused(api, wrong, status, part):
    error = api.refused(status, "PUT", "dataExport/destinations/wrong", wrong, version=LAST)
    assert part in error["message"], error
    api.refused(404, "GET", "dataExport/destinations/wrong", version=LAST)


def test_secrets_are_not_said_and_go_nowhere_else(api):
    path = "dataExport/destinations/secret"
    body = {**WEBHOOK, "authorization": {"type": "oauth", "tokenUrl": "https://t.example/", "clientId": "c",
                                         "clientSecret": "hush", "requestType": "json"}}
    shown = api.ok("PUT", path, body, version=LAST)
    assert shown["authorization"]["clientSecret"] == "*****" and "hush" not in json.dumps(shown)
    # Written back as it was read it is kept; sent elsewhere it is not.
    again = {key: value for key, value in shown.items() if key not in ("id", "status")}
    api.ok("PUT", path, again, version=LAST)
    again["authorization"] = {**again["authorization"], "tokenUrl": "https://evil.example/"}
    api.refused(422, "PUT", path, again, version=LAST)
    api.ok("DELETE", path, version=LAST)


def test_wrong_exports_are_refused_and_limits_hold(api, hook, export):
    export("telemetry")
    make = lambda status, **rest: api.refused(status, "PUT", "dataExport/exports/wrong", {
        "displayName": "x", "enabled": True, "source": "telemetry", "destinations": [{"id": "hook"}], **rest}, version=LAST)
    assert "`filter`" in make(422, filter="SELECT * FROM nowhere")["message"]
    make(422, destinations=[{"id": "nobody"}])
    make(400, destinations=[{"id": "hook", "colour": 1}])
    make(422, destinations=[{"id": "hook"}, {"id": "hook"}])
    make(400, source="weather")
    assert "audit" in make(501, source="audit")["message"]
    make(422, enrichments={str(n): {"value": n} for n in range(11)})
    make(400, enrichments={"a": {"value": 1, "colour": 2}})
    api.refused(409, "DELETE", "dataExport/destinations/hook", version=LAST)
    listed = api.all("dataExport/destinations/hook/exports", version=LAST)
    assert [one["id"] for one in listed] == ["e0"] and listed[0]["destinations"] == []
    assert [one["id"] for one in api.all("dataExport/exports/e0/destinations", version=LAST)] == ["hook"]
    for n in range(1, 10):
        export("deviceConnectivity", enabled=False)
    make(409)


def test_an_operator_may_not_export(api, env, hook, export):
    export("telemetry")
    operator = as_role(api, env, "export-operator", OPERATOR)
    operator.refused(403, "PUT", "dataExport/destinations/x", WEBHOOK, version=LAST)
    operator.refused(403, "DELETE", "dataExport/exports/e0", version=LAST)
    Api(env, None).refused(401, "GET", "dataExport/exports", version=LAST)


def test_devices_upload_where_the_application_says(api, env, device, ca):
    api.refused(404, "GET", "fileUploads")
    client = IoTHubDeviceClient.create_from_connection_string(device[1], server_verification_cert=ca)
    client.connect()
    before = client.get_storage_info_for_blob("a.txt")
    text = "DefaultEndpointsProtocol=https;AccountName=elsewhere1;AccountKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=;EndpointSuffix=core.example"
    made = api.ok("PUT", "fileUploads", {"account": "elsewhere1", "connectionString": text, "container": "files",
                                         "sasTtl": "PT2H"})
    assert "AccountKey=*****" in made["connectionString"] and made["state"] == "succeeded" and made["sasTtl"] == "PT2H"
    info = client.get_storage_info_for_blob("b.txt")
    assert info["hostName"] == "elsewhere1.blob.core.example" and info["containerName"] == "files"
    changed = api.ok("PATCH", "fileUploads", {"container": "other"})
    assert changed["container"] == "other" and changed["etag"] != made["etag"]
    assert client.get_storage_info_for_blob("c.txt")["containerName"] == "other"
    api.refused(412, "PATCH", "fileUploads", {"container": "third", "etag": made["etag"]})
    error = api.refused(422, "PUT", "fileUploads", {"connectionString": text.replace("https", "http"), "container": "files"})
    assert "https" in error["message"]
    api.refused(422, "PUT", "fileUploads", {"connectionString": text, "container": "A"})
    api.refused(422, "PUT", "fileUploads", {"connectionString": text, "container": "files", "sasTtl": "PT1S"})
    api.ok("DELETE", "fileUploads")
    api.refused(404, "DELETE", "fileUploads")
    assert client.get_storage_info_for_blob("d.txt")["hostName"] == before["hostName"]
    client.shutdown()
