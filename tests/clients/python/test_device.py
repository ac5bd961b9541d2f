"""azure-iot-device against the hub: sync and aio, MQTT and MQTT over WebSocket."""

import asyncio
import json
import threading
import time
import urllib.parse

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.device.common.auth.signing_mechanism import SymmetricKeySigningMechanism
from azure.iot.device.aio import IoTHubDeviceClient as AsyncDeviceClient
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from conftest import PATIENCE, wait_for


@pytest.fixture(params=["mqtt", "mqtt-ws"])
def client(request, device, ca):
    name, connection_string = device
    made = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, websockets=request.param == "mqtt-ws"
    )
    made.connect()
    yield made
    made.shutdown()


def test_telemetry_is_acknowledged(client):
    for n in range(20):
        message = Message(json.dumps({"temperature": 20 + n}))
        message.content_type, message.content_encoding = "application/json", "utf-8"
        message.message_id = f"m-{n}"
        message.custom_properties["alert"] = "no & yes"
        client.send_message(message)


def test_the_largest_message_passes_and_one_byte_more_is_refused_by_the_sdk(client):
    # The SDK counts the objects of Python around the body too.
    room = 262144 - Message(b"").get_size()
    client.send_message(Message(b"x" * room))
    with pytest.raises(ValueError):
        client.send_message(Message(b"x" * (room + 1)))


def test_c2d_is_completed(client, device, registry, env):
    name, _ = device
    got = []
    client.on_message_received = got.append
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    manager.send_c2d_message(name, "slow down", properties={"messageId": "m1", "ack": "full", "level": "2"})
    message = wait_for(lambda: got)[0]
    assert (message.data, message.message_id) == (b"slow down", "m1")
    assert message.custom_properties["level"] == "2"
    wait_for(lambda: registry.get_twin(name).cloud_to_device_message_count == 0)


def test_c2d_that_no_topic_can_carry_is_rejected_and_the_next_arrives(client, device, registry, env):
    name, _ = device
    got = []
    client.on_message_received = got.append
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    manager.send_c2d_message(name, "too much", properties={"spaces": " " * 30000})
    manager.send_c2d_message(name, "fine")
    assert wait_for(lambda: got)[0].data == b"fine"
    wait_for(lambda: registry.get_twin(name).cloud_to_device_message_count == 0)


@pytest.mark.parametrize("word", ["batch", "reject", "abandon", "complete"])
def test_what_the_sdk_does_not_offer(client, word):
    assert not [name for name in dir(client) if word in name and not name.startswith("_")]


def test_a_client_that_closed_comes_back(client):
    client.send_message("before")
    client.disconnect()
    client.connect()
    client.send_message("after")


def test_twin_is_read_and_reported(client, registry, device):
    name, _ = device
    client.patch_twin_reported_properties({"firmware": "1.2", "nested": {"a": 1}})
    twin = client.get_twin()
    assert twin["reported"]["firmware"] == "1.2"
    assert twin["reported"]["$version"] == 2 and twin["desired"]["$version"] == 1
    seen = registry.get_twin(name)
    assert seen.properties.reported["nested"]["a"] == 1
    assert seen.connection_state == "Connected"
    client.patch_twin_reported_properties({"nested": None})
    assert "nested" not in client.get_twin()["reported"]


def test_bad_twin_patch_is_refused_in_words(client):
    with pytest.raises(Exception) as refused:
        client.patch_twin_reported_properties({"bad key": 1})
    assert "400" in str(refused.value.__cause__ or refused.value)


def test_desired_properties_are_pushed(client, registry, device):
    name, _ = device
    patches = []
    client.on_twin_desired_properties_patch_received = patches.append
    twin = registry.get_twin(name)
    registry.update_twin(name, Twin(properties=TwinProperties(desired={"rate": 5})), twin.etag)
    assert wait_for(lambda: patches)[0] == {"rate": 5, "$version": 2}


def test_method_is_invoked(client, registry, device):
    name, _ = device

    def answer(request):
        client.send_method_response(MethodResponse.create_from_method_request(request, 201, {"got": request.payload}))

    client.on_method_request_received = answer
    result = registry.invoke_device_method(
        name, CloudToDeviceMethod(method_name="reduce_load", payload={"to": 70}, response_timeout_in_seconds=10)
    )
    assert (result.status, result.payload) == (201, {"got": {"to": 70}})


def test_method_to_an_absent_device_is_not_found(registry, device):
    name, _ = device
    with pytest.raises(Exception) as refused:
        registry.invoke_device_method(name, CloudToDeviceMethod(method_name="x", payload=None))
    assert refused.value.response.status_code == 404
    assert "404103" in refused.value.response.text


def test_subscriptions_survive_a_lost_connection(client, registry, device, ca, env):
    """The SDK does not subscribe again after reconnecting."""
    name, connection_string = device
    patches = []
    client.on_twin_desired_properties_patch_received = patches.append
    client.disconnect()
    client.connect()
    twin = registry.get_twin(name)
    registry.update_twin(name, Twin(properties=TwinProperties(desired={"after": True})), twin.etag)
    assert wait_for(lambda: patches)[0]["after"] is True


def test_wrong_key_is_a_credential_error(device, ca, env):
    name, _ = device
    wrong = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    client = IoTHubDeviceClient.create_from_connection_string(wrong, server_verification_cert=ca, connection_retry=False)
    with pytest.raises(CredentialError):
        client.connect()
    client.shutdown()


def test_a_newer_connection_takes_over(device, ca):
    name, connection_string = device
    make = lambda: IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, connection_retry=False, auto_connect=False
    )
    first, second = make(), make()
    lost = threading.Event()
    first.on_connection_state_change = lambda: first.connected or lost.set()
    first.connect()
    second.connect()
    assert lost.wait(PATIENCE)
    second.send_message("still here")
    first.shutdown()
    second.shutdown()


def test_policy_key_connects_a_device(device, ca, env):
    from azure.iot.device import IoTHubDeviceClient
    from azure.iot.hub.auth import ConnectionStringAuthentication
    from azure.iot.device.common.auth.signing_mechanism import SymmetricKeySigningMechanism
    import time, urllib.parse

    name, _ = device
    owner = dict(part.split("=", 1) for part in env["IOTHUB_CONNECTION_STRING"].split(";"))
    uri = urllib.parse.quote(f"{env['IOTHUB_HOSTNAME']}/devices/{name}", safe="")
    expiry = int(time.time()) + 600
    signature = SymmetricKeySigningMechanism(owner["SharedAccessKey"]).sign(f"{uri}\n{expiry}")
    token = (
        f"SharedAccessSignature sr={uri}&sig={urllib.parse.quote(signature, safe='')}&se={expiry}"
        f"&skn={owner['SharedAccessKeyName']}"
    )
    client = IoTHubDeviceClient.create_from_sastoken(token, server_verification_cert=ca)
    client.send_message("hello")
    client.shutdown()


@pytest.mark.parametrize("websockets", [False, True])
async def test_aio_client(device, ca, registry, websockets):
    name, connection_string = device
    client = AsyncDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, websockets=websockets
    )
    await client.connect()
    await asyncio.gather(*(client.send_message(Message(f"{n}")) for n in range(50)))
    await client.patch_twin_reported_properties({"aio": True})
    assert (await client.get_twin())["reported"]["aio"] is True

    async def answer(request):
        await client.send_method_response(MethodResponse.create_from_method_request(request, 200, request.payload))

    client.on_method_request_received = answer
    call = lambda: registry.invoke_device_method(name, CloudToDeviceMethod(method_name="echo", payload=[1, "two"]))
    assert (await asyncio.to_thread(call)).payload == [1, "two"]
    await client.shutdown()


@pytest.mark.parametrize("websockets", [False, True])
def test_a_module_has_its_own_telemetry_twin_and_methods(device, ca, registry, env, websockets):
    from azure.iot.device import IoTHubModuleClient
    from azure.iot.hub.models import CloudToDeviceMethod

    name, _ = device
    key = registry.create_module_with_sas(name, "pump", "", "", "").authentication.symmetric_key.primary_key
    client = IoTHubModuleClient.create_from_connection_string(
        f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};ModuleId=pump;SharedAccessKey={key}",
        server_verification_cert=ca,
        websockets=websockets,
    )
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, "module here")
    )
    client.connect()
    client.send_message("from the module")
    client.patch_twin_reported_properties({"speed": 3})
    assert registry.get_module_twin(name, "pump").properties.reported["speed"] == 3
    assert "speed" not in registry.get_twin(name).properties.reported
    call = CloudToDeviceMethod(method_name="hello", payload=None)
    assert registry.invoke_device_module_method(name, "pump", call).payload == "module here"
    client.shutdown()


def device_token(device, env, seconds):
    """A token of the device's own, and when it ends."""
    name, connection_string = device
    key = connection_string.split("SharedAccessKey=")[1]
    uri = urllib.parse.quote(f"{env['IOTHUB_HOSTNAME']}/devices/{name}", safe="")
    expiry = int(time.time()) + seconds
    signature = urllib.parse.quote(SymmetricKeySigningMechanism(key).sign(f"{uri}\n{expiry}"), safe="")
    return f"SharedAccessSignature sr={uri}&sig={signature}&se={expiry}", expiry


@pytest.mark.parametrize("websockets", [False, True])
def test_a_renewed_token_outlives_the_first(device, ca, env, websockets):
    # The SDK keeps two minutes in hand: shorter tokens it renews at once, and asks for the next one.
    first, _ = device_token(device, env, 125)
    client = IoTHubDeviceClient.create_from_sastoken(first, server_verification_cert=ca, websockets=websockets)
    asked = threading.Event()
    client.on_new_sastoken_required = asked.set
    client.connect()
    client.send_message("first")
    assert asked.wait(PATIENCE)
    client.update_sastoken(device_token(device, env, 3600)[0])
    client.send_message("second")
    assert client.connected
    client.shutdown()


@pytest.mark.parametrize("websockets", [False, True])
def test_a_model_id_is_noted(device, ca, registry, websockets):
    name, connection_string = device
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, websockets=websockets, product_info="dtmi:gantry:motor;1"
    )
    client.connect()
    assert registry.get_twin(name).additional_properties["modelId"] == "dtmi:gantry:motor;1"
    client.shutdown()


def test_a_connection_ends_with_its_token(device, ca, env):
    token, expiry = device_token(device, env, 3)
    client = IoTHubDeviceClient.create_from_sastoken(token, server_verification_cert=ca, connection_retry=False)
    lost = threading.Event()
    client.on_connection_state_change = lambda: client.connected or lost.set()
    client.connect()
    assert client.connected
    assert lost.wait(PATIENCE)
    assert time.time() >= expiry
    client.shutdown()
