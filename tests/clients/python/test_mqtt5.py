"""paho-mqtt, unmodified, over MQTT 5: the preview API of IoT Hub."""

import base64
import hashlib
import hmac
import json
import queue
import ssl
import threading
import time

import paho.mqtt.client as paho
import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCodes
from paho.mqtt.subscribeoptions import SubscribeOptions

from conftest import PATIENCE, wait_for
from test_events import consumer, read

SUCCESS, NOT_AUTHORIZED, SESSION_TAKEN_OVER = 0, 0x87, 0x8E


def fields(connection_string):
    return dict(part.split("=", 1) for part in connection_string.split(";"))


def properties(kind, user=(), **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    if user:
        made.UserProperty = list(user)
    return made


def user_properties(message):
    return dict(getattr(message.properties, "UserProperty", []))


class Device:
    """A client of MQTT 5 that keeps what it hears."""

    def __init__(self, env, connection_string, transport="tcp", policy=None, life=3600, session_expiry=0,
                 clean_start=True, will=None, method="SAS"):
        device = fields(connection_string)
        self.name, self.env = device["DeviceId"], env
        self.messages, self.connacks, self.ends = queue.Queue(), queue.Queue(), queue.Queue()
        self.client = paho.Client(self.name, protocol=paho.MQTTv5, transport=transport)
        self.client.tls_set_context(ssl.create_default_context(cafile=env["GANTRY_CA_FILE"]))
        self.client.max_inflight_messages_set(16)
        self.client.on_message = lambda client, _, message: self.messages.put(message)
        self.client.on_connect = lambda *args: self.connacks.put(args[2:])
        self.client.on_disconnect = lambda client, _, reason, properties=None: self.ends.put((reason, properties))
        if will:
            self.client.will_set("$iothub/telemetry", will, qos=1)
        if transport == "websockets":
            self.client.ws_set_options(path="/$iothub/websocket")
        at, expiry = str(int(time.time() * 1000)), str(int((time.time() + life) * 1000))
        policy_name, key = policy or ("", device["SharedAccessKey"])
        text = f"{env['IOTHUB_HOSTNAME']}\n{self.name}\n{policy_name}\n{at}\n{expiry}\n"
        signature = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
        user = [("api-version", "2020-10-01-preview"), ("host", env["IOTHUB_HOSTNAME"]), ("sas-at", at),
                ("sas-expiry", expiry), ("client-agent", "paho;test")]
        if policy_name:
            user.append(("sas-policy", policy_name))
        connect = properties(PacketTypes.CONNECT, user, SessionExpiryInterval=session_expiry)
        if method:
            connect.AuthenticationMethod = method
            connect.AuthenticationData = signature
        port = 443 if transport == "websockets" else 8883
        self.client.connect(env["IOTHUB_HOSTNAME"], port, keepalive=60, clean_start=clean_start, properties=connect)
        self.client.loop_start()
        self.flags, self.reason, self.properties = self.connacks.get(timeout=PATIENCE)

    def subscribe(self, topic, qos=0):
        done, reasons = threading.Event(), []

        def on_subscribe(client, _, mid, codes, *__):
            reasons.extend(code.value for code in codes)
            done.set()

        self.client.on_subscribe = on_subscribe
        self.client.subscribe([(topic, SubscribeOptions(qos=qos))])
        assert done.wait(PATIENCE)
        return reasons

    def publish(self, topic, payload=b"", qos=0, user=(), **values):
        made = properties(PacketTypes.PUBLISH, user, **values)
        info = self.client.publish(topic, payload, qos=qos, properties=made)
        if qos:
            info.wait_for_publish(15)
            assert info.is_published()

    def request(self, topic, payload=b"", user=(), correlation=b"\x01\xfa"):
        self.publish(topic, payload, user=user, CorrelationData=correlation)
        answer = self.messages.get(timeout=PATIENCE)
        assert (answer.topic, answer.properties.CorrelationData) == ("$iothub/responses", correlation)
        return answer

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(env, device):
    """Makes connections of the device and ends them after the test."""
    made = []

    def make(**options):
        made.append(Device(env, options.pop("connection_string", device[1]), **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_telemetry_is_acknowledged_and_read_from_the_stream(env, device, connect, transport):
    client = connect(transport=transport)
    assert client.reason == SUCCESS
    for n in range(40):
        client.publish(
            "$iothub/telemetry", json.dumps({"n": n}), qos=n % 2, ContentType="application/json",
            user=[("content-encoding", "utf-8"), ("message-id", f"m{n}"), ("creation-time", "1600987195320"),
                  ("@my property", f"value {n}"), ("@iothub-connection-device-id", "forged")],
        )
    events = read(consumer(env), device[0], 40, starting_position="-1")
    assert [json.loads(event.body_as_str()) for event in events] == [{"n": n} for n in range(40)]
    last = events[-1]
    assert (last.message_id, last.content_type) == ("m39", "application/json")
    assert last.properties[b"my property"] == b"value 39"
    assert b"iothub-connection-device-id" not in last.properties
    assert last.system_properties[b"iothub-connection-device-id"] == device[0].encode()


def test_the_server_says_what_it_can(connect):
    told = connect().properties
    assert (told.ReceiveMaximum, told.MaximumQoS, told.RetainAvailable) == (16, 1, 0)
    assert (told.MaximumPacketSize, told.TopicAliasMaximum) == (262144, 10)
    assert (told.SubscriptionIdentifierAvailable, told.SharedSubscriptionAvailable) == (0, 0)


def test_twin_is_read_reported_and_pushed(connect, registry, device):
    client = connect()
    answer = client.request("$iothub/twin/patch/reported", json.dumps({"firmware": "1.2"}))
    assert (answer.payload, user_properties(answer)) == (b"", {"version": "2"})
    twin = json.loads(client.request("$iothub/twin/get", correlation=b"1234567890123456").payload)
    assert twin["reported"] == {"firmware": "1.2", "$version": 2}
    assert client.subscribe("$iothub/twin/patch/desired") == [0]
    seen = registry.get_twin(device[0])
    registry.update_twin(device[0], Twin(properties=TwinProperties(desired={"rate": 5})), seen.etag)
    pushed = client.messages.get(timeout=PATIENCE)
    assert (pushed.topic, user_properties(pushed)) == ("$iothub/twin/patch/desired", {"version": "2"})
    assert json.loads(pushed.payload)["rate"] == 5


@pytest.mark.parametrize(
    ("payload", "user", "status", "words"),
    [
        (b"{", [], "0100", "malformed JSON"),
        (b'{"a key":1}', [], "0100", "key"),
        (b"{}", [("test", "1")], "0100", "Unknown property `test`"),
        (b"{}", [("if-version", "7")], "0104", "etag"),
        (b"{}", [("if-version", "x")], "0100", "`if-version`"),
    ],
)
def test_a_report_is_refused_in_words(connect, payload, user, status, words):
    answer = user_properties(connect().request("$iothub/twin/patch/reported", payload, user))
    assert answer["status"] == status and words in answer["reason"]


def test_a_report_on_the_known_version_is_taken(connect):
    answer = connect().request("$iothub/twin/patch/reported", b'{"a":1}', [("if-version", "1")])
    assert user_properties(answer) == {"version": "2"}


def test_a_method_is_answered(connect, registry, device):
    client = connect()
    assert client.subscribe("$iothub/methods/+") == [0]
    got = {}

    def call():
        method = CloudToDeviceMethod(method_name="reduce_load", payload={"to": 70}, response_timeout_in_seconds=10)
        got["result"] = registry.invoke_device_method(device[0], method)

    caller = threading.Thread(target=call)
    caller.start()
    asked = client.messages.get(timeout=PATIENCE)
    assert (asked.topic, json.loads(asked.payload)) == ("$iothub/methods/reduce_load", {"to": 70})
    client.publish(
        "$iothub/responses", b'{"done":true}', user=[("response-code", "201")],
        CorrelationData=asked.properties.CorrelationData,
    )
    caller.join(PATIENCE)
    assert (got["result"].status, got["result"].payload) == (201, {"done": True})


@pytest.mark.parametrize("how", ["another name", "unavailable"])
def test_a_method_nobody_takes_is_not_found(connect, registry, device, how):
    client = connect()
    client.subscribe("$iothub/methods/start" if how == "another name" else "$iothub/methods/stop")

    def answer():
        asked = client.messages.get(timeout=PATIENCE)
        client.publish(
            "$iothub/responses", user=[("status", "06A0")], CorrelationData=asked.properties.CorrelationData
        )

    if how == "unavailable":
        threading.Thread(target=answer).start()
    with pytest.raises(Exception) as refused:
        registry.invoke_device_method(device[0], CloudToDeviceMethod(method_name="stop", payload=None))
    assert refused.value.response.status_code == 404 and "404103" in refused.value.response.text


@pytest.mark.parametrize("qos", [0, 1])
def test_commands_are_delivered_and_done(connect, registry, device, env, qos):
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    manager.send_c2d_message(device[0], "slow down", properties={"messageId": "m1", "ack": "full", "level": "2"})
    client = connect()
    assert client.subscribe("$iothub/commands", qos) == [qos]
    message = client.messages.get(timeout=PATIENCE)
    told = user_properties(message)
    assert (message.topic, message.payload, message.qos) == ("$iothub/commands", b"slow down", qos)
    assert (told["message-id"], told["@level"], told["delivery-count"]) == ("m1", "2", "0")
    assert int(told["sequence-no"]) > 0 and abs(int(told["enqueued-time"]) / 1000 - time.time()) < 60
    wait_for(lambda: registry.get_twin(device[0]).cloud_to_device_message_count == 0)


def test_a_session_is_kept_as_long_as_asked(connect, env, device):
    first = connect(session_expiry=3600)
    assert first.properties.SessionExpiryInterval == 0xFFFFFFFF
    assert first.subscribe("$iothub/commands", 1) == [1]
    first.stop()
    IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"]).send_c2d_message(device[0], "later")
    # Kept once more, and ended with this connection.
    second = connect(clean_start=False, session_expiry=0)
    assert second.flags["session present"] == 1
    assert second.messages.get(timeout=PATIENCE).payload == b"later"
    second.stop()
    assert connect(clean_start=False, session_expiry=3600).flags["session present"] == 0


def test_filters_are_refused_by_reason(connect):
    client = connect()
    assert client.subscribe("$iothub/#") == [0xA2]
    assert client.subscribe("$share/g/$iothub/commands") == [0x9E]
    assert client.subscribe("$iothub/telemetry") == [0x8F]
    assert client.subscribe("$iothub/responses") == [0]


def test_a_policy_that_may_connect_devices_signs_too(connect, env):
    owner = fields(env["IOTHUB_CONNECTION_STRING"])
    client = connect(policy=(owner["SharedAccessKeyName"], owner["SharedAccessKey"]))
    assert client.reason == SUCCESS
    client.publish("$iothub/telemetry", b"{}", qos=1)


@pytest.mark.parametrize("what", ["wrong key", "expired", "no method", "X509 without a certificate"])
def test_who_proves_nothing_is_refused(connect, device, what):
    wrong = device[1].rsplit("SharedAccessKey=", 1)[0] + "SharedAccessKey=" + base64.b64encode(b"7" * 32).decode()
    options = {
        "wrong key": {"connection_string": wrong},
        "expired": {"life": -3600},
        "no method": {"method": None},
        "X509 without a certificate": {"method": "X509"},
    }[what]
    client = connect(**options)
    assert client.reason.value == (0x83 if what == "no method" else NOT_AUTHORIZED)
    told = dict(client.properties.UserProperty)
    assert told["status"] == ("0100" if what == "no method" else "0101")


def test_a_newer_connection_takes_over_and_the_older_is_told(connect):
    first = connect()
    second = connect()
    reason, _ = first.ends.get(timeout=PATIENCE)
    first.client.loop_stop()
    assert reason.value == SESSION_TAKEN_OVER
    second.publish("$iothub/telemetry", b"still here", qos=1)


@pytest.mark.parametrize(
    ("topic", "options", "reason", "words"),
    [
        ("$iothub/telemetry", {"user": [("test", "1")]}, 0x83, "Unknown property `test`"),
        ("$iothub/twin/gett", {"CorrelationData": b"1"}, 0x90, "Unsupported topic: `$iothub/twin/gett`"),
        ("$iothub/twin/get", {}, 0x83, "`Correlation Data` property is missing"),
        ("$iothub/twin/get", {"CorrelationData": b"1" * 17}, 0x83, "longer than 16"),
    ],
)
def test_what_cannot_be_answered_ends_the_connection_in_words(connect, topic, options, reason, words):
    client = connect()
    client.publish(topic, b"", **options)
    ended, told = client.ends.get(timeout=PATIENCE)
    client.client.loop_stop()
    assert ended.value == reason
    assert words in dict(told.UserProperty)["reason"] and words in told.ReasonString


def test_the_will_is_published_when_the_device_leaves_with_it(env, device, connect):
    client = connect(will=b"gone")
    client.client.disconnect(ReasonCodes(PacketTypes.DISCONNECT, identifier=4))
    events = read(consumer(env), device[0], 1, starting_position="-1")
    assert events[0].body_as_str() == "gone"
    assert events[0].properties[b"iothub-MessageType"] == b"Will"
