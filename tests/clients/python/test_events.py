"""azure-eventhub reads the stream; azure-iot-hub sends to devices over AMQP."""

import json
import threading
import time

import pytest
from azure.eventhub import EventHubConsumerClient, TransportType
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumer
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubRegistryManager

from conftest import PATIENCE, wait_for


def consumer(env, transport=TransportType.Amqp, kind=EventHubConsumerClient, group="$Default", **options):
    return kind.from_connection_string(
        env["EVENTHUB_CONNECTION_STRING"], consumer_group=group,
        connection_verify=env["GANTRY_CA_FILE"], transport_type=transport, **options,
    )


def send(connection_string, ca, count, start=0):
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    for n in range(start, start + count):
        message = Message(json.dumps({"n": n}))
        message.message_id, message.correlation_id = f"m{n}", "c"
        message.content_type, message.content_encoding = "application/json", "utf-8"
        message.custom_properties["order"] = str(n)
        message.custom_properties["iothub-connection-device-id"] = "forged"
        client.send_message(message)
    client.shutdown()


def read(client, device_id, count, seconds=PATIENCE, distinct=False, **start):
    """Events of one device from every partition, in the order received; as many different ones if asked for."""
    got, done = [], threading.Event()

    def on_batch(_, events):
        got.extend(e for e in events if e.system_properties[b"iothub-connection-device-id"].decode() == device_id)
        if (len({e.body_as_str() for e in got}) if distinct else len(got)) >= count:
            done.set()

    # In batches: one event at a time, the SDK waits a socket time-out on each idle partition between two events.
    options = {"on_event_batch": on_batch, "max_batch_size": 300, "max_wait_time": 0.2, **start}
    thread = threading.Thread(target=client.receive_batch, kwargs=options, daemon=True)
    thread.start()
    assert done.wait(seconds), f"{len(got)} of {count} events"
    client.close()
    thread.join(PATIENCE)
    return got


def test_every_message_is_read_in_order_with_its_stamps(env, ca, device, registry):
    name, connection_string = device
    send(connection_string, ca, 50)
    events = read(consumer(env), name, 50, starting_position="-1")
    assert [json.loads(e.body_as_str())["n"] for e in events] == list(range(50))
    sequence = [e.sequence_number for e in events]
    assert sequence == sorted(sequence)
    first = events[0]
    assert first.message_id == "m0" and first.correlation_id == "c" and first.content_type == "application/json"
    assert first.properties[b"order"] == b"0"
    stamps = first.system_properties
    assert stamps[b"iothub-message-source"] == b"Telemetry"
    assert json.loads(stamps[b"iothub-connection-auth-method"])["type"] == "sas"
    assert stamps[b"iothub-connection-auth-generation-id"].decode() == registry.get_device(name).generation_id
    assert abs(first.enqueued_time.timestamp() - time.time()) < 60


def test_a_model_id_announced_at_connect_is_stamped(env, ca, device):
    name, connection_string = device
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=ca, product_info="dtmi:com:example:Motor;1"
    )
    message = Message("x")
    message.custom_properties["$.sub"] = "thermostat1"
    client.send_message(message)
    client.shutdown()
    stamps = read(consumer(env), name, 1, starting_position="-1")[0].system_properties
    assert stamps[b"dt-dataschema"].decode() == "dtmi:com:example:Motor;1"
    assert stamps[b"dt-subject"].decode() == "thermostat1"


def test_partition_properties(env, ca, device):
    name, connection_string = device
    send(connection_string, ca, 3)
    client = consumer(env)
    properties = client.get_eventhub_properties()
    assert properties["partition_ids"] == [str(n) for n in range(8)]
    last = [client.get_partition_properties(p) for p in properties["partition_ids"]]
    assert any(not p["is_empty"] and p["last_enqueued_sequence_number"] >= 2 for p in last)
    client.close()


def test_positions_by_sequence_offset_and_time(env, ca, device):
    name, connection_string = device
    send(connection_string, ca, 5)
    all_events = read(consumer(env), name, 5, starting_position="-1")
    third = all_events[2]
    partition = {"partition_id": third.partition_id} if hasattr(third, "partition_id") else {}
    after = read(consumer(env), name, 2, starting_position=third.sequence_number, **partition)
    assert after[0].sequence_number > third.sequence_number
    inclusive = read(consumer(env), name, 3, starting_position=third.offset, starting_position_inclusive=True)
    assert third.sequence_number in [e.sequence_number for e in inclusive]
    send(connection_string, ca, 1, start=100)
    latest = read(consumer(env), name, 1, starting_position=all_events[-1].enqueued_time)
    assert json.loads(latest[-1].body_as_str())["n"] == 100


def test_reading_over_websocket(env, ca, device):
    name, connection_string = device
    send(connection_string, ca, 5)
    assert len(read(consumer(env, TransportType.AmqpOverWebsocket), name, 5, starting_position="-1")) == 5


async def test_aio_consumer(env, ca, device):
    import asyncio

    name, connection_string = device
    await asyncio.to_thread(send, connection_string, ca, 5)
    got, done = [], asyncio.Event()

    async def on_event(_, event):
        if event.system_properties[b"iothub-connection-device-id"].decode() == name:
            got.append(event)
            if len(got) == 5:
                done.set()

    client = consumer(env, kind=AsyncConsumer)
    task = asyncio.create_task(client.receive(on_event=on_event, starting_position="-1"))
    await asyncio.wait_for(done.wait(), PATIENCE)
    await client.close()
    task.cancel()


def test_an_unknown_consumer_group_is_refused(env):
    client = consumer(env, group="nobody", retry_total=0)
    errors, seen = [], threading.Event()

    def on_error(_, error):
        errors.append(error)
        seen.set()

    thread = threading.Thread(
        target=client.receive,
        kwargs={"on_event": lambda *_: None, "on_error": on_error, "partition_id": "0"},
        daemon=True,
    )
    thread.start()
    assert seen.wait(PATIENCE)
    client.close()
    assert "nobody" in str(errors[0]) or "could not be found" in str(errors[0])


def test_c2d_is_delivered_with_its_properties_and_completed(env, ca, device, registry):
    name, connection_string = device
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    manager.send_c2d_message(name, "while away", properties={"messageId": "a-1", "correlationId": "x", "level": "3"})
    assert registry.get_twin(name).cloud_to_device_message_count == 1
    got = []
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.on_message_received = got.append
    client.connect()
    assert wait_for(lambda: got)[0].data == b"while away"
    assert got[0].message_id == "a-1" and got[0].correlation_id == "x"
    assert got[0].custom_properties["level"] == "3"
    manager.send_c2d_message(name, "while here")
    wait_for(lambda: len(got) == 2)
    assert got[1].data == b"while here"
    wait_for(lambda: registry.get_twin(name).cloud_to_device_message_count == 0)
    client.shutdown()
    manager.amqp_svc_client.disconnect_sync() if hasattr(manager.amqp_svc_client, "disconnect_sync") else None


def test_the_queue_holds_fifty(env, device):
    name, _ = device
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    for n in range(50):
        manager.send_c2d_message(name, f"{n}")
    with pytest.raises(Exception):
        manager.send_c2d_message(name, "one too many")


def test_a_purged_queue_is_empty(env, device, registry):
    name, _ = device
    manager = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    for n in range(3):
        manager.send_c2d_message(name, f"{n}")
    purged = registry.protocol.cloud_to_device_messages.purge_cloud_to_device_message_queue(name)
    assert (purged.total_messages_purged, purged.device_id) == (3, name)
    assert registry.get_twin(name).cloud_to_device_message_count == 0
