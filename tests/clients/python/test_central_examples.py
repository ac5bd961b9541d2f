"""Every published example of IoT Central's REST API, of both versions, called: the status is the published one, and the
answer has every member that the published answer has, of the same type.

What an example takes for granted (a template, a group, a device that answers) is made before. Where it has a text in
angle brackets, there is something real.
"""

import base64
import json
import os
import re
import urllib.parse
from pathlib import Path

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse
from conftest import wait_for
from test_central import ADMINISTRATOR, BUILDER, Api
from test_x509 import openssl

EXAMPLES = [json.loads(line) for line in (Path(__file__).parent / "examples/central.jsonl").read_text().splitlines()]

BUT = {
    "EnrollmentGroups_GenerateVerificationCodeX509": (409, "certificates are verified by who writes them"),
    "EnrollmentGroups_VerifyX509": (409, "certificates are verified by who writes them"),
}
"""Examples that are answered with another status here, and why; see docs/compatibility.md."""

CLEARED = ["dataExport/exports", "dataExport/destinations", "scheduledJobs", "devices", "deviceGroups", "deviceTemplates",
           "dashboards", "deploymentManifests", "enrollmentGroups", "apiTokens", "users", "organizations"]
"""What is made, in an order in which it can go."""

DONE_ALREADY = {"Jobs_Stop": [409], "Jobs_Resume": [409], "DeviceTemplates_Update": [409]}
"""What is answered when a job over one device was quicker than we are; and of a published template that would lose
something, which the newer version's example of an update does and the older's does not."""


def numbered():
    counts = {}
    for example in EXAMPLES:
        name = f"{example['version']}-{example['operation']}"
        counts[name] = counts.get(name, 0) + 1
        yield pytest.param(example, id=f"{name}-{counts[name]}")


def interface(name, contents, model="examples"):
    return {"@id": f"dtmi:{model}:{name};1", "@type": "Interface", "contents": contents,
            "@context": ["dtmi:dtdl:context;2", "dtmi:iotcentral:context;2"]}


TELEMETRY = [{"@type": "Telemetry", "name": "RootTelemetry", "schema": "double"},
             {"@type": "Command", "name": "Reboot"}]
COMPONENTS = [{"@type": "Component", "name": name, "displayName": name, "schema": interface(name, [])}
              for name in ["LocationTracking", "EnvironmentSensing"]]
MODULES = [{"@type": ["Relationship", "EdgeModule"], "name": name, "target": [interface(f"module{name}", [
    {"@type": "Component", "name": "interfaceA", "displayName": "InterfaceA", "schema": interface(f"a{name}", [])}])]}
    for name in ["Environment", "Camera", "edgemodule"]]


def template(contents, kind="DeviceModel"):
    name = re.sub("[^a-z]", "", json.dumps(contents)[:60].lower())[:40] or "empty"
    return {"@type": ["ModelDefinition", kind], "displayName": "For examples",
            "capabilityModel": interface(f"m{name}", contents)}


SETTINGS = {"fanSpeed": 35, "voltage": 5, "current": 2, "irSwitch": True}
GROUPS = ["475cad48-b7ff-4a09-b51e-1a9021385453", "c2d5ae1d-2cb7-4f58-bf44-5e816aba0a0e", "myGroupId",
          "ad86219f-d224-48ad-a29b-b593a4e4bb38"]


class World:
    """What the examples take for granted."""

    def __init__(self, env, registry, ca, folder):
        self.api, self.env, self.registry, self.ca = Api(env, env["IOTCENTRAL_API_TOKEN"]), env, registry, ca
        self.clients, self.drawn, self.version = [], 0, None
        self.run = os.urandom(4).hex()
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=CheckoutThermostat",
                "-keyout", folder / "key.pem", "-out", folder / "cert.pem")
        self.certificate = (folder / "cert.pem").read_text()
        self.put("users", "keeper", {"type": "email", "email": "keeper@contoso.com", "roles": [{"role": ADMINISTRATOR}]})
        self.organizations()
        self.templates(EXAMPLES[0]["version"])
        for name in ["CheckoutThermostat", "Checkout4", "device2", "device3", "device4", "mx1"]:
            self.put("devices", name, {})
        self.put("devices", "device1", {"template": "dtmi:examples:components;1"})
        self.put("devices", "edgedevice1", {"template": "dtmi:examples:edge;1", "type": ["iotEdge"]})
        registry.create_module_with_sas("edgedevice1", "edgemodule", "", "", "")
        self.groups()
        self.connect()

    def groups(self):
        for group in GROUPS:
            self.put("deviceGroups", group, {"displayName": group, "filter": "SELECT * FROM devices WHERE $id = 'mx1'"})

    def put(self, kind, name, body):
        return self.api.ok("PUT", f"{kind}/{urllib.parse.quote(name, safe=';:')}", body, version="2022-10-31-preview")

    def organizations(self):
        for name, parent in [("us", None), ("washington", "us"), ("seattle", "washington")]:
            self.put("organizations", name, {"displayName": name.title(), **({"parent": parent} if parent else {})})

    def templates(self, version):
        path = "deviceTemplates/dtmi:contoso:testDeviceTemplate;1"
        if version != self.version:
            self.api.call("DELETE", "devices/ccc")
            self.api.call("DELETE", path)
            self.version = version
        if self.api.call("GET", path)[0] == 404:
            same = (one for one in EXAMPLES if one["operation"] == "DeviceTemplates_Create" and one["version"] == version)
            self.put("deviceTemplates", "dtmi:contoso:testDeviceTemplate;1", next(same)["body"])
        for name in ["dtmi:modelDefinition:dtdlv2", "dtmi:modelDefinition:y5zk2yqblv:en9xfxjif", "dtmi:modelDefinition:test;1",
                     "dtmi:modelDefinition:bhmvjf0oj:k6ulbcbyndp"]:
            made = template(TELEMETRY)
            made["capabilityModel"]["@id"] = "dtmi:examples:t" + re.sub("[^a-z0-9]", "", name) + ";1"
            self.put("deviceTemplates", name, made)
        self.put("deviceTemplates", "dtmi:examples:components;1", template(COMPONENTS))
        self.put("deviceTemplates", "dtmi:examples:edge;1", template(MODULES, "EdgeModel"))

    def connect(self):
        """`mx1` and its modules answer, report and send what the examples show."""
        key = self.registry.get_device("mx1").authentication.symmetric_key.primary_key
        device = f"HostName={self.env['IOTHUB_HOSTNAME']};DeviceId=mx1;SharedAccessKey={key}"
        client = IoTHubDeviceClient.create_from_connection_string(device, server_verification_cert=self.ca)
        self.serve(client, {"deviceinfo": {"__t": "c", "manufacturer": "m", "model": "m", "swVersion": "s"},
                            "settings": {"__t": "c", **{name: {"value": value, "ac": 200, "av": 2, "ad": "Processed"} for name, value in
                                                SETTINGS.items()}}}, {"temperature": 32}, "sensors")
        for name in ["camera", "Camera", "environment", "module_env"]:
            module = self.registry.create_module_with_sas("mx1", name, "", "", "")
            text = f"{device.rsplit(';', 1)[0]};ModuleId={name};SharedAccessKey={module.authentication.symmetric_key.primary_key}"
            client = IoTHubModuleClient.create_from_connection_string(text, server_verification_cert=self.ca)
            self.serve(client, {"componentA": {"__t": "c", "SensitivityDial": {"value": 50, "ac": 200, "av": 1, "ad": "Ok"},
                                               "Status": 66.8}}, {"ambient": {"temperature": 20.9, "humidity": 24}}, "componentA")

    def desire(self):
        """What is desired of `mx1` and its modules, as the examples show it."""
        self.registry.update_twin("mx1", {"properties": {"desired": {"settings": {"__t": "c", **SETTINGS}}}}, "*")
        dial = {"properties": {"desired": {"componentA": {"__t": "c", "SensitivityDial": 50}}}}
        self.registry.update_module_twin("mx1", "module_env", dial, "*")

    def serve(self, client, reported, values, component):
        client.connect()

        def answer(request):
            client.send_method_response(MethodResponse.create_from_method_request(request, 200, {"done": True}))

        client.on_method_request_received = answer
        client.patch_twin_reported_properties(reported)
        for subject in [None, component]:
            message = Message(json.dumps(values))
            message.content_type, message.content_encoding = "application/json", "utf-8"
            if subject:
                message.custom_properties["$.sub"] = subject
            client.send_message(message)
        self.clients.append(client)

    def real(self, value):
        """An example's value with something real for what stands in brackets."""
        if isinstance(value, dict):
            return {name: self.real(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.real(one) for one in value]
        if not isinstance(value, str):
            return value
        if value == "c7be2c6b-797e-4551-bb24-33709f6b2e20":
            return BUILDER
        if "certificate" in value and value.startswith("<"):
            return base64.b64encode(self.certificate.encode()).decode() if "base64" in value else self.certificate
        if value == "<endorsement key>":
            return (Path(__file__).parents[3] / "crates/storage/tests/golden/state/endorsement.txt").read_text().strip()
        if value.startswith("<"):
            return base64.b64encode(os.urandom(32)).decode()
        key = base64.b64encode(bytes(32)).decode()
        value = value.replace("AccountKey=*****", f"AccountKey={key}").replace("AccountName=MyAccountName", "AccountName=myaccount")
        for bracket, real in [("[key]", key), ("[Key]", key), ("[Secret]", "hush"), ("[accountName]", "account"),
                              ("[hubName]", "hub"), ("[namespace]", "ns"), ("[clusterName]", "c"), ("[queue name]", "q")]:
            value = value.replace(bracket, real)
        return value

    def fresh(self, name):
        self.drawn += 1
        return f"{name}-{self.run}-{self.drawn}"


@pytest.fixture(scope="module")
def world(env, registry, ca, tmp_path_factory):
    api = Api(env, env["IOTCENTRAL_API_TOKEN"])
    ids = lambda kind: [one.get("id", one.get("@id")) for one in api.all(kind, version="2022-10-31-preview")]
    before = {kind: ids(kind) for kind in CLEARED}
    made = World(env, registry, ca, tmp_path_factory.mktemp("examples"))
    yield made
    for client in made.clients:
        client.shutdown()
    api.call("DELETE", "fileUploads")
    for kind in CLEARED:
        left = [name for name in ids(kind) if name not in before[kind]]
        # What others are below goes after them.
        for _ in left:
            for name in left:
                api.call("DELETE", f"{kind}/{urllib.parse.quote(name, safe=';:')}", version="2022-10-31-preview")
    # Somebody must be the last administrator.
    left = {kind: [name for name in ids(kind) if name not in (*before[kind], "keeper")] for kind in CLEARED}
    assert not any(left.values()), left


def create_of(example):
    """The example that makes what this one is about."""
    kind = example["operation"].partition("_")[0]
    same = [one for one in EXAMPLES if one["operation"] == f"{kind}_Create" and one["version"] == example["version"]]
    if example["operation"] in ("Destinations_Update", "Destinations_Get"):
        same = [one for one in same if one["body"]["type"] == "webhook@v1"]
    return same[0] if same else None


KINDS = {"ApiTokens", "Dashboards", "Destinations", "Exports", "DeploymentManifests", "DeviceGroups", "DeviceTemplates",
         "EnrollmentGroups", "FileUploads", "ScheduledJobs", "Users", "Organizations", "Jobs"}


def prepare(world, example, parameters):
    """Makes what an example is about, and changes its parameters where that has another name."""
    kind, _, action = example["operation"].partition("_")
    call = lambda *line, **rest: world.api.call(*line, version=example["version"], **rest)
    if kind == "ApiTokens":
        call("DELETE", f"apiTokens/{parameters.get('tokenId', 'testtoken')}")
    if kind in ("Destinations", "Exports"):
        hook = next(one for one in EXAMPLES if one["operation"] == "Destinations_Create" and one["body"]["type"] == "webhook@v1")
        for to in ["fa5792a4-ead3-41dc-a972-fbeed33d46ae", "destination1"]:
            status, answer = call("PUT", f"dataExport/destinations/{to}", hook["body"])
            assert status == 200, answer
    if action == "ListExports":
        body = {"displayName": "Test", "enabled": True, "source": "telemetry", "destinations": [{"id": "destination1"}],
                "filter": "SELECT * FROM devices", "enrichments": {"abc": {"path": "$templateDisplayName"}}}
        assert call("PUT", "dataExport/exports/newTest", body)[0] == 200
    else:
        call("DELETE", "dataExport/exports/newTest")
    if action == "Remove" and kind == "Destinations":
        call("DELETE", "dataExport/exports/export1")
    if example["operation"] == "Users_Get":
        # The published person, who the first example of `Users_Create` is not.
        assert call("PUT", "users/abc", example["answer"])[0] == 200
        return
    if kind == "Users":
        for user in ["abc", "123"]:
            call("DELETE", f"users/{user}")
    if kind in ("Jobs", "ScheduledJobs", "DeviceGroups"):
        world.groups()
    if kind in ("Devices", "DeviceTemplates"):
        world.templates(example["version"])
    if example["operation"] == "Organizations_Remove":
        parameters["organizationId"] = world.fresh("gone")
    if action == "Create" and kind == "Jobs":
        parameters["jobId"] = world.fresh("job")
    if kind in KINDS and action not in ("Create",) and (made := create_of(example)):
        if kind == "Jobs":
            parameters["jobId"] = world.fresh("job")
        path, body = made["path"], world.real(made["body"])
        for name, value in {**made["parameters"], **parameters}.items():
            path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=";:"))
        if example["operation"] == "Users_Update":
            body = world.real(example["body"])
        if example["operation"] == "DeviceTemplates_Remove":
            call("DELETE", "devices/ccc")
        status, answer = call("PUT", path.lstrip("/"), body)
        assert status in (200, 409) or kind == "FileUploads", f"{path}: {status} {answer}"
    if kind == "EnrollmentGroups" and "X509" in action:
        group = f"enrollmentGroups/{parameters['enrollmentGroupId']}"
        call("DELETE", group)
        body = {"displayName": "g", "enabled": True, "type": "iot", "attestation": {"type": "x509", "x509": {
            "signingCertificates": {"primary": {"verified": True, "certificate": base64.b64encode(world.certificate.encode()).decode()},
                                    "secondary": {"verified": True, "certificate": base64.b64encode(world.certificate.encode()).decode()}}}}}
        status, answer = call("PUT", group, body)
        assert status == 200, answer
    if action in ("GetDevices", "Stop", "Resume", "Rerun") and kind == "Jobs":
        status = lambda: call("GET", f"jobs/{parameters['jobId']}")[1]["status"]
        if action == "Resume":
            call("POST", f"jobs/{parameters['jobId']}/stop")
            wait_for(lambda: status() in ("stopped", "complete"))
        elif action != "Stop":
            wait_for(lambda: status() == "complete")
        parameters["rerunId"] = world.fresh("rerun")
    if kind == "Devices":
        prepare_device(world, action, parameters, call)


def prepare_device(world, action, parameters, call):
    if "Properties" in action:
        world.desire()
    if action == "GetAttestation":
        body = {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": world.certificate}}}}
        assert call("PUT", f"devices/{parameters['deviceId']}/attestation", body)[0] == 200
    if action in ("RemoveAttestation",):
        body = world.real({"type": "symmetricKey", "symmetricKey": {"primaryKey": "<k>", "secondaryKey": "<k>"}})
        assert call("PUT", f"devices/{parameters['deviceId']}/attestation", body)[0] == 200
    if action in ("Update", "Remove"):
        call("PUT", f"devices/{parameters['deviceId']}", {"organizations": ["seattle"]})
    if "CommandHistory" in action:
        line = f"devices/{parameters['deviceId']}"
        line += f"/modules/{parameters['moduleName']}" if "Module" in action else ""
        line += f"/components/{parameters['componentName']}" if "Component" in action else ""
        status, answer = call("POST", f"{line}/commands/{parameters['commandName']}", {"request": 20})
        assert status == 201, answer
    if "Relationship" in action:
        for one, other in [("1", "2"), ("3", "4")]:
            call("DELETE", f"devices/device1/relationships/relationship{one}")
            if action != "CreateRelationship":
                body = {"source": "device1", "target": f"device{other}"}
                assert call("PUT", f"devices/device1/relationships/relationship{one}", body)[0] == 200
    if action == "ApplyManifest":
        call("PUT", f"devices/{parameters['deviceId']}", {"type": ["iotEdge"]})


def difference(published, ours, at=""):
    """The first member that ours lacks or has with another type."""
    if published is None:
        return None
    if at.endswith("@type"):
        # One type is written alone or in an array.
        return None
    if isinstance(published, dict):
        if not isinstance(ours, dict):
            return f"{at} is no object: {ours!r}"
        for name, value in published.items():
            if name not in ours:
                return f"{at}.{name} is missing"
            if found := difference(value, ours[name], f"{at}.{name}"):
                return found
        return None
    if isinstance(published, list):
        if not isinstance(ours, list):
            return f"{at} is no array: {ours!r}"
        if published and not ours:
            return f"{at} is empty"
        # Published lists have objects of several shapes, which were not all made.
        tried = [difference(published[0], one, f"{at}[]") for one in ours]
        return None if not published or None in tried else tried[0]
    kinds = {bool: bool, int: (int, float), float: (int, float), str: str}[type(published)]
    if isinstance(ours, bool) != isinstance(published, bool) or not isinstance(ours, kinds):
        return f"{at} is {ours!r} instead of something like {published!r}"
    return None


def only_metadata(value):
    """What is desired, without what was reported."""
    if not isinstance(value, dict):
        return value
    kept = {name: only_metadata(one) for name, one in value.items() if name == "$metadata" or isinstance(one, dict)}
    if "$metadata" in kept:
        kept["$metadata"] = {name: {"desiredValue": one["desiredValue"]} for name, one in value["$metadata"].items()}
    return kept


ALWAYS_DIFFERENT = {
    # What a program of the example's application had done before, with values of that application.
    "Devices_List", "Devices_Get", "DeviceGroups_GetDevices", "DeviceGroups_List", "DeviceGroups_Get", "Jobs_List",
    "ScheduledJobs_List", "ScheduledJobs_ListJobs", "Jobs_GetDevices", "Query_Run", "Dashboards_List", "DeviceTemplates_List",
    "DeploymentManifests_List", "Users_List", "Destinations_List", "Destinations_Get", "DeviceTemplates_Get", "Exports_List", "Devices_GetCommandHistory",
    "Devices_GetComponentCommandHistory", "Devices_GetModuleCommandHistory", "Devices_GetModuleComponentCommandHistory",
}
"""Lists and the like, of which the shape is looked at as far as there is something here."""


@pytest.mark.parametrize("example", numbered())
def test_an_example_is_answered_as_published(world, example):
    parameters = dict(example["parameters"])
    prepare(world, example, parameters)
    path, query = example["path"], ""
    for name, value in parameters.items():
        if "{" + name + "}" in path:
            path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=";:"))
        elif name.startswith("$"):
            query += f"&{urllib.parse.quote(name)}={str(value).lower()}"
    expected, _ = BUT.get(example["operation"], (example["status"], None))
    allowed = {expected, *DONE_ALREADY.get(example["operation"], ())}
    body = world.real(example["body"])
    status, answer = world.api.call(example["method"], path.lstrip("/"), body, version=example["version"], query=query)
    assert status in allowed, f"{example['method']} {path}: {status} {answer}"
    if status < 300 and example["operation"] not in ALWAYS_DIFFERENT:
        published = example["answer"]
        if example["operation"] == "DeviceTemplates_Create":
            # A model is told as it was written; one published answer has more than its body.
            assert answer["capabilityModel"] == body["capabilityModel"]
            published = {name: value for name, value in published.items() if name != "capabilityModel"}
        if example["operation"].startswith("Devices_") and status == 202:
            # Published answers to writes show what was reported before in one place and not in another.
            published = only_metadata(published)
        assert (found := difference(published, answer)) is None, f"{found}\n{json.dumps(answer)}"
