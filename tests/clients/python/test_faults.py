"""Faults a device asks for in its messages, as the official SDKs' own suites do."""

import json
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.device.exceptions import ConnectionDroppedError, NoConnectionError

from conftest import PATIENCE, wait_for
from test_events import consumer, read
from test_x509 import gantry


def fault(kind, delay=0, duration=1):
    message = Message("fault")
    message.custom_properties.update({
        "AzIoTHub_FaultOperationType": kind,
        "AzIoTHub_FaultOperationCloseReason": "byTest",
        "AzIoTHub_FaultOperationDelayInSecs": str(delay),
        "AzIoTHub_FaultOperationDurationInSecs": str(duration),
    })
    return message


def sends(client, text):
    """Whether a message was taken. The client says so when it loses its connection on the way."""
    try:
        client.send_message(Message(text))
        return True
    except (ConnectionDroppedError, NoConnectionError):
        return False


@pytest.mark.parametrize("kind", ["KillTcp", "ShutDownMqtt", "InvokeThrottling", "InvokeAuthError"])
@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "mqtt-ws"])
def test_a_device_loses_its_connection_and_comes_back_without_losing_a_message(env, ca, device, kind, websockets):
    name, connection_string = device
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, websockets=websockets, connection_retry_interval=1
    )
    lost, back = threading.Event(), threading.Event()

    def changed():
        # The first change is the loss, even if the client is back by the time somebody looks.
        if lost.is_set() and client.connected:
            back.set()
        lost.set()

    client.connect()
    client.on_connection_state_change = changed
    client.send_message(fault(kind))
    assert lost.wait(PATIENCE), "the connection did not end"
    for n in range(3):
        wait_for(lambda: sends(client, f"after {n}"))
    assert back.is_set() or back.wait(PATIENCE)
    client.shutdown()
    # A message whose acknowledgement was lost with the connection is there twice.
    events = read(consumer(env), name, 4, distinct=True, starting_position="-1")
    assert {event.body_as_str() for event in events} == {"fault", "after 0", "after 1", "after 2"}


def send_when_connected(client, text):
    """A message that the SDK refuses because the connection is just gone was not sent: it is sent again."""

    def sent():
        try:
            client.send_message(Message(text))
            return True
        except NoConnectionError:
            return False

    wait_for(sent)


def test_planned_faults_lose_and_double_messages_and_none_is_missed(platform, env, ca, device):
    name, connection_string = device
    faults = {
        "durationSecs": 60, "devices": [name], "telemetry": {"delayMs": 20, "dropShare": 0.25, "duplicateShare": 0.5}
    }
    begun = gantry(platform, "fault", "begin", json.dumps(faults))
    assert begun.returncode == 0, begun.stderr
    try:
        client = IoTHubDeviceClient.create_from_connection_string(
            connection_string, server_verification_cert=ca, connection_retry_interval=1
        )
        for n in range(8):
            send_when_connected(client, str(n))
        client.shutdown()
    finally:
        assert gantry(platform, "fault", "end").returncode == 0
    events = read(consumer(env), name, 12, starting_position="-1")
    bodies = [event.body_as_str() for event in events]
    assert set(bodies) == {str(n) for n in range(8)}
    assert len(bodies) == 12, "every second message that came through is there twice"
