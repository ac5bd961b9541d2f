"""Message routing: conditions, streams, enrichments, the hub's own events and webhooks, read by real clients."""

import http.server
import io
import json
import ssl
import threading

import fastavro
import paho.mqtt.publish
import pytest
import requests
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message
from azure.iot.hub.models import Twin, TwinProperties

from conftest import wait_for
from test_events import read
from test_streams import token
from test_x509 import gantry, openssl


@pytest.fixture
def routing(platform):
    """Replaces routing for one test."""

    def put(settings):
        file = platform.folder / "routing.json"
        file.write_text(json.dumps(settings))
        done = gantry(platform, "routing", "set", file)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield put
    put({})


def route(name, condition="true", endpoint="events", source="DeviceMessages"):
    return {"name": name, "source": source, "condition": condition, "endpointNames": [endpoint], "isEnabled": True}


def stream(env, entity):
    base, _, _ = env["EVENTHUB_CONNECTION_STRING"].partition(";EntityPath=")
    return EventHubConsumerClient.from_connection_string(
        f"{base};EntityPath={entity}", consumer_group="$Default", connection_verify=env["GANTRY_CA_FILE"]
    )


def send(connection_string, ca, messages):
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    for body, properties in messages:
        message = Message(json.dumps(body))
        message.content_type, message.content_encoding = "application/json", "utf-8"
        message.custom_properties.update(properties)
        client.send_message(message)
    client.shutdown()


def send_bag(env, connection_string, bag, body):
    """A message whose properties are written as `bag`: the SDK has no way to say that one is null."""
    device = dict(part.split("=", 1) for part in connection_string.split(";"))
    name, host = device["DeviceId"], env["IOTHUB_HOSTNAME"]
    secret = token(f"{host}/devices/{name}", device["SharedAccessKey"])
    paho.mqtt.publish.single(
        f"devices/{name}/messages/events/{bag}", json.dumps(body), qos=1, hostname=host, port=8883, client_id=name,
        auth={"username": f"{host}/{name}/?api-version=2021-04-12", "password": secret},
        tls={"ca_certs": env["GANTRY_CA_FILE"]},
    )


def numbers(events):
    return [json.loads(event.body_as_str())["n"] for event in events]


def test_routes_choose_by_property_body_and_twin_and_the_fallback_takes_the_rest(
    env, ca, device, registry, routing
):
    name, connection_string = device
    registry.update_twin(name, Twin(tags={"site": "lyon"}), "*")
    routing({
        "endpoints": {"eventHubs": [{"name": "hot"}, {"name": "lyon"}]},
        "routes": [
            route("by-body", "$body.temperature > 80 AND level = 'high'", "hot"),
            route("again", "$body.temperature > 90", "hot"),
            route("by-twin", "$twin.tags.site = 'lyon' AND $body.n < 4", "lyon"),
        ],
        "enrichments": [
            {"key": "site", "value": "$twin.tags.site", "endpointNames": ["hot"]},
            {"key": "floor", "value": "$twin.tags.floor", "endpointNames": ["hot"]},
            {"key": "hub", "value": "$iothubname", "endpointNames": ["hot", "events"]},
        ],
    })
    messages = [
        ({"n": 1, "temperature": 95}, {"Level": "high"}),
        ({"n": 2, "temperature": 20}, {"level": "high"}),
        ({"n": 3, "temperature": 85}, {"level": "low"}),
        ({"n": 4, "temperature": 99}, {"level": "low"}),
        ({"n": 5, "temperature": 1}, {}),
    ]
    send(connection_string, ca, messages)
    hot = read(stream(env, "hot"), name, 2, starting_position="-1")
    assert numbers(hot) == [1, 4]
    assert hot[0].properties == {b"Level": b"high", b"site": b"lyon", b"floor": b"$twin.tags.floor", b"hub": b"gantry"}
    assert numbers(read(stream(env, "lyon"), name, 3, starting_position="-1")) == [1, 2, 3]
    rest = read(stream(env, "gantry"), name, 1, starting_position="-1")
    assert numbers(rest) == [5] and rest[0].properties == {b"hub": b"gantry"}


def test_enrichments_stamp_primitives_of_the_senders_own_twin(env, ca, device, registry, routing):
    name, connection_string = device
    key = registry.create_module_with_sas(name, "pump", "", "", "").authentication.symmetric_key.primary_key
    desired = {"sensor": {"name": "s1", "parts": {"n": 1}}, "rate": 2.5}
    registry.update_twin(name, Twin(tags={"site": "lyon", "list": [1]}, properties=TwinProperties(desired=desired)), "*")
    registry.update_module_twin(name, "pump", Twin(tags={"site": "roof", "on": True}), "*")
    paths = {
        "site": "$twin.tags.site", "on": "$twin.tags.on", "list": "$twin.tags.list", "section": "$twin.tags",
        "object": "$twin.properties.desired.sensor", "leaf": "$twin.properties.desired.sensor.name",
        "rate": "$twin.properties.desired.rate",
    }
    routing({
        "endpoints": {"eventHubs": [{"name": "stamped"}]},
        "routes": [route("all", f"$connectionDeviceId = '{name}'", "stamped")],
        "enrichments": [{"key": k, "value": v, "endpointNames": ["stamped"]} for k, v in paths.items()],
    })
    send(connection_string, ca, [({"n": 1}, {})])
    module = connection_string.partition(";SharedAccessKey=")[0] + f";ModuleId=pump;SharedAccessKey={key}"
    client = IoTHubModuleClient.create_from_connection_string(module, server_verification_cert=ca)
    client.send_message(Message(json.dumps({"n": 2})))
    client.shutdown()
    read_properties = {numbers([e])[0]: e.properties for e in read(stream(env, "stamped"), name, 2, starting_position="-1")}
    stamped = {n: {k.decode(): v.decode() for k, v in all.items()} for n, all in read_properties.items()}
    assert stamped[1] == paths | {"site": "lyon", "leaf": "s1", "rate": "2.5"}
    assert stamped[2] == paths | {"site": "roof", "on": "true"}


def test_without_fallback_what_no_route_takes_reaches_nobody(env, ca, device, routing):
    name, connection_string = device
    fallback = {"source": "DeviceMessages", "endpointNames": ["events"], "isEnabled": False}
    routing({"routes": [route("some", "keep = 'yes'")], "fallbackRoute": fallback})
    send(connection_string, ca, [({"n": 1}, {}), ({"n": 2}, {"keep": "yes"})])
    routing({})
    send(connection_string, ca, [({"n": 3}, {})])
    assert numbers(read(stream(env, "gantry"), name, 2, starting_position="-1")) == [2, 3]


def test_the_hubs_own_events_reach_a_stream(env, ca, registry, routing):
    name = "py-own-events"
    sources = ["TwinChangeEvents", "DeviceLifecycleEvents", "DeviceConnectionStateEvents"]
    routing({"routes": [route(source, "true", "events", source) for source in sources]})
    registry.create_device_with_sas(name, "", "", "enabled")
    key = registry.get_device(name).authentication.symmetric_key.primary_key
    connection_string = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}"
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.patch_twin_reported_properties({"firmware": "1.2"})
    registry.update_twin(name, Twin(tags={"site": "lyon"}, properties=TwinProperties(desired={"rate": 5})), "*")
    client.shutdown()
    wait_for(lambda: registry.get_twin(name).connection_state == "Disconnected")
    registry.delete_device(name)
    events = read(stream(env, "gantry"), name, 6, starting_position="-1")
    told = {event.properties[b"opType"].decode(): event for event in events}
    assert set(told) == {
        "createDeviceIdentity", "deviceConnected", "updateTwin", "deviceDisconnected", "deleteDeviceIdentity"
    }
    for event in events:
        properties = event.properties
        assert (properties[b"hubName"], properties[b"deviceId"]) == (b"gantry", name.encode())
        assert b"operationTimestamp" in properties and b"iothub-message-schema" in properties
        assert event.content_type == "application/json"
    stamp = lambda op: told[op].system_properties[b"iothub-message-source"]
    assert stamp("updateTwin") == b"twinChangeEvents"
    assert stamp("createDeviceIdentity") == b"deviceLifecycleEvents"
    assert stamp("deviceConnected") == b"deviceConnectionStateEvents"
    body = lambda op: json.loads(told[op].body_as_str())
    assert body("createDeviceIdentity")["deviceId"] == name
    number = [body(op)["sequenceNumber"] for op in ("deviceConnected", "deviceDisconnected")]
    assert len(number[0]) == 64 and number[0] < number[1]
    changes = [json.loads(e.body_as_str()) for e in events if e.properties[b"opType"] == b"updateTwin"]
    reported = next(change for change in changes if "reported" in change.get("properties", {}))
    assert reported["properties"]["reported"]["firmware"] == "1.2"
    assert reported["properties"]["reported"]["$version"] == 2
    desired = next(change for change in changes if "tags" in change)
    assert desired["tags"] == {"site": "lyon"} and desired["properties"]["desired"]["rate"] == 5


class Receiver:
    """An HTTPS server whose certificate the platform's CA signed; it may refuse for a while."""

    def __init__(self, platform, folder):
        tls = platform.folder / "data/tls"
        key, request, certificate = folder / "hook.key", folder / "hook.csr", folder / "hook.pem"
        extensions = folder / "hook.ext"
        extensions.write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", "/CN=hook")
        openssl("x509", "-req", "-in", request, "-CA", tls / "ca.pem", "-CAkey", tls / "ca.key", "-CAcreateserial",
                "-out", certificate, "-days", "2", "-extfile", extensions)
        self.events, self.refusals, self.validations, outer = [], 0, 0, self
        # Whether validation events are answered, or only taken; and the links in them.
        self.answers_validation, self.links = True, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.headers["aeg-event-type"] == "SubscriptionValidation":
                    outer.validations += 1
                    outer.links.append(body[0]["data"]["validationUrl"])
                    answer = json.dumps({"validationResponse": body[0]["data"]["validationCode"]}).encode()
                    if not outer.answers_validation:
                        answer = b"{}"
                    self.send_response(200)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                    return
                if outer.refusals:
                    outer.refusals -= 1
                    self.send_response(503)
                else:
                    outer.events.extend(body)
                    self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_a_webhook_gets_event_grid_events_and_loses_none_while_it_refuses(
    platform, env, ca, device, registry, routing, tmp_path
):
    name, connection_string = device
    receiver = Receiver(platform, tmp_path)
    receiver.refusals = 2
    routing({
        "endpoints": {"webhooks": [{"name": "hook", "url": receiver.url}]},
        "routes": [
            route("telemetry", f"$connectionDeviceId = '{name}'", "hook"),
            route("lives", "true", "hook", "DeviceLifecycleEvents"),
        ],
    })
    send(connection_string, ca, [({"n": n}, {"k": "v"}) for n in range(20)])
    registry.create_device_with_sas("py-hooked", "", "", "enabled")
    registry.delete_device("py-hooked")
    wait_for(lambda: len({event["id"] for event in receiver.events}) >= 22)
    assert receiver.validations >= 1
    seen = {event["id"]: event for event in receiver.events}.values()
    telemetry = [event for event in seen if event["eventType"] == "Microsoft.Devices.DeviceTelemetry"]
    assert [event["data"]["body"]["n"] for event in telemetry] == list(range(20))
    assert telemetry[0]["subject"] == f"devices/{name}" and telemetry[0]["data"]["properties"] == {"k": "v"}
    assert telemetry[0]["data"]["systemProperties"]["iothub-connection-device-id"] == name
    lives = [event for event in seen if event["subject"] == "devices/py-hooked"]
    assert sorted(event["eventType"] for event in lives) == [
        "Microsoft.Devices.DeviceCreated", "Microsoft.Devices.DeviceDeleted"
    ]
    assert lives[0]["data"]["hubName"] == "gantry" and "twin" in lives[0]["data"]
    health = json.loads(gantry(platform, "--json", "routing", "health").stdout)
    states = {one["endpointId"]: one["healthStatus"] for one in health}
    assert states == {"events": "healthy", "hook": "healthy"}
    receiver.server.shutdown()


def test_a_webhook_is_validated_by_its_link(platform, env, ca, device, routing, tmp_path):
    name, connection_string = device
    receiver = Receiver(platform, tmp_path)
    receiver.answers_validation = False
    routing({
        "endpoints": {"webhooks": [{"name": "hook", "url": receiver.url}]},
        "routes": [route("telemetry", f"$connectionDeviceId = '{name}'", "hook")],
    })
    send(connection_string, ca, [({"n": n}, {}) for n in range(3)])
    link = wait_for(lambda: receiver.links)[0]

    def health():
        shown = json.loads(gantry(platform, "--json", "routing", "health").stdout)
        return {one["endpointId"]: one for one in shown}["hook"]

    wait_for(lambda: health()["healthStatus"] == "unhealthy" and "open the link" in health()["lastKnownError"])
    wrong = requests.get(link[:-1] + ("0" if link[-1] != "0" else "1"), timeout=10)
    assert wrong.status_code == 404 and not receiver.events
    assert requests.get(link, timeout=10).status_code == 200
    wait_for(lambda: len({event["id"] for event in receiver.events}) == 3)
    # It was sent the code once, and the link is used up.
    assert receiver.validations == 1
    assert requests.get(link, timeout=10).status_code == 404
    receiver.server.shutdown()


def test_a_condition_is_tried_without_a_message(platform):
    def tried(condition, *more):
        return gantry(platform, "routing", "test", condition, "--body", '{"t":{"a":[1,2]}}', *more).stdout.split("\n")[0]

    assert tried("$body.t.a[1] = 2") == "true"
    assert tried("$body.t.a[1] = 3") == "false"
    assert tried("level IN ['low','high']", "--properties", '{"Level":"low"}') == "true"
    assert tried("$twin.tags.x > 3", "--twin", '{"tags":{"x":4}}') == "true"
    assert tried("$body.t =") == "undefined"


def test_bad_routing_is_refused_in_words_and_changes_nothing(platform, routing, tmp_path):
    before = gantry(platform, "routing", "show").stdout
    for settings, words in [
        ({"routes": [route("r", "x ==")]}, "condition of route `r`"),
        ({"routes": [route("r", "true", "nowhere")]}, "nowhere"),
        ({"endpoints": {"webhooks": [{"name": "w", "url": "ftp://x"}]}}, "https://"),
        ({"routs": []}, "routs"),
    ]:
        file = tmp_path / "bad.json"
        file.write_text(json.dumps(settings))
        done = gantry(platform, "routing", "set", file)
        assert done.returncode != 0 and words in done.stderr, done.stderr
    assert gantry(platform, "routing", "show").stdout == before


@pytest.mark.parametrize("encoding", ["JSON", "Avro"])
def test_a_storage_container_gets_files_of_what_was_routed(env, ca, device, routing, encoding):
    from azure.storage.blob import BlobServiceClient

    name, connection_string = device
    routing({
        "endpoints": {"storageContainers": [{
            "name": "cold", "containerName": f"cold-{encoding.lower()}", "encoding": encoding,
            "maxChunkSizeInBytes": 10 << 20,
        }]},
        "routes": [route("all", f"$connectionDeviceId = '{name}'", "cold")],
        "enrichments": [{"key": "hub", "value": "$iothubname", "endpointNames": ["cold"]}],
    })
    # A file is written when 10 MiB are there, without waiting for its age.
    bag = "bare&empty=&%24.ct=application%2Fjson&%24.ce=utf-8"
    send_bag(env, connection_string, bag, {"n": 0, "pad": "x" * 240_000})
    send(connection_string, ca, [({"n": n, "pad": "x" * 240_000}, {}) for n in range(1, 46)])
    service = BlobServiceClient.from_connection_string(
        env["AZURE_STORAGE_CONNECTION_STRING"], connection_verify=env["GANTRY_CA_FILE"]
    )
    container = service.get_container_client(f"cold-{encoding.lower()}")
    blob = wait_for(lambda: container.exists() and next(iter(container.list_blobs()), None))
    parts = blob.name.split("/")
    assert parts[0] == "gantry" and len(parts) == 7 and parts[1] in ("00", "01", "02", "03", "04", "05", "06", "07")
    content = container.download_blob(blob.name).readall()
    if encoding == "JSON":
        lines = [json.loads(line) for line in content.splitlines()]
    else:
        lines = list(fastavro.reader(io.BytesIO(content)))
        for line in lines:
            line["Body"] = json.loads(line["Body"])
    assert len(lines) >= 43
    assert [line["Body"]["n"] for line in lines] == list(range(len(lines)))
    # The reference's schema of Avro files has no null.
    assert lines[0]["Properties"] == {"bare": None if encoding == "JSON" else "", "empty": "", "hub": "gantry"}
    assert lines[1]["Properties"] == {"hub": "gantry"}
    assert lines[0]["SystemProperties"]["connectionDeviceId"] == name


@pytest.mark.parametrize("transport", ["Amqp", "AmqpOverWebsocket"])
def test_a_queue_is_read_with_locks_by_the_service_bus_sdk(env, ca, device, routing, transport):
    from azure.servicebus import ServiceBusClient, TransportType

    name, connection_string = device
    queue = f"work-{transport.lower()}"
    routing({
        "endpoints": {"serviceBusQueues": [{"name": queue}]},
        "routes": [route("work", f"$connectionDeviceId = '{name}'", queue)],
        "enrichments": [{"key": "hub", "value": "$iothubname", "endpointNames": [queue]}],
    })
    send(connection_string, ca, [({"n": n}, {"k": str(n)}) for n in range(12)])
    base, _, _ = env["EVENTHUB_CONNECTION_STRING"].partition(";EntityPath=")
    client = ServiceBusClient.from_connection_string(
        base, transport_type=TransportType[transport] if hasattr(TransportType, transport) else transport,
        connection_verify=env["GANTRY_CA_FILE"], retry_total=0,
    )
    number = lambda message: json.loads(str(message))["n"]
    with client, client.get_queue_receiver(queue, max_wait_time=5) as receiver:
        got = []
        while len(got) < 12:
            batch = receiver.receive_messages(max_message_count=12 - len(got), max_wait_time=10)
            assert batch, f"only {len(got)} messages"
            got.extend(batch)
        assert [number(message) for message in got] == list(range(12))
        first = got[0]
        assert first.application_properties[b"k"] == b"0" and first.application_properties[b"hub"] == b"gantry"
        assert first.application_properties[b"iothub-connection-device-id"] == name.encode()
        assert first.content_type == "application/json" and first.delivery_count == 0
        receiver.abandon_message(got[3])
        for message in got[:3] + got[4:]:
            receiver.complete_message(message)
        again = receiver.receive_messages(max_message_count=5, max_wait_time=10)
        assert [(number(message), message.delivery_count) for message in again] == [(3, 1)]
        receiver.complete_message(again[0])
        assert receiver.receive_messages(max_message_count=1, max_wait_time=1) == []


def test_every_subscription_of_a_topic_gets_every_message(env, ca, device, routing):
    from azure.servicebus import ServiceBusClient

    name, connection_string = device
    routing({
        "endpoints": {"serviceBusTopics": [{"name": "alerts", "subscriptions": ["desk", "night"]}]},
        "routes": [route("alerts", f"$connectionDeviceId = '{name}'", "alerts")],
    })
    send(connection_string, ca, [({"n": n}, {}) for n in range(5)])
    base, _, _ = env["EVENTHUB_CONNECTION_STRING"].partition(";EntityPath=")
    client = ServiceBusClient.from_connection_string(base, connection_verify=env["GANTRY_CA_FILE"], retry_total=0)
    with client:
        for subscription in ["desk", "Night"]:
            got = []
            with client.get_subscription_receiver("alerts", subscription, max_wait_time=5) as receiver:
                while len(got) < 5:
                    batch = receiver.receive_messages(max_message_count=5, max_wait_time=10)
                    assert batch, f"only {len(got)} messages for {subscription}"
                    for message in batch:
                        got.append(json.loads(str(message))["n"])
                        receiver.complete_message(message)
            assert got == list(range(5))
        with pytest.raises(Exception, match="not.found|could not be found"):
            with client.get_subscription_receiver("alerts", "nobody", max_wait_time=2) as receiver:
                receiver.receive_messages(max_message_count=1, max_wait_time=2)


def test_null_empty_and_absent_properties_stay_apart_on_every_endpoint_of_messages(env, device, routing):
    from azure.servicebus import ServiceBusClient

    name, connection_string = device
    routing({
        "endpoints": {
            "eventHubs": [{"name": "nulls-stream"}],
            "serviceBusQueues": [{"name": "nulls-queue"}],
            "serviceBusTopics": [{"name": "nulls-topic", "subscriptions": ["desk"]}],
        },
        "routes": [
            route(endpoint, f"$connectionDeviceId = '{name}'", endpoint)
            for endpoint in ["nulls-stream", "nulls-queue", "nulls-topic"]
        ],
        "enrichments": [{"key": "hub", "value": "$iothubname", "endpointNames": ["nulls-queue", "nulls-topic"]}],
    })
    sent = [("bare&empty=&text=a", {b"bare": None, b"empty": b"", b"text": b"a"}), ("bare=&empty", {b"bare": b"", b"empty": None})]
    for n, (bag, _) in enumerate(sent):
        send_bag(env, connection_string, bag, {"n": n})
    base, _, _ = env["EVENTHUB_CONNECTION_STRING"].partition(";EntityPath=")
    client = ServiceBusClient.from_connection_string(base, connection_verify=env["GANTRY_CA_FILE"], retry_total=0)
    own = lambda message: {k: v for k, v in message.application_properties.items() if not k.startswith(b"iothub-")}
    with client:
        queue = lambda: client.get_queue_receiver("nulls-queue", max_wait_time=5)
        desk = lambda: client.get_subscription_receiver("nulls-topic", "desk", max_wait_time=5)
        for open_receiver in [queue, desk]:
            got = []
            with open_receiver() as receiver:
                while len(got) < len(sent):
                    batch = receiver.receive_messages(max_message_count=5, max_wait_time=10)
                    assert batch, f"only {len(got)} messages"
                    for message in batch:
                        got.append((json.loads(str(message))["n"], own(message)))
                        receiver.complete_message(message)
            assert got == [(n, properties | {b"hub": b"gantry"}) for n, (_, properties) in enumerate(sent)]
    streamed = read(stream(env, "nulls-stream"), name, len(sent), starting_position="-1")
    assert [event.properties for event in streamed] == [properties for _, properties in sent]
