"""Which hub a device gets, and what becomes of it when that changes: several hubs of one process, one elsewhere."""

import base64
import json
import os
import subprocess
import tempfile
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, ProvisioningDeviceClient
from azure.iot.hub import IoTHubRegistryManager
from provisioningserviceclient import ProvisioningServiceClient
from provisioningserviceclient.models import (
    CustomAllocationDefinition, EnrollmentGroup, IndividualEnrollment, InitialTwin, ReprovisionPolicy,
)

from conftest import Platform, read_env, wait_for
from test_events import consumer, read
from test_provisioning import KEY, derive, symmetric
from test_x509 import gantry

MIGRATE = ReprovisionPolicy(update_hub_assignment=True, migrate_device_data=True)
RESET = ReprovisionPolicy(update_hub_assignment=True, migrate_device_data=False)
NEVER = ReprovisionPolicy(update_hub_assignment=False, migrate_device_data=False)


@pytest.fixture(scope="module")
def service(platform, env):
    return ProvisioningServiceClient.create_from_connection_string(env["PROVISIONING_CONNECTION_STRING"])


@pytest.fixture(scope="module")
def lines(env):
    """What a program needs to reach each further hub, by its host."""
    folder = Path(env["GANTRY_CA_FILE"]).parent.parent
    return {f"127.0.0.{n}": read_env(folder / f"hubs/line-{n}/connection.env") for n in (2, 3, 4)}


def registry_of(env):
    return IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])


def register(env, ca, name, payload=None):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=env["PROVISIONING_HOST"], registration_id=name, id_scope=env["PROVISIONING_IDSCOPE"],
        symmetric_key=KEY, server_verification_cert=ca,
    )
    client.provisioning_payload = payload
    return client.register()


def enroll(service, name, **settings):
    twin = InitialTwin.create(tags={"hall": 1}, desired_properties={"rate": 7})
    enrollment = IndividualEnrollment.create(name, symmetric(KEY), initial_twin=twin)
    for key, value in settings.items():
        setattr(enrollment, key, value)
    return service.create_or_update(enrollment)


def change(service, name, **settings):
    enrollment = service.get_individual_enrollment(name)
    for key, value in settings.items():
        setattr(enrollment, key, value)
    service.create_or_update(enrollment)


def device(ca, state):
    return IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=KEY, hostname=state.assigned_hub, device_id=state.device_id, server_verification_cert=ca,
        connection_retry=False,
    )


def maintenance(lines, host):
    """The devices on the maintenance list of a further hub."""
    folder = Path(lines[host]["GANTRY_CA_FILE"]).parent.parent / f"hubs/line-{host[-1]}"
    done = subprocess.run(
        [os.environ["GANTRY_BIN"], "--data", str(folder), "--json", "maintenance"], capture_output=True, text=True, check=True
    )
    return [item["deviceId"] for item in json.loads(done.stdout)]


@pytest.fixture
def name():
    return f"mover-{uuid.uuid4().hex[:10]}"


def test_each_hub_has_devices_keys_and_events_of_its_own(env, ca, service, lines, name):
    enroll(service, name, allocation_policy="static", iot_hubs=["127.0.0.2"])
    state = register(env, ca, name).registration_state
    assert (state.assigned_hub, state.sub_status) == ("127.0.0.2", "initialAssignment")
    client = device(ca, state)
    client.connect()
    client.send_message("over here")
    client.shutdown()
    assert [event.body_as_str() for event in read(consumer(lines["127.0.0.2"]), name, 1, starting_position="-1")] == ["over here"]
    assert registry_of(lines["127.0.0.2"]).get_twin(name).tags["hall"] == 1
    for other in (env, lines["127.0.0.3"]):
        with pytest.raises(Exception):
            registry_of(other).get_device(name)
    stranger = IoTHubRegistryManager.from_connection_string(
        env["IOTHUB_CONNECTION_STRING"].replace("localhost", "127.0.0.2")
    )
    with pytest.raises(Exception):
        stranger.get_device(name)


def test_two_id_scopes_share_one_address(env, ca, lines, name):
    """Each hub has a provisioning service; any of their addresses serves devices of every scope, and no operators."""
    line = lines["127.0.0.2"]
    assert line["PROVISIONING_IDSCOPE"] != env["PROVISIONING_IDSCOPE"]
    theirs = ProvisioningServiceClient.create_from_connection_string(line["PROVISIONING_CONNECTION_STRING"])
    enroll(theirs, name)
    for host in (env["PROVISIONING_HOST"], line["PROVISIONING_HOST"]):
        address = {"PROVISIONING_HOST": host, "PROVISIONING_IDSCOPE": line["PROVISIONING_IDSCOPE"]}
        assert register(address, ca, name).registration_state.assigned_hub == "127.0.0.2"
    with pytest.raises(Exception):
        register(env, ca, name)
    stranger = line["PROVISIONING_CONNECTION_STRING"].replace("127.0.0.2", "localhost")
    with pytest.raises(Exception):
        ProvisioningServiceClient.create_from_connection_string(stranger).get_individual_enrollment(name)


@pytest.mark.parametrize("policy", [MIGRATE, RESET, NEVER, None], ids=["migrate", "reset", "never", "none"])
def test_a_device_moves_as_its_enrollment_says(env, ca, service, lines, name, policy):
    old, new = registry_of(lines["127.0.0.2"]), registry_of(lines["127.0.0.3"])
    enroll(service, name, iot_hubs=["127.0.0.2"], reprovision_policy=policy)
    state = register(env, ca, name).registration_state
    client = device(ca, state)
    client.connect()
    client.patch_twin_reported_properties({"hours": 12})
    client.send_message(Message('{"temperature": 21.5}', content_type="application/json", content_encoding="utf-8"))
    wait_for(lambda: name in maintenance(lines, "127.0.0.2"))
    twin = old.get_twin(name)
    twin.tags, twin.properties.desired = {"hall": 2}, {"rate": 9}
    old.update_twin(name, twin)

    change(service, name, iot_hubs=["127.0.0.3"])
    moved = register(env, ca, name).registration_state
    if policy in (NEVER, None):
        assert (moved.assigned_hub, moved.sub_status) == ("127.0.0.2", "reprovisionedToInitialAssignment")
        assert old.get_twin(name).properties.desired["rate"] == 9
        client.shutdown()
        return
    status = "deviceDataMigrated" if policy is MIGRATE else "deviceDataReset"
    assert (moved.assigned_hub, moved.sub_status) == ("127.0.0.3", status)
    # The old hub lets go of it, forgets it and does not take it back.
    wait_for(lambda: not client.connected)
    client.shutdown()
    wait_for(lambda: name not in maintenance(lines, "127.0.0.2"))
    with pytest.raises(Exception):
        device(ca, state).connect()
    with pytest.raises(Exception):
        old.get_device(name)
    twin = new.get_twin(name)
    reported = twin.properties.reported
    if policy is MIGRATE:
        assert (twin.tags["hall"], twin.properties.desired["rate"], reported["hours"]) == (2, 9, 12)
    else:
        assert (twin.tags["hall"], twin.properties.desired["rate"]) == (1, 7) and "hours" not in reported
    client = device(ca, moved)
    client.connect()
    client.shutdown()


def test_a_reset_on_the_same_hub_begins_the_twin_anew(env, ca, service, lines, name):
    registry = registry_of(lines["127.0.0.4"])
    enroll(service, name, iot_hubs=["127.0.0.4"], reprovision_policy=RESET)
    register(env, ca, name)
    twin = registry.get_twin(name)
    twin.properties.desired = {"rate": 9}
    registry.update_twin(name, twin)
    assert register(env, ca, name).registration_state.sub_status == "deviceDataReset"
    assert registry.get_twin(name).properties.desired["rate"] == 7


def test_from_test_to_production_without_touching_the_device(env, ca, service, lines, name):
    """The device knows its provisioning address and one rule: where its hub refuses it, it registers again."""
    enroll(service, name, iot_hubs=["127.0.0.2"], reprovision_policy=MIGRATE)
    seen, done = [], threading.Event()

    def firmware():
        state = register(env, ca, name).registration_state
        while not done.is_set():
            seen.append(state.assigned_hub)
            client = device(ca, state)
            try:
                client.connect()
                while not done.is_set() and client.connected:
                    # A call of the SDK waits for ever when the connection ends at the wrong moment.
                    sending = threading.Thread(target=client.send_message, args=["running"], daemon=True)
                    sending.start()
                    sending.join(2)
                    done.wait(0.05)
            except Exception:
                pass
            client.shutdown()
            if not done.is_set():
                state = register(env, ca, name).registration_state

    thread = threading.Thread(target=firmware)
    thread.start()
    try:
        wait_for(lambda: seen)
        change(service, name, iot_hubs=["127.0.0.3"])
        registry_of(lines["127.0.0.2"]).delete_device(name)
        wait_for(lambda: seen[-1] == "127.0.0.3")
        assert read(consumer(lines["127.0.0.3"]), name, 1, starting_position="-1")[0].body_as_str() == "running"
    finally:
        done.set()
        thread.join()


class Webhook(BaseHTTPRequestHandler):
    """Devices whose id ends in 3 go to line 3, as in the published sample; some answers are wrong on purpose."""

    asked = []

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Webhook.asked.append(question)
        kind = self.path.split("?")[0].strip("/")
        host = "127.0.0.3" if question["deviceRuntimeContext"]["registrationId"].endswith("3") else "127.0.0.2"
        answer = {
            "iotHubHostName": {"liar": "hub.elsewhere.example", "silent": None}.get(kind, host),
            "initialTwin": {"tags": {"by": "webhook"}, "properties": {"desired": {"rate": 3}}},
            "payload": {"greeting": "welcome"},
        }
        self.send_response({"broken": 500, "locked": 401}.get(kind, 200))
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def webhook():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def custom(webhook, kind):
    return CustomAllocationDefinition(webhook_url=f"{webhook}/{kind}?code=secret", api_version="2021-10-01")


@pytest.mark.parametrize("suffix", ["2", "3"])
def test_a_webhook_chooses_the_hub_the_twin_and_the_words(env, ca, service, lines, webhook, name, suffix):
    name, host = name + suffix, f"127.0.0.{suffix}"
    definition = custom(webhook, "good")
    enroll(
        service, name, allocation_policy="custom", iot_hubs=list(lines), custom_allocation_definition=definition,
        reprovision_policy=MIGRATE,
    )
    state = register(env, ca, name, {"model": "mx"}).registration_state
    assert state.assigned_hub == host
    assert json.loads(state.response_payload) == {"greeting": "welcome"}
    twin = registry_of(lines[host]).get_twin(name)
    assert (twin.tags["by"], twin.properties.desired["rate"]) == ("webhook", 3)
    question = next(q for q in Webhook.asked if q["deviceRuntimeContext"]["registrationId"] == name)
    assert question["linkedHubs"] == list(lines)
    assert question["deviceRuntimeContext"]["payload"] == {"model": "mx"}
    assert question["individualEnrollment"]["attestation"]["type"] == "symmetricKey"
    assert KEY not in json.dumps(question) and "secret" not in json.dumps(question)


@pytest.mark.parametrize(
    "kind, code", [("broken", 400207), ("silent", 400208), ("liar", 400208), ("locked", 400209), ("unreachable", 400207)]
)
def test_a_webhook_that_fails_or_lies_fails_the_registration(env, ca, service, lines, webhook, name, kind, code):
    definition = custom("http://127.0.0.1:9" if kind == "unreachable" else webhook, kind)
    enroll(
        service, name, allocation_policy="custom", iot_hubs=list(lines), custom_allocation_definition=definition
    )
    with pytest.raises(Exception) as refused:
        register(env, ca, name)
    assert "failed" in str(refused.value) or "failed" in str(refused.value.__cause__)
    stored = service.get_individual_enrollment(name).registration_state
    assert (stored.status, stored.error_code) == ("failed", code)
    for line in lines.values():
        with pytest.raises(Exception):
            registry_of(line).get_device(name)


def test_an_enrollment_of_a_webhook_is_read_and_written_back(service, webhook, lines, name):
    enroll(
        service, name, allocation_policy="custom", iot_hubs=list(lines),
        custom_allocation_definition=custom(webhook, "good"),
    )
    shown = service.get_individual_enrollment(name)
    assert "secret" not in shown.custom_allocation_definition.webhook_url
    shown.device_id = "renamed"
    written = service.create_or_update(shown)
    assert written.custom_allocation_definition.webhook_url.endswith("?code=secret")


def test_a_group_spreads_evenly_and_each_device_comes_back_to_its_hub(env, ca, service, lines):
    # A key of its own: of two groups with one key, either may admit a device.
    key = base64.b64encode(os.urandom(32)).decode()
    group = EnrollmentGroup.create("spread", symmetric(key))
    group.iot_hubs = list(lines)
    service.create_or_update(group)
    ids = [f"spread-{n}" for n in range(24)]

    def assigned(name):
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            provisioning_host=env["PROVISIONING_HOST"], registration_id=name,
            id_scope=env["PROVISIONING_IDSCOPE"], symmetric_key=derive(key, name), server_verification_cert=ca,
        )
        return client.register().registration_state.assigned_hub

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(12) as pool:
        first, second = list(pool.map(assigned, ids)), list(pool.map(assigned, ids))
    assert first == second and set(first) == set(lines)


def test_a_hub_in_another_process_is_linked_by_its_connection_string(platform, env, ca, service, lines, name):
    folder = Path(tempfile.mkdtemp(prefix="gantry-linked-"))
    (folder / "gantry.toml").write_text("[hub]\nhost_names = ['127.0.0.1', 'localhost']\n[ports]\noffset = 3000\n")
    other = Platform(os.environ["GANTRY_BIN"], folder)
    other.config = folder / "gantry.toml"
    other.start()
    try:
        (folder / "link").write_text(other.env["IOTHUB_CONNECTION_STRING"])
        arguments = ["hub", "link", str(folder / "link"), "--ca", other.env["GANTRY_CA_FILE"], "--named-only"]
        linked = gantry(platform, *arguments)
        # The address is a name of the main hub, which runs in this process already.
        assert linked.returncode != 0 and "exists already" in linked.stderr
        (folder / "gantry.toml").write_text("bind = ['127.0.0.9']\n[hub]\nhost_names = ['127.0.0.9']\n[ports]\noffset = 3000\n")
        other.stop()
        other.start()
        (folder / "link").write_text(other.env["IOTHUB_CONNECTION_STRING"])
        linked = gantry(platform, *arguments)
        assert linked.returncode == 0, linked.stderr
        assert "127.0.0.9" in gantry(platform, "hub", "list").stdout

        enroll(service, name, iot_hubs=["127.0.0.2"], reprovision_policy=MIGRATE)
        register(env, ca, name)
        old = registry_of(lines["127.0.0.2"])
        twin = old.get_twin(name)
        twin.properties.desired = {"rate": 9}
        old.update_twin(name, twin)
        change(service, name, iot_hubs=["127.0.0.9"])
        moved = register(env, ca, name).registration_state
        assert (moved.assigned_hub, moved.sub_status) == ("127.0.0.9", "deviceDataMigrated")
        shown = gantry(other, "--json", "twin", "show", name)
        twin = json.loads(shown.stdout)
        assert (twin["properties"]["desired"]["rate"], twin["tags"]["hall"]) == (9, 1)
        with pytest.raises(Exception):
            old.get_device(name)
        # And back, with what it had there.
        change(service, name, iot_hubs=["127.0.0.2"])
        back = register(env, ca, name).registration_state
        assert (back.assigned_hub, back.sub_status) == ("127.0.0.2", "deviceDataMigrated")
        assert old.get_twin(name).properties.desired["rate"] == 9
        assert gantry(other, "device", "show", name).returncode != 0
    finally:
        gantry(platform, "hub", "unlink", "127.0.0.9")
        other.stop()
