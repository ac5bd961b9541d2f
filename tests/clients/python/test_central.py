"""The REST API of the application (IoT Central's), with devices of the unmodified SDK behind it.

Bodies are those of the published examples where there is one. Answers are checked against the published definitions:
no member that they do not have.
"""

import base64
import json
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse, ProvisioningDeviceClient
from conftest import wait_for

LAST = "2022-10-31-preview"
STABLE = "2022-07-31"
ADMINISTRATOR = "ca310b8d-2f4a-44e0-a36e-957c202cd8d4"
BUILDER = "344138e9-8de4-4497-8c54-5237e96d6aaf"
OPERATOR = "ae2c9854-393b-4f97-8c42-479d70ce626e"
ORG_ADMINISTRATOR = "c495eb57-eb18-489e-9802-62c474e5645c"
ORG_OPERATOR = "b4935647-30e4-4ed3-9074-dcac66c2f8ef"
ORG_VIEWER = "84cc62c1-dabe-49d3-b16e-8b291232b285"


class Api:
    """Calls with one token."""

    def __init__(self, env, token):
        self.url, self.token = env["IOTCENTRAL_URL"], token
        self.context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])

    def raw(self, method, url, body=None, headers=()):
        data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        request = urllib.request.Request(url, data, method=method)
        if self.token:
            request.add_header("Authorization", self.token)
        for name, value in dict(headers).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=self.context) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def call(self, method, path, body=None, version=STABLE, query="", headers=()):
        return self.raw(method, f"{self.url}/api/{path}?api-version={version}{query}", body, headers)

    def ok(self, method, path, body=None, **rest):
        status, answer = self.call(method, path, body, **rest)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def refused(self, expected, method, path, body=None, **rest):
        status, answer = self.call(method, path, body, **rest)
        assert status == expected, f"{method} {path}: {status} {answer}"
        if answer is not None:
            assert set(answer["error"]) == {"code", "message", "requestId", "time"}, answer
            return answer["error"]

    def all(self, path, **rest):
        """A list, page by page, as the reference's command line follows it."""
        answer = self.ok("GET", path, **rest)
        found = answer["value"]
        while "nextLink" in answer:
            status, answer = self.raw("GET", answer["nextLink"])
            assert status == 200, answer
            found += answer["value"]
        return found


@pytest.fixture(scope="module")
def api(env):
    return Api(env, env["IOTCENTRAL_API_TOKEN"])


@pytest.fixture(scope="module")
def tree(api):
    """Organizations: us with us-west below it, and eu."""
    api.ok("PUT", "organizations/us", {"displayName": "US"})
    api.ok("PUT", "organizations/us-west", {"displayName": "West", "parent": "us"})
    api.ok("PUT", "organizations/eu", {})
    return api


def as_role(api, env, name, role, organization=None):
    """Calls in the name of a role."""
    assignment = {"role": role, **({"organization": organization} if organization else {})}
    api.call("DELETE", f"apiTokens/{name}")
    made = api.ok("PUT", f"apiTokens/{name}", {"roles": [assignment]})
    return Api(env, made["token"])


THERMOSTAT = {
    "@type": ["ModelDefinition", "DeviceModel"],
    "displayName": "Thermostat",
    "capabilityModel": {
        "@id": "dtmi:clients:controller;1", "@type": "Interface", "@context": "dtmi:dtdl:context;2",
        "displayName": "Controller",
        "contents": [
            {"@type": "Telemetry", "name": "workingSet", "schema": "double"},
            {"@type": "Property", "name": "serialNumber", "schema": "string"},
            {"@type": "Property", "name": "target", "schema": "double", "writable": True},
            {"@type": ["Property", "Cloud"], "name": "room", "schema": "string"},
            {"@type": "Command", "name": "reboot", "request": {"name": "delay", "schema": "integer"},
             "response": {"name": "done", "schema": "boolean"}},
            {"@type": "Component", "name": "thermostat1", "schema": {
                "@id": "dtmi:clients:thermostat;1", "@type": "Interface", "contents": [
                    {"@type": "Telemetry", "name": "temperature", "schema": "double"},
                    {"@type": "Property", "name": "limit", "schema": "double", "writable": True},
                    {"@type": "Command", "name": "maxMin", "request": {"name": "since", "schema": "dateTime"}},
                ]}},
        ],
    },
}
TEMPLATE = "dtmi:clients:controllerTemplate;1"


@pytest.fixture(scope="module")
def template(api):
    api.ok("PUT", f"deviceTemplates/{TEMPLATE}", THERMOSTAT)
    return TEMPLATE


def test_versions_are_known_and_have_their_operations(api):
    for wrong in ["", "latest", "2021-04-12", "2099-01-01"]:
        error = api.refused(400, "GET", "devices", version=wrong)
        assert error["code"] == "BadRequest"
    for version in ["1.0", "2022-05-31", "2022-06-30-preview", STABLE, LAST]:
        assert "value" in api.ok("GET", "devices", version=version)
    assert api.refused(404, "GET", "organizations", version="1.0")["code"] == "NotFound"
    assert api.refused(404, "GET", "dashboards", version=STABLE)["code"] == "NotFound"
    assert api.refused(404, "GET", "deploymentManifests", version="2022-06-30-preview")["code"] == "NotFound"


def test_tokens_prove_and_end(api, env):
    for wrong in [None, "", "SharedAccessSignature sr=x&sig=y&skn=z&se=1", "Bearer x",
                  env["IOTCENTRAL_API_TOKEN"][:-1] + "9", env["IOTCENTRAL_API_TOKEN"].replace("&skn=", "&skn=x")]:
        assert Api(env, wrong).refused(401, "GET", "devices")["code"] == "Unauthorized"
    made = api.ok("PUT", "apiTokens/short", {"roles": [{"role": OPERATOR}]})
    assert made["token"].startswith("SharedAccessSignature sr=") and made["expiry"]
    shown = api.ok("GET", "apiTokens/short")
    assert "token" not in shown and shown["roles"] == [{"role": OPERATOR}]
    assert any(one["id"] == "short" for one in api.all("apiTokens"))
    api.refused(409, "PUT", "apiTokens/short", {"roles": [{"role": OPERATOR}]})
    short = Api(env, made["token"])
    short.ok("GET", "devices")
    short.refused(403, "PUT", "deviceTemplates/dtmi:x:y;1", THERMOSTAT)
    api.ok("DELETE", "apiTokens/short")
    short.refused(401, "GET", "devices")
    api.refused(422, "PUT", "apiTokens/none", {"roles": []})
    api.refused(422, "PUT", "apiTokens/none", {"roles": [{"role": "nobody"}]})
    api.refused(400, "PUT", "apiTokens/none", {"roles": [{"role": OPERATOR}], "expiry": "soon"})
    api.refused(400, "PUT", "apiTokens/none", {"roles": [{"role": OPERATOR}], "colour": 1})


def test_roles_are_the_published_ones(api):
    found = {one["displayName"]: one["id"] for one in api.all("roles")}
    assert found["Administrator"] == ADMINISTRATOR and found["Org Viewer"] == ORG_VIEWER and len(found) == 6
    assert api.ok("GET", f"roles/{BUILDER}") == {"id": BUILDER, "displayName": "Builder"}
    api.refused(404, "GET", "roles/x")


def test_organizations_are_a_tree(tree):
    api = tree
    assert api.ok("GET", "organizations/us-west") == {"id": "us-west", "displayName": "West", "parent": "us"}
    assert api.ok("GET", "organizations/eu")["displayName"] == "eu"
    assert api.ok("PATCH", "organizations/us-west", {"displayName": "Far West"})["parent"] == "us"
    assert {"us", "us-west", "eu"} <= {one["id"] for one in api.all("organizations")}
    api.refused(422, "PATCH", "organizations/us", {"parent": "us-west"})
    api.refused(404, "PUT", "organizations/lost", {"parent": "nowhere"})
    api.refused(400, "PUT", "organizations/-x", {})
    api.refused(409, "DELETE", "organizations/us")


def test_users_have_roles_where_they_are_given(tree):
    api = tree
    alice = {"type": "email", "email": "alice@contoso.com", "roles": [{"role": ADMINISTRATOR}]}
    made = api.ok("PUT", "users/alice", alice)
    assert made == {"id": "alice", **alice}
    program = {"type": "servicePrincipal", "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
               "objectId": "9071c899-bce0-4862-b208-75dabae226a9",
               "roles": [{"role": ORG_OPERATOR, "organization": "us"}]}
    assert api.ok("PUT", "users/program", program) == {"id": "program", **program}
    changed = api.ok("PATCH", "users/program", {"roles": [{"role": ORG_VIEWER, "organization": "eu"}]})
    assert changed["roles"] == [{"role": ORG_VIEWER, "organization": "eu"}] and changed["tenantId"]
    assert {one["id"] for one in api.all("users")} >= {"alice", "program"}
    for wrong in [{"type": "robot", "roles": []}, {"type": "email", "roles": [{"role": BUILDER}]},
                  {"type": "email", "email": "b@c.d", "tenantId": "x", "roles": [{"role": BUILDER}]}]:
        api.refused(400, "PUT", "users/wrong", wrong)
    api.refused(422, "PUT", "users/wrong", {"type": "email", "email": "b@c.d", "roles": [{"role": ORG_VIEWER}]})
    api.refused(409, "DELETE", "users/alice")
    api.ok("DELETE", "users/program")
    api.refused(404, "GET", "users/program")


def test_templates_grow_and_do_not_break(api):
    example = json.loads((Path(__file__).parents[3] / "crates/central/tests/examples/device_template.json").read_text())
    path = "deviceTemplates/dtmi:contoso:testDeviceTemplate;1"
    made = api.ok("PUT", path, {key: value for key, value in example.items() if key not in ("@id", "etag")})
    assert made["@id"] == "dtmi:contoso:testDeviceTemplate;1" and made["capabilityModel"] == example["capabilityModel"]
    shown = api.ok("GET", path)
    assert shown == made and any(one["@id"] == made["@id"] for one in api.all("deviceTemplates"))
    api.ok("PATCH", path, {"displayName": "Renamed", "etag": made["etag"]})
    api.refused(412, "PATCH", path, {"displayName": "Again", "etag": made["etag"]})
    api.refused(412, "PATCH", path, {"displayName": "Again"}, version=LAST, headers={"If-Match": made["etag"]})
    fewer = {**made["capabilityModel"], "contents": []}
    error = api.refused(409, "PATCH", path, {"capabilityModel": fewer})
    assert "new version" in error["message"]
    for wrong in [{}, {"@type": ["DeviceModel"]}, {"@type": "ModelDefinition", "capabilityModel": 1}]:
        api.refused(400 if "capabilityModel" not in wrong else 422, "PUT", "deviceTemplates/dtmi:a:b;1", wrong)
    api.refused(400, "PUT", "deviceTemplates/nothing", THERMOSTAT)
    api.ok("DELETE", path)
    api.refused(404, "GET", path)


def test_devices_are_made_changed_and_deleted(tree, template):
    api = tree
    body = {"displayName": "CheckoutThermostatccc", "template": template, "simulated": True, "enabled": True,
            "organizations": ["us"]}
    made = api.ok("PUT", "devices/ccc", body)
    assert {key: made[key] for key in body} == body and made["provisioned"] is False and made["id"] == "ccc"
    assert api.ok("GET", "devices/ccc") == made
    changed = api.ok("PATCH", "devices/ccc", {"displayName": "Other", "etag": made["etag"]})
    assert changed["displayName"] == "Other" and changed["template"] == template and changed["etag"] != made["etag"]
    api.refused(412, "PATCH", "devices/ccc", {"displayName": "Third", "etag": made["etag"]})
    assert api.ok("PATCH", "devices/ccc", {"organizations": [], "enabled": False})["enabled"] is False
    assert "organizations" not in api.ok("GET", "devices/ccc")
    api.refused(409, "DELETE", f"deviceTemplates/{template}")
    api.refused(400, "PUT", "devices/ddd", {"template": "dtmi:no:such;1"})
    api.refused(400, "PUT", "devices/ddd", {"organizations": ["nowhere"]})
    api.refused(400, "PUT", "devices/ddd", {"organizations": ["us", "eu"]})
    api.refused(400, "PUT", "devices/ddd", {"colour": 1})
    api.refused(400, "PUT", "devices/ddd", b"{")
    api.refused(404, "PATCH", "devices/ddd", {})
    api.ok("DELETE", "devices/ccc")
    api.refused(404, "GET", "devices/ccc")


def test_lists_have_pages_filters_and_orders(tree, template):
    api = tree
    names = [f"list-{n:02}" for n in range(30)]
    for n, name in enumerate(names):
        body = {"displayName": f"Pump {n % 7}", "enabled": n % 2 == 0}
        api.ok("PUT", f"devices/{name}", {**body, **({"template": template} if n < 12 else {})})
    ids = [one["id"] for one in api.all("devices") if one["id"].startswith("list-")]
    assert ids == names
    page = api.ok("GET", "devices", version=LAST, query="&maxpagesize=7")
    assert len(page["value"]) == 7 and page["nextLink"].startswith(api.url)
    listed = lambda query, version=LAST: [one["id"] for one in api.all("devices", version=version, query=query)]
    some = listed("&filter=template%20eq%20'" + urllib.parse.quote(template) + "'%20and%20enabled%20eq%20true")
    assert [name for name in some if name.startswith("list-")] == names[:12:2]
    some = listed("&%24filter=indexof(displayName,'pump%203')%20ge%200&%24top=2", "2022-06-30-preview")
    assert some == names[3::7]
    some = listed("&orderby=displayName%20desc,id&filter=indexof(displayName,'pump')%20ge%200&maxpagesize=4")
    assert some == sorted(names, key=lambda name: (-(int(name[5:]) % 7), name))
    for wrong in ["&maxpagesize=0", "&maxpagesize=101", "&filter=colour%20eq%201", "&orderby=colour", "&filter=id"]:
        api.refused(400, "GET", "devices", version=LAST, query=wrong)
    group = {"displayName": "Pumps", "filter": f'SELECT * FROM devices WHERE $template = "{template}" AND $enabled = true'}
    made = api.ok("PUT", "deviceGroups/pumps", group)
    assert made["filter"] == group["filter"]
    assert [one["id"] for one in api.all("deviceGroups/pumps/devices") if one["id"].startswith("list-")] == names[:12:2]
    api.ok("PATCH", "deviceGroups/pumps", {"description": "some", "etag": made["etag"]})
    api.refused(412, "PATCH", "deviceGroups/pumps", {"description": "others", "etag": made["etag"]})
    api.refused(422, "PUT", "deviceGroups/wrong", {"displayName": "x", "filter": "SELECT id FROM devices"})
    api.ok("DELETE", "deviceGroups/pumps")
    for name in names:
        api.ok("DELETE", f"devices/{name}")


def test_a_device_registers_with_what_its_credentials_say(api, env, ca):
    api.ok("PUT", "devices/Registers-1", {"displayName": "x"})
    told = api.ok("GET", "devices/Registers-1/credentials")
    assert told["idScope"] == env["PROVISIONING_IDSCOPE"]
    register = lambda key: ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=env["PROVISIONING_HOST"], registration_id="Registers-1", id_scope=told["idScope"],
        symmetric_key=key, server_verification_cert=ca).register()
    assert register(told["symmetricKey"]["primaryKey"]).status == "assigned"
    device = api.ok("GET", "devices/Registers-1")
    assert device["provisioned"] is True and device["displayName"] == "x"
    key = base64.b64encode(bytes(range(32))).decode()
    api.refused(404, "GET", "devices/Registers-1/attestation")
    own = {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}
    assert api.ok("PUT", "devices/Registers-1/attestation", own) == own
    assert api.ok("GET", "devices/Registers-1/attestation") == own
    assert api.ok("GET", "devices/Registers-1/credentials")["symmetricKey"]["primaryKey"] == key
    assert register(key).status == "assigned"
    api.refused(400, "PUT", "devices/Registers-1/attestation", {"type": "tpm"})
    api.ok("DELETE", "devices/Registers-1/attestation")
    api.refused(404, "DELETE", "devices/Registers-1/attestation")
    api.ok("DELETE", "devices/Registers-1")


def test_a_plug_and_play_device_is_seen_through_its_template(api, template, device, ca):
    name, connection = device
    client = IoTHubDeviceClient.create_from_connection_string(
        connection, server_verification_cert=ca, product_info="dtmi:clients:controller;1")
    told = []
    client.on_twin_desired_properties_patch_received = told.append

    def answer(request):
        payload = {"reboot": True, "thermostat1*maxMin": {"max": 21.5}}[request.name]
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, payload))

    client.on_method_request_received = answer
    client.connect()
    shown = wait_for(lambda: (one := api.ok("GET", f"devices/{name}")).get("template") and one)
    assert shown["template"] == template and shown["provisioned"] is True
    assert [one["name"] for one in api.all(f"devices/{name}/components")] == ["thermostat1"]

    # Properties: desired, acknowledged, read; cloud properties never reach the device.
    body = {"target": 20.5, "room": "A4", "thermostat1": {"limit": 30}}
    written = api.ok("PATCH", f"devices/{name}/properties", body)
    assert written == {"$metadata": {"target": {"desiredValue": 20.5}},
                       "thermostat1": {"$metadata": {"limit": {"desiredValue": 30}}}}
    patch = wait_for(lambda: next((one for one in told if "target" in one), None))
    assert patch == {"target": 20.5, "thermostat1": {"__t": "c", "limit": 30}, "$version": patch["$version"]}
    client.patch_twin_reported_properties({
        "serialNumber": "s1", "stray": 1, "target": {"value": 20.5, "ac": 200, "av": patch["$version"], "ad": "done"},
        "thermostat1": {"__t": "c", "limit": {"value": 30, "ac": 200, "av": patch["$version"]}},
    })
    read = wait_for(lambda: (one := api.ok("GET", f"devices/{name}/properties")).get("serialNumber") and one)
    assert (read["target"], read["room"], read["thermostat1"]["limit"]) == (20.5, "A4", 30)
    assert read["$metadata"]["target"]["ackCode"] == 200 and "stray" not in read
    assert api.ok("GET", f"devices/{name}/properties", version=LAST, query="&unmodeled=true")["stray"] == 1
    part = api.ok("GET", f"devices/{name}/components/thermostat1/properties")
    assert part["limit"] == 30 and part["$metadata"]["limit"]["desiredValue"] == 30
    replaced = api.ok("PUT", f"devices/{name}/components/thermostat1/properties", {"limit": 31})
    assert replaced == {"$metadata": {"limit": {"desiredValue": 31}}}
    for wrong in [{"serialNumber": "x"}, {"colour": 1}, {"target": "hot"}, {"thermostat1": {"limit": True}}]:
        api.refused(422, "PATCH", f"devices/{name}/properties", wrong)
    api.refused(404, "GET", f"devices/{name}/components/wing/properties")

    # Commands.
    run = api.ok("POST", f"devices/{name}/commands/reboot", {"request": 3})
    assert (run["request"], run["response"], run["responseCode"]) == (3, True, 200)
    run = api.ok("POST", f"devices/{name}/components/thermostat1/commands/maxMin", {"request": "2026-01-01T00:00:00Z"})
    assert run["response"] == {"max": 21.5}
    assert api.ok("GET", f"devices/{name}/components/thermostat1/commands/maxMin")["value"] == [run]
    api.refused(404, "POST", f"devices/{name}/commands/fly", {})
    api.refused(422, "POST", f"devices/{name}/commands/reboot", {"request": "soon"})
    api.refused(400, "POST", f"devices/{name}/commands/reboot", {"request": 3, "responseTimeout": 4})

    # Telemetry, of the device and of a component.
    message = Message(json.dumps({"workingSet": 77.5}), content_encoding="utf-8", content_type="application/json")
    client.send_message(message)
    message = Message(json.dumps({"temperature": 21.25}), content_encoding="utf-8", content_type="application/json")
    message.custom_properties["$.sub"] = "thermostat1"
    client.send_message(message)
    last = wait_for(lambda: api.ok("GET", f"devices/{name}/components/thermostat1/telemetry/temperature"))
    assert last["value"] == 21.25 and last["timestamp"].endswith("Z")
    assert wait_for(lambda: api.ok("GET", f"devices/{name}/telemetry/workingSet"))["value"] == 77.5
    api.refused(404, "GET", f"devices/{name}/telemetry/temperature")

    # A device that may not connect is cut off; one that is away answers nothing.
    api.ok("PATCH", f"devices/{name}", {"enabled": False})
    wait_for(lambda: not client.connected)
    client.shutdown()
    api.ok("PATCH", f"devices/{name}", {"enabled": True})
    assert "not online" in api.refused(404, "POST", f"devices/{name}/commands/reboot", {"request": 1})["message"]


def test_devices_are_below_others(api, registry):
    api.ok("PUT", "devices/gate", {"type": ["iotEdge"]})
    for name in ["leaf-1", "leaf-2", "leaf-3"]:
        api.ok("PUT", f"devices/{name}", {})
    made = api.ok("PUT", "devices/gate/relationships/r1", {"source": "gate", "target": "leaf-1"})
    assert made == {"id": "r1", "source": "gate", "target": "leaf-1"}
    api.ok("PUT", "devices/leaf-2/relationships/r2", {"source": "gate", "target": "leaf-2"})
    api.ok("PUT", "devices/leaf-2/relationships/r3", {"target": "leaf-3"})
    assert [one["id"] for one in api.all("devices/gate/relationships")] == ["r1", "r2"]
    assert [one["id"] for one in api.all("devices/leaf-2/relationships")] == ["r2", "r3"]
    assert api.ok("GET", "devices/leaf-1/relationships/r1") == made
    assert registry.get_device("leaf-1").device_scope == registry.get_device("gate").device_scope
    api.refused(409, "PUT", "devices/leaf-3/relationships/r4", {"target": "gate"})
    api.refused(409, "PUT", "devices/leaf-1/relationships/r4", {"target": "leaf-3"})
    api.refused(400, "PUT", "devices/leaf-1/relationships/r4", {"source": "gate", "target": "leaf-3"})
    api.refused(404, "PUT", "devices/leaf-1/relationships/r4", {"target": "nobody"})
    moved = api.ok("PATCH", "devices/leaf-3/relationships/r3", {"source": "leaf-1"})
    assert moved["source"] == "leaf-1" and api.all("devices/leaf-1/relationships")[1]["id"] == "r3"
    api.ok("DELETE", "devices/gate/relationships/r1")
    api.refused(404, "GET", "devices/leaf-1/relationships/r1")
    assert not registry.get_device("leaf-1").device_scope
    for name in ["leaf-1", "leaf-2", "leaf-3", "gate"]:
        api.ok("DELETE", f"devices/{name}")


def test_questions_are_about_telemetry_or_properties(tree, env, template, registry, ca):
    api = tree
    ask = lambda text, one=api: one.ok("POST", "query", {"query": text}, version=LAST)["results"]
    for name, organization in [("ask-1", "us"), ("ask-2", "eu")]:
        api.ok("PUT", f"devices/{name}", {"template": template, "organizations": [organization]})
        key = registry.get_device(name).authentication.symmetric_key.primary_key
        client = IoTHubDeviceClient.create_from_connection_string(
            f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}", server_verification_cert=ca)
        client.connect()
        for n in range(4):
            body = Message(json.dumps({"workingSet": n + (10 if name == "ask-2" else 0)}), "utf-8", "application/json")
            client.send_message(body)
            body = Message(json.dumps({"temperature": 20 + n}), "utf-8", "application/json")
            body.custom_properties["$.sub"] = "thermostat1"
            client.send_message(body)
        client.patch_twin_reported_properties({"serialNumber": f"s-{name}", "target": {"value": 7, "ac": 200, "av": 1}})
        client.shutdown()
    of = f"FROM {template} WHERE $id IN ['ask-1', 'ask-2'] AND WITHIN_WINDOW(P1D)"
    count = f"SELECT COUNT(workingSet) {of}"
    assert wait_for(lambda: (found := ask(count))[0]["count_workingSet"] == 8 and found)
    sums = ask(f"SELECT $id, SUM(workingSet), MAX(thermostat1.temperature) AS hottest, FIRST(workingSet), LAST(workingSet) "
               f"{of} GROUP BY $id ORDER BY $id")
    assert sums == [
        {"$id": "ask-1", "sum_workingSet": 6, "hottest": 23, "first_workingSet": 0, "last_workingSet": 3},
        {"$id": "ask-2", "sum_workingSet": 46, "hottest": 23, "first_workingSet": 10, "last_workingSet": 13},
    ]
    rows = ask(f"SELECT TOP 3 $id, workingSet AS w {of} AND workingSet >= 2 ORDER BY w DESC")
    assert rows == [{"$id": "ask-2", "w": 13}, {"$id": "ask-2", "w": 12}, {"$id": "ask-2", "w": 11}]
    windows = ask(f"SELECT AVG(workingSet) {of} GROUP BY WINDOW(PT3H) ORDER BY $ts ASC")
    assert windows and windows[0]["$ts"].endswith("Z") and "avg_workingSet" in windows[0]
    rows = wait_for(lambda: (found := ask(f"SELECT $id, serialNumber, target FROM {template} WHERE target = 7")) and
                    len(found) >= 2 and found)
    assert {"$id": "ask-1", "serialNumber": "s-ask-1", "target": 7} in rows
    # Nobody asks about devices they do not see.
    viewer = as_role(api, env, "ask-viewer", ORG_VIEWER, "us")
    assert [row["$id"] for row in ask(f"SELECT $id, SUM(workingSet) {of} GROUP BY $id", viewer)] == ["ask-1"]
    for wrong in ["SELECT", "SELECT colour FROM " + template, "SELECT workingSet, serialNumber FROM " + template,
                  "SELECT workingSet FROM x", "x" * 351]:
        api.refused(400, "POST", "query", {"query": wrong}, version=LAST)
    api.refused(404, "POST", "query", {"query": "SELECT a FROM dtmi:no:such;1"}, version=LAST)
    quoted = ask(f"SELECT $id, serialNumber FROM {template} WHERE serialNumber = 'x\" or true or \"'")
    assert quoted == []
    for name in ["ask-1", "ask-2"]:
        api.ok("DELETE", f"devices/{name}")


def test_who_is_in_an_organization_sees_that_and_no_more(tree, env, template):
    api = tree
    for name, organization in [("org-us", "us"), ("org-west", "us-west"), ("org-eu", "eu"), ("org-root", None)]:
        api.ok("PUT", f"devices/{name}", {"template": template, **({"organizations": [organization]} if organization else {})})
    seen = lambda one: {device["id"] for device in one.all("devices") if device["id"].startswith("org-")}
    viewer = as_role(api, env, "us-viewer", ORG_VIEWER, "us")
    operator = as_role(api, env, "west-operator", ORG_OPERATOR, "us-west")
    assert seen(api) == {"org-us", "org-west", "org-eu", "org-root"}
    assert seen(viewer) == {"org-us", "org-west"} and seen(operator) == {"org-west"}
    viewer.refused(404, "GET", "devices/org-eu")
    viewer.refused(404, "GET", "devices/org-root/properties")
    viewer.refused(403, "PATCH", "devices/org-us", {"displayName": "x"})
    operator.ok("PATCH", "devices/org-west", {"displayName": "x"})
    operator.refused(404, "PATCH", "devices/org-us", {"displayName": "x"})
    # Nobody moves a device, or makes one, where they are not.
    operator.refused(404, "PATCH", "devices/org-west", {"organizations": ["eu"]})
    operator.refused(404, "PATCH", "devices/org-west", {"organizations": []})
    operator.refused(404, "PUT", "devices/org-new", {"organizations": ["us"]})
    operator.ok("PUT", "devices/org-new", {"organizations": ["us-west"]})
    operator.ok("DELETE", "devices/org-new")
    operator.refused(404, "DELETE", "devices/org-eu")
    assert {one["id"] for one in operator.all("organizations")} == {"us-west"}
    # Nor gives more than they have.
    chief = as_role(api, env, "us-chief", ORG_ADMINISTRATOR, "us")
    chief.ok("PUT", "users/bob", {"type": "email", "email": "bob@c.d", "roles": [{"role": ORG_VIEWER, "organization": "us-west"}]})
    chief.refused(404, "PUT", "users/eve", {"type": "email", "email": "e@c.d", "roles": [{"role": ORG_VIEWER, "organization": "eu"}]})
    chief.refused(404, "PUT", "users/eve", {"type": "email", "email": "e@c.d", "roles": [{"role": ADMINISTRATOR}]})
    chief.refused(404, "PUT", "organizations/mine", {})
    chief.ok("DELETE", "users/bob")
    for name in ["org-us", "org-west", "org-eu", "org-root"]:
        api.ok("DELETE", f"devices/{name}")


def test_ids_that_differ_in_case_only_are_not_two_devices(tree, env):
    api = tree
    operator = as_role(api, env, "case-operator", ORG_OPERATOR, "us")
    key = base64.b64encode(bytes(range(32))).decode()
    own = {"type": "symmetricKey", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}
    api.ok("PUT", "devices/Valve", {"organizations": ["eu"]})
    api.ok("PUT", "devices/Valve/attestation", own)
    for other in ["valve", "VALVE", "vaLve"]:
        operator.refused(409, "PUT", f"devices/{other}", {"organizations": ["us"]})
    api.ok("PUT", "devices/plain", {"organizations": ["eu"]})
    operator.refused(409, "PUT", "devices/Plain", {"organizations": ["us"]})
    assert api.ok("GET", "devices/Valve/attestation") == own
    for name in ["Valve", "plain"]:
        api.ok("DELETE", f"devices/{name}")
    api.ok("PUT", "devices/valve", {})
    api.ok("DELETE", "devices/valve")


def test_what_is_elsewhere_is_told_as_what_is_nowhere(tree, env, template):
    api = tree
    operator = as_role(api, env, "oracle-operator", ORG_OPERATOR, "us")
    api.ok("PUT", "devices/hidden", {"organizations": ["eu"], "template": template})
    api.ok("PUT", "deviceGroups/hidden", {"displayName": "H", "filter": "SELECT * FROM devices", "organizations": ["eu"]})
    api.ok("PUT", "jobs/hidden", {"group": "hidden", "data": [{"type": "command", "target": template, "path": "reboot"}],
                                  "organizations": ["eu"]})
    for path in ["devices/{}", "devices/{}/properties", "devices/{}/credentials", "deviceGroups/{}", "jobs/{}",
                 "devices/{}/relationships"]:
        told = [operator.refused(404, "GET", path.format(id))["message"].replace(id, "ID") for id in ["hidden", "nobody"]]
        assert told[0] == told[1], path
    chief = as_role(api, env, "oracle-chief", ORG_ADMINISTRATOR, "us")
    for id in ["eu", "nowhere"]:
        chief.refused(404, "PATCH", f"organizations/{id}", {"displayName": "x"}, headers={"If-Match": '"zzz"'})
    api.ok("DELETE", "deviceGroups/hidden")
    api.ok("DELETE", "devices/hidden")


def test_a_job_stays_within_its_organization(tree, env, template):
    api = tree
    operator = as_role(api, env, "job-operator", ORG_OPERATOR, "us")
    api.ok("PUT", "devices/mover", {"organizations": ["us"], "template": template})
    api.ok("PUT", "deviceGroups/movers", {"displayName": "M", "filter": 'SELECT * FROM devices WHERE $id = "mover"',
                                          "organizations": ["us"]})
    data = [{"type": "command", "target": template, "path": "reboot", "value": 1},
            {"type": "cloudProperty", "target": template, "path": "room", "value": "theirs"}]
    operator.ok("PUT", "jobs/moves", {"group": "movers", "data": data, "organizations": ["us"]})
    wait_for(lambda: operator.ok("GET", "jobs/moves")["progress"]["failed"] == 1)
    api.ok("PATCH", "devices/mover", {"organizations": ["eu"]})
    api.ok("PATCH", "devices/mover/properties", {"room": "ours"})
    operator.ok("PUT", "jobs/moves/rerun/again")
    wait_for(lambda: operator.ok("GET", "jobs/again")["progress"]["failed"] == 1)
    assert api.ok("GET", "devices/mover/properties")["room"] == "ours"
    api.ok("DELETE", "deviceGroups/movers")
    api.ok("DELETE", "devices/mover")


def test_relationships_end_with_the_device_and_the_sight_of_it(tree, env):
    api = tree
    operator = as_role(api, env, "rel-operator", ORG_OPERATOR, "us")
    api.ok("PUT", "devices/rel-gate", {"organizations": ["eu"]})
    api.ok("PUT", "devices/rel-leaf", {"organizations": ["us"]})
    api.ok("PUT", "devices/rel-gate/relationships/r1", {"target": "rel-leaf"})
    assert operator.all("devices/rel-leaf/relationships") == []
    operator.refused(404, "DELETE", "devices/rel-leaf/relationships/r1")
    api.ok("PUT", "devices/rel-two", {})
    api.refused(409, "PUT", "devices/rel-gate/relationships/r1", {"target": "rel-two"})
    api.ok("DELETE", "devices/rel-gate")
    api.ok("PUT", "devices/rel-gate", {"organizations": ["us"]})
    assert api.all("devices/rel-gate/relationships") == [] and api.all("devices/rel-leaf/relationships") == []
    for name in ["rel-gate", "rel-leaf", "rel-two"]:
        api.ok("DELETE", f"devices/{name}")


def test_writers_beside_each_other_lose_nothing(tree, template, env):
    api = tree
    group = {"displayName": "A", "filter": "SELECT * FROM devices"}
    def both(path, first, second):
        """Two changes of different members at once, as clients with connections of their own."""
        callers = [Api(env, api.token), Api(env, api.token)]
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(caller.call, "PATCH", path, body, LAST) for caller, body in zip(callers, [first, second])]
            return [one.result()[0] for one in done]
    for n in range(15):
        api.ok("PUT", "devices/raced", {"displayName": "a", "enabled": True})
        assert both("devices/raced", {"displayName": f"b{n}"}, {"enabled": False}) == [200, 200]
        device = api.ok("GET", "devices/raced")
        assert (device["displayName"], device["enabled"]) == (f"b{n}", False)
        expected = {"etag": device["etag"]}
        won = both("devices/raced", {"displayName": "c", **expected}, {"enabled": True, **expected})
        assert sorted(won) == [200, 412], won
        api.ok("PUT", "deviceGroups/raced", group)
        assert both("deviceGroups/raced", {"displayName": f"b{n}"}, {"description": f"d{n}"}) == [200, 200]
        kept = api.ok("GET", "deviceGroups/raced")
        assert (kept["displayName"], kept["description"]) == (f"b{n}", f"d{n}")
        api.ok("PUT", "dashboards/raced", {"displayName": "A", "tiles": []}, version=LAST)
        assert both("dashboards/raced", {"displayName": f"b{n}"}, {"favorite": True}) == [200, 200]
        kept = api.ok("GET", "dashboards/raced", version=LAST)
        assert (kept["displayName"], kept["favorite"]) == (f"b{n}", True)
    api.ok("DELETE", "dashboards/raced", version=LAST)
    api.ok("DELETE", "deviceGroups/raced")
    api.ok("DELETE", "devices/raced")


def test_nothing_is_in_an_organization_that_goes_meanwhile(tree, env):
    api = tree
    for n in range(12):
        api.ok("PUT", "organizations/short", {})
        callers = [Api(env, api.token), Api(env, api.token)]
        with ThreadPoolExecutor(2) as pool:
            gone = pool.submit(callers[0].call, "DELETE", "organizations/short")
            made = pool.submit(callers[1].call, "PUT", f"devices/short-{n}", {"organizations": ["short"]})
            gone, made = gone.result()[0], made.result()[0]
        is_there = api.call("GET", "organizations/short")[0] == 200
        # Either may win, and both may lose; but no device is in what is not there.
        assert (gone, made, is_there) in [(204, 400, False), (409, 200, True), (409, 400, True)], (gone, made, is_there)
        if made == 200:
            api.ok("DELETE", f"devices/short-{n}")
        if is_there:
            api.ok("DELETE", "organizations/short")


def test_what_cannot_be_taken_is_refused_and_half_of_nothing_is_written(api, env):
    api.ok("PUT", "devices/odd", {"type": ["iotEdge"], "displayName": "a"})
    changed = api.ok("PATCH", "devices/odd", {"displayName": "b", "type": []})
    assert "type" not in changed and changed["displayName"] == "b"
    for etag in [7, "", [], {}]:
        api.refused(400, "PATCH", "devices/odd", {"displayName": "c", "etag": etag})
    for header in [{"If-Match": ","}, {"If-None-Match": "*"}]:
        api.refused(400, "PUT", "devices/odd", {"displayName": "c"}, headers=header)
    api.refused(412, "PUT", "devices/odd-new", {}, headers={"If-Match": '"x"'})
    api.refused(400, "PATCH", "devices/odd/properties", {"a": 1}, headers={"If-Match": '"x"'})
    api.refused(400, "PUT", "devices/odd/attestation", {})
    api.refused(400, "PUT", "dashboards/own", {"displayName": "x", "tiles": [], "personal": True}, version=LAST)
    for reserved in ["$version", "__t"]:
        api.refused(422, "PATCH", "devices/odd/properties", {reserved: 1})
    assert api.ok("GET", "devices/odd")["displayName"] == "b"
    for query in ["&orderby=displayName&%24skiptoken=18446744073709551615", "&orderby=displayName&%24skiptoken=99"]:
        assert api.ok("GET", "devices", version=LAST, query=query)["value"] == []
    for method, path in [("POST", "devices"), ("DELETE", "devices"), ("PATCH", "roles/x")]:
        assert api.refused(405, method, path, {})["code"] == "MethodNotAllowed"
    assert api.refused(404, "GET", "nothing")["code"] == "NotFound"
    error = api.refused(422, "PUT", "deviceTemplates/dtmi:odd:t;1", {
        "@type": ["ModelDefinition", "DeviceModel"],
        "capabilityModel": {"@id": "dtmi:odd:m;1", "@type": "Interface", "contents": [
            {"@type": "Telemetry", "name": "a b", "schema": "double"}]}})
    assert "a b" in error["message"], error
    api.ok("DELETE", "devices/odd")


# What each role may do, by the first word of the permission; Source: roles of the reference.
ALLOWED = {
    BUILDER: {"deviceTemplates", "devices", "deviceGroups", "connectivity", "deploymentManifests", "jobs", "dashboards",
              "personalDashboards", "fileUpload.view", "users.view", "roles.view", "organizations.view", "dataExport.view"},
    OPERATOR: {"devices", "deviceGroups", "jobs", "dashboards", "personalDashboards", "deviceTemplates.view",
               "organizations.view", "connectivity.readInstance", "connectivity.manageInstance",
               "deploymentManifests.readInstance", "deploymentManifests.manageInstance"},
    ORG_VIEWER: {"devices.view", "deviceGroups.view", "deviceTemplates.view", "dashboards.view", "organizations.view"},
}


def test_every_operation_asks_every_role(tree, env):
    api = tree
    status, document = api.raw("GET", f"{env['GANTRY_URL']}/platform/v1/openapi.json")
    assert status == 200
    roles = {role: as_role(api, env, f"matrix-{n}", role, "us" if role == ORG_VIEWER else None)
             for n, role in enumerate(ALLOWED)}
    nobody, tried = Api(env, None), 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] != ["Application"]:
                continue
            needed = operation["x-gantry-permissions"]
            target = path.removeprefix("/api/").replace("{deviceTemplateId}", "dtmi:no:such;1")
            target = target.replace("{entry}", "primary")
            while "{" in target:
                target = target[: target.index("{")] + "nobody" + target[target.index("}") + 1:]
            body = None if method in ("get", "delete") else {}
            nobody.refused(401, method.upper(), target, body, version=LAST)
            for role, caller in roles.items():
                may = any(one in ALLOWED[role] or one.split(".")[0] in ALLOWED[role] for one in needed)
                status, answer = caller.call(method.upper(), target, body, version=LAST)
                assert (status == 403) == (not may), f"{operation['operationId']} {role}: {status} {answer}"
                assert status < 500 or status == 501, f"{operation['operationId']}: {status} {answer}"
                tried += 1
    assert tried == 120 * len(roles)


def test_simulated_devices_do_what_their_model_says(api, template):
    api.ok("PUT", "devices/played", {"template": template, "simulated": True})
    value = wait_for(lambda: api.ok("GET", "devices/played/components/thermostat1/telemetry/temperature"))
    assert isinstance(value["value"], float)
    device = api.ok("GET", "devices/played")
    assert device["provisioned"] is True and device["simulated"] is True
    assert wait_for(lambda: api.ok("GET", "devices/played/properties").get("serialNumber"))
    api.ok("PATCH", "devices/played/properties", {"target": 12.5})
    # It begins with a value of its own (203) and takes the one that is desired.
    wait_for(lambda: api.ok("GET", "devices/played/properties")["$metadata"]["target"].get("ackCode") == 200)
    assert api.ok("GET", "devices/played/properties")["target"] == 12.5
    run = api.ok("POST", "devices/played/commands/reboot", {"request": 3})
    assert run["responseCode"] == 200 and isinstance(run["response"], bool)
    # It leaves when it is simulated no more.
    api.ok("PATCH", "devices/played", {"simulated": False})
    wait_for(lambda: api.call("POST", "devices/played/commands/reboot", {"request": 3})[0] == 404)
    api.ok("DELETE", "devices/played")


def test_jobs_change_every_device_of_a_group(tree, template, env):
    api = tree
    names = [f"job-{n}" for n in range(5)]
    for name in names:
        api.ok("PUT", f"devices/{name}", {"template": template, "organizations": ["eu" if name == "job-4" else "us"]})
    group = {"displayName": "Jobs", "filter": f'SELECT * FROM devices WHERE $template = "{template}" AND CONTAINS($id, "job-")'}
    api.ok("PUT", "deviceGroups/jobs", group)
    ended = lambda id: wait_for(lambda: (one := api.ok("GET", f"jobs/{id}"))["status"] not in ("running", "pending") and one)
    change = [{"type": "property", "target": template, "path": "thermostat1.limit", "value": 33},
              {"type": "cloudProperty", "target": template, "path": "room", "value": "B7"}]
    made = api.ok("PUT", "jobs/first", {"displayName": "First", "group": "jobs", "data": change,
                                        "batch": {"type": "number", "value": 2}})
    assert made["data"] == change and made["batch"] == {"type": "number", "value": 2}
    done = ended("first")
    assert done["status"] == "complete"
    assert done["progress"] == {"total": 5, "pending": 0, "completed": 5, "failed": 0}
    assert api.all("jobs/first/devices") == [{"id": name, "status": "completed"} for name in names]
    properties = api.ok("GET", "devices/job-3/properties")
    assert properties["room"] == "B7" and properties["thermostat1"]["$metadata"]["limit"]["desiredValue"] == 33
    # Nobody answers a command; what failed is run again.
    command = [{"type": "command", "target": template, "path": "reboot", "value": 1}]
    api.ok("PUT", "jobs/second", {"group": "jobs", "data": command})
    assert ended("second")["progress"]["failed"] == 5
    api.ok("PUT", "jobs/second/rerun/third")
    assert ended("third")["progress"]["total"] == 5
    api.refused(409, "PUT", "jobs/first/rerun/fourth")
    api.refused(409, "PUT", "jobs/first", {"group": "jobs", "data": change})
    api.refused(409, "POST", "jobs/first/stop")
    assert {"first", "second", "third"} <= {one["id"] for one in api.all("jobs")}
    # A job of an organization is on its devices alone.
    api.refused(422, "PUT", "jobs/of-us", {"group": "jobs", "data": change, "organizations": ["us"]})
    api.ok("PUT", "deviceGroups/us-jobs", {**group, "organizations": ["us"]})
    api.ok("PUT", "jobs/of-us", {"group": "us-jobs", "data": change, "organizations": ["us"]})
    assert ended("of-us")["progress"]["total"] == 4
    for wrong, status in [({"group": "jobs", "data": []}, 422), ({"group": "nobody", "data": change}, 422),
                          ({"group": "jobs", "data": [{"type": "fly"}]}, 400), ({"data": change}, 400),
                          ({"group": "jobs", "data": change, "batch": {"type": "number", "value": 0}}, 422),
                          ({"group": "jobs", "data": change, "batch": {"type": "number", "value": 1, "x": 1}}, 400)]:
        api.refused(status, "PUT", "jobs/wrong", wrong)
    schedule = {"start": "2020-01-01T00:00:00Z", "recurrence": "daily"}
    api.refused(422, "PUT", "scheduledJobs/daily", {"group": "jobs", "data": change, "schedule": schedule})
    made = api.ok("PUT", "scheduledJobs/daily", {"group": "jobs", "data": change[:1], "schedule": schedule})
    assert made["schedule"] == {**schedule, "start": made["schedule"]["start"]} and made["completed"] is False
    api.refused(412, "PATCH", "scheduledJobs/daily", {"enabled": False, "etag": "x"})
    assert api.ok("PATCH", "scheduledJobs/daily", {"enabled": False, "etag": made["etag"]})["enabled"] is False
    assert api.all("scheduledJobs/daily/jobs") == []
    api.refused(422, "PUT", "scheduledJobs/over", {"group": "jobs", "data": change[:1], "schedule": {"start": "2020-01-01T00:00:00Z"}})
    soon = {"start": "2020-01-01T00:00:00Z", "recurrence": "daily", "end": {"type": "occurrences", "occurrences": 0}}
    api.refused(422, "PUT", "scheduledJobs/over", {"group": "jobs", "data": change[:1], "schedule": soon})
    api.ok("DELETE", "scheduledJobs/daily")
    for name in names:
        api.ok("DELETE", f"devices/{name}")


def test_a_scheduled_job_runs_when_it_is_due(api, template):
    api.ok("PUT", "devices/due-1", {"template": template})
    api.ok("PUT", "deviceGroups/due", {"displayName": "Due", "filter": 'SELECT * FROM devices WHERE $id = "due-1"'})
    start = datetime.now(timezone.utc) + timedelta(seconds=2)
    change = [{"type": "cloudProperty", "target": template, "path": "room", "value": "due"}]
    body = {"group": "due", "data": change, "schedule": {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    assert api.ok("PUT", "scheduledJobs/once", body)["completed"] is False
    runs = wait_for(lambda: api.all("scheduledJobs/once/jobs"))
    assert len(runs) == 1 and runs[0]["scheduledJobId"] == "once"
    wait_for(lambda: api.ok("GET", "devices/due-1/properties").get("room") == "due")
    assert wait_for(lambda: api.ok("GET", "scheduledJobs/once")["completed"])
    api.ok("DELETE", "scheduledJobs/once")
    api.ok("DELETE", "devices/due-1")


def test_dashboards_have_tiles_of_every_kind(tree):
    api = tree
    tile = {"displayName": "Chart", "x": 1, "y": 0, "width": 2, "height": 2, "configuration": {
        "type": "lineChart", "group": "g", "devices": ["d"], "capabilities": [{"capability": "temp", "aggregateFunction": "avg"}],
        "queryRange": {"type": "time", "duration": "PT30M", "resolution": "PT1M"},
        "format": {"xAxisEnabled": True, "yAxisEnabled": True, "legendEnabled": True}}}
    made = api.ok("PUT", "dashboards/one", {"displayName": "One", "tiles": [tile], "organizations": ["us"]}, version=LAST)
    assert made["tiles"][0]["configuration"] == tile["configuration"] and made["personal"] is False
    assert api.ok("GET", "dashboards/one", version=LAST) == made
    assert api.ok("PATCH", "dashboards/one", {"favorite": True, "etag": made["etag"]}, version=LAST)["favorite"] is True
    api.refused(412, "PATCH", "dashboards/one", {"favorite": False, "etag": made["etag"]}, version=LAST)
    wrong = {**tile, "configuration": {**tile["configuration"], "colour": 1}}
    error = api.refused(422, "PUT", "dashboards/two", {"displayName": "Two", "tiles": [tile, wrong]}, version=LAST)
    assert "tiles[1].configuration.colour" in error["message"]
    assert [one["id"] for one in api.all("dashboards", version=LAST)] == ["one"]
    api.ok("DELETE", "dashboards/one", version=LAST)


MODULES = {"modulesContent": {
    "$edgeAgent": {"properties.desired": {
        "schemaVersion": "1.1", "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25"}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "mcr.example/agent:1", "createOptions": ""}},
            "edgeHub": {"type": "docker", "status": "running", "restartPolicy": "always",
                        "settings": {"image": "mcr.example/hub:1", "createOptions": ""}}},
        "modules": {"probe": {"type": "docker", "status": "running", "restartPolicy": "always", "version": "1.0",
                              "settings": {"image": "mcr.example/probe:1", "createOptions": ""}}}}},
    "$edgeHub": {"properties.desired": {
        "schemaVersion": "1.1", "routes": {"up": "FROM /messages/* INTO $upstream"},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}},
}}


def test_manifests_are_put_on_edge_devices(api, registry):
    made = api.ok("PUT", "deploymentManifests/edge1", {"displayName": "Edge", "data": MODULES}, version=LAST)
    assert made["data"] == MODULES and [one["id"] for one in api.all("deploymentManifests", version=LAST)] == ["edge1"]
    wrong = {"modulesContent": {"$edgeAgent": {"properties.desired": {}}}}
    api.refused(422, "PUT", "deploymentManifests/edge2", {"data": wrong}, version=LAST)
    api.ok("PUT", "devices/edge-1", {"type": ["iotEdge"]}, version=LAST)
    api.ok("PUT", "devices/leaf-9", {}, version=LAST)
    api.ok("POST", "devices/edge-1/applyDeploymentManifest", {"data": MODULES}, version=LAST)
    assert {one.module_id for one in registry.get_modules("edge-1")} >= {"probe"}
    api.refused(409, "POST", "devices/leaf-9/applyDeploymentManifest", {"data": MODULES}, version=LAST)
    for name in ["edge-1", "leaf-9"]:
        api.ok("DELETE", f"devices/{name}")
    api.ok("DELETE", "deploymentManifests/edge1", version=LAST)


def test_devices_come_from_a_file_and_go_into_one(api, env, ca, template):
    url = env["GANTRY_URL"] + "/platform/v1/application/devices.csv"
    key = base64.b64encode(bytes(range(32))).decode()
    thumbprint = "A" * 40
    file = "\n".join([
        "IOTC_DEVICEID,IOTC_DEVICENAME,IOTC_SASKEY_PRIMARY,IOTC_SASKEY_SECONDARY,IOTC_X509THUMBPRINT_PRIMARY,target,room",
        f"csv-1,Motor one,{key},{key},,20,A4",
        "csv-2,,,,,,",
        f"csv-3,,,,{thumbprint},,",
    ]).encode()
    where = "?template=" + urllib.parse.quote(template)
    status, answer = api.raw("POST", url + where, file, {"Content-Type": "text/csv"})
    assert (status, answer) == (200, {"made": 3, "kept": 0, "keptDevices": []}), answer
    assert api.raw("POST", url + where, file)[1] == {"made": 0, "kept": 3, "keptDevices": ["csv-1", "csv-2", "csv-3"]}
    shown = api.ok("GET", "devices/csv-1")
    assert shown["displayName"] == "Motor one" and shown["template"] == template
    assert api.ok("GET", "devices/csv-1/properties")["room"] == "A4"
    assert api.ok("GET", "devices/csv-1/attestation")["symmetricKey"]["primaryKey"] == key
    # The key of the file is the device's, at provisioning too.
    registering = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=env["PROVISIONING_HOST"], registration_id="csv-1", id_scope=env["PROVISIONING_IDSCOPE"],
        symmetric_key=key, server_verification_cert=ca)
    assert registering.register().status == "assigned"
    request = urllib.request.Request(url + where, headers={"Authorization": api.token})
    with urllib.request.urlopen(request, context=api.context) as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        lines = answer.read().decode().splitlines()
    rows = {line.split(",")[0]: line.split(",") for line in lines}
    columns = lines[0].split(",")
    assert rows["csv-1"][1:3] == ["Motor one", key] and rows["csv-1"][columns.index("target")] == "20"
    assert rows["csv-3"][4] == thumbprint and rows["csv-3"][2] == ""
    for wrong, part in [(b"", "header"), (b"ID\nx", "IOTC_DEVICEID"), (b"IOTC_DEVICEID\na b", "row 2"),
                        (b"IOTC_DEVICEID,target\ncsv-9,warm", "target"), (b"IOTC_DEVICEID,colour\ncsv-9,x", "colour"),
                        (b"IOTC_DEVICEID\ncsv-9\ncsv-9", "row 2 has the same")]:
        status, answer = api.raw("POST", url + where, wrong)
        assert status == 422 and part in answer["error"]["message"], answer
    api.refused(404, "GET", "devices/csv-9")
    operator = as_role(api, env, "csv-operator", OPERATOR)
    assert operator.raw("POST", url, b"IOTC_DEVICEID\ncsv-9")[0] in (200, 403)
    for name in ["csv-1", "csv-2", "csv-3", "csv-9"]:
        api.call("DELETE", f"devices/{name}")


def test_relationships_made_at_once_form_no_circle(api):
    names = [f"ring-{n}" for n in range(3)]
    for name in names:
        api.ok("PUT", f"devices/{name}", {})
    put = lambda n: api.call("PUT", f"devices/{names[n]}/relationships/r{n}",
                             {"source": names[n], "target": names[(n + 1) % 3]})[0]
    for _ in range(10):
        with ThreadPoolExecutor(3) as pool:
            statuses = list(pool.map(put, range(3)))
        assert all(status in (200, 409) for status in statuses) and statuses.count(200) < 3, statuses
        above = {one["target"]: one["source"] for name in names
                 for one in api.ok("GET", f"devices/{name}/relationships")["value"]}
        for name in names:
            seen, at = set(), name
            while at in above and at not in seen:
                seen.add(at)
                at = above[at]
            assert at not in seen, above
        for n, name in enumerate(names):
            api.call("DELETE", f"devices/{name}/relationships/r{n}")
    for name in names:
        api.ok("DELETE", f"devices/{name}")


def test_modules_are_checked_against_their_model(api, registry):
    module = {"@id": "dtmi:contoso:module;1", "@type": "Interface", "contents": [
        {"@type": "Property", "name": "testModuleProperty", "schema": "string", "writable": True},
        {"@type": "Component", "name": "lens", "schema": {
            "@id": "dtmi:contoso:lens;1", "@type": "Interface", "contents": [
                {"@type": "Property", "name": "zoom", "schema": "double", "writable": True}]}}]}
    model = {"@id": "dtmi:contoso:edge;1", "@type": "Interface", "contents": [
        {"@type": ["Relationship", "EdgeModule"], "name": "testModule", "target": [module]}]}
    path = "deviceTemplates/dtmi:contoso:withModule;1"
    api.ok("PUT", path, {"@type": ["ModelDefinition", "EdgeModel"], "displayName": "Edge", "capabilityModel": model})
    api.ok("PUT", "devices/edge-3", {"template": path.partition("/")[2], "type": ["iotEdge"]}, version=LAST)
    registry.create_module_with_sas("edge-3", "testModule", "", "", "")
    base = "devices/edge-3/modules/testModule"
    found = api.ok("GET", f"{base}/components")["value"]
    assert [(one["@id"], one["@type"], one["name"]) for one in found] == [("dtmi:contoso:lens;1", ["Component"], "lens")]
    api.ok("PATCH", f"{base}/properties", {"testModuleProperty": "x"})
    api.ok("PATCH", f"{base}/components/lens/properties", {"zoom": 2})
    desired = registry.get_module_twin("edge-3", "testModule").properties.desired
    assert desired["testModuleProperty"] == "x" and desired["lens"] == {"__t": "c", "zoom": 2}
    api.refused(422, "PATCH", f"{base}/properties", {"testModuleProperty": 1})
    api.refused(422, "PATCH", f"{base}/properties", {"nothing": 1})
    api.refused(404, "GET", f"{base}/components/none/properties")
    api.ok("DELETE", "devices/edge-3")
    api.ok("DELETE", path)


def test_a_device_brings_its_manifest_when_asked(api):
    api.ok("PUT", "deploymentManifests/edge4", {"displayName": "Edge", "data": MODULES}, version=LAST)
    api.ok("PUT", "devices/edge-4", {"type": ["iotEdge"]}, version=LAST)
    api.ok("PUT", "deviceGroups/edge4", {"displayName": "E", "filter": "SELECT * FROM devices WHERE $id = 'edge-4'"})
    job = {"group": "edge4", "data": [{"type": "deviceManifestMigration", "manifest": "edge4"}]}
    api.ok("PUT", "jobs/edge4", job, version=LAST)
    wait_for(lambda: api.ok("GET", "jobs/edge4", version=LAST)["status"] == "complete")
    expand = {"version": LAST, "query": "&expand=deploymentManifest"}
    shown = api.ok("GET", "devices/edge-4", **expand)
    assert shown["deploymentManifest"]["id"] == "edge4" and shown["deploymentManifest"]["data"] == MODULES
    assert "deploymentManifest" not in api.ok("GET", "devices/edge-4", version=LAST)
    listed = api.ok("GET", "devices", **{**expand, "query": "&expand=deploymentManifest&filter=id eq 'edge-4'".replace(" ", "%20")})
    assert listed["value"] == [shown]
    api.refused(400, "GET", "devices/edge-4", version=LAST, query="&expand=colour")
    api.ok("DELETE", "devices/edge-4")
    api.ok("DELETE", "deviceGroups/edge4")
    api.ok("DELETE", "deploymentManifests/edge4", version=LAST)


def test_enrollment_groups_have_keys_or_certificates(api, env, ca, tmp_path):
    body = {"displayName": "My group", "enabled": True, "type": "iot", "attestation": {"type": "symmetricKey"}}
    made = api.ok("PUT", "enrollmentGroups/mine", body, version=LAST)
    assert made["attestation"]["symmetricKey"]["primaryKey"] and made["idScope"] == env["PROVISIONING_IDSCOPE"]
    assert api.ok("GET", "enrollmentGroups/mine") == made
    changed = api.ok("PATCH", "enrollmentGroups/mine", {"displayName": "Ours", "enabled": False, "etag": made["etag"]})
    assert (changed["displayName"], changed["enabled"]) == ("Ours", False)
    assert changed["attestation"] == made["attestation"]
    api.refused(412, "PATCH", "enrollmentGroups/mine", {"displayName": "Theirs", "etag": made["etag"]})
    first, second = (make_authority(tmp_path / name) for name in ["first", "second"])
    signing = {"type": "x509", "x509": {"signingCertificates": {"primary": {"verified": True, "certificate": first}}}}
    made = api.ok("PUT", "enrollmentGroups/cert", {**body, "attestation": signing})
    primary = made["attestation"]["x509"]["signingCertificates"]["primary"]
    assert primary["verified"] is True and len(primary["info"]["sha1Thumbprint"]) == 40 and "certificate" not in primary
    put = api.ok("PUT", "enrollmentGroups/cert/certificates/secondary", {"verified": True, "certificate": second})
    assert put["info"] != primary["info"]
    assert api.ok("GET", "enrollmentGroups/cert/certificates/primary")["info"] == primary["info"]
    api.refused(409, "POST", "enrollmentGroups/cert/certificates/primary/generateVerificationCode")
    api.ok("DELETE", "enrollmentGroups/cert/certificates/primary")
    api.refused(404, "GET", "enrollmentGroups/cert/certificates/primary")
    api.refused(409, "DELETE", "enrollmentGroups/cert/certificates/secondary")
    api.refused(400, "GET", "enrollmentGroups/cert/certificates/third")
    assert {"mine", "cert"} <= {one["id"] for one in api.all("enrollmentGroups")}
    for wrong in [{}, {**body, "type": "robot"}, {**body, "attestation": {"type": "tpm"}},
                  {**body, "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "x"}}}}}]:
        api.refused(400, "PUT", "enrollmentGroups/wrong", wrong)
    for name in ["mine", "cert"]:
        api.ok("DELETE", f"enrollmentGroups/{name}")
    api.refused(404, "GET", "enrollmentGroups/mine")


def make_authority(path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{path}.key", "-out", f"{path}.pem",
                    "-days", "30", "-subj", f"/CN={path.name}"], check=True, capture_output=True)
    return Path(f"{path}.pem").read_text()


def test_an_application_begins_with_a_template(api, env):
    base = f"{env['GANTRY_URL']}/platform/v1/application/templates"
    status, listed = api.raw("GET", base)
    assert status == 200 and {one["industry"] for one in listed["value"]} >= {"Retail", "Energy"}, listed
    for one in listed["value"]:
        status, begun = api.raw("POST", f"{base}/{one['id']}")
        assert status == 200 and len(begun["made"]["devices"]) == one["devices"], begun
        assert api.raw("POST", f"{base}/{one['id']}")[1]["made"] == {}
        for dashboard in begun["made"].get("dashboards", []):
            assert api.ok("GET", f"dashboards/{dashboard}", version=LAST)["tiles"]
        for group in begun["made"]["deviceGroups"]:
            api.ok("GET", f"deviceGroups/{group}/devices")
        device = begun["made"]["devices"][0]
        wait_for(lambda: api.ok("GET", f"devices/{device}")["provisioned"])
    assert api.raw("POST", f"{base}/nothing@1.0.0")[0] == 404
    assert Api(env, None).raw("GET", base)[0] == 401


def test_what_is_not_built_says_so_by_name(api):
    body = {"displayName": "x", "enabled": True, "source": "audit", "destinations": []}
    error = api.refused(501, "PUT", "dataExport/exports/audit", body, version=LAST)
    assert error["code"] == "NotImplemented" and "`audit`" in error["message"]
