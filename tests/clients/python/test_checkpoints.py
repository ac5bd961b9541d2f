"""azure-eventhub with its checkpoint stores: three consumers share eight partitions, and one goes away."""

import asyncio
import threading
import uuid
from collections import Counter

import pytest
from azure.eventhub import EventHubConsumerClient
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumerClient
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore as AsyncBlobCheckpointStore
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.iot.device import IoTHubDeviceClient, Message
from azure.storage.blob import BlobServiceClient

from conftest import PATIENCE, wait_for

GROUP, PARTITIONS, DEVICES, EACH = "workers", 8, 10, 3
BALANCING = dict(load_balancing_interval=1, partition_ownership_expiration_interval=6)


@pytest.fixture
def container(env):
    service = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])
    client = service.create_container(f"cp-{uuid.uuid4().hex[:20]}")
    yield client
    client.delete_container()


@pytest.fixture(scope="module")
def fleet(registry, env, ca):
    """Sends a round of messages from devices of many partitions; gives what was sent."""
    mark, names = uuid.uuid4().hex[:8], []
    clients = []
    for n in range(DEVICES):
        name = f"cp-{mark}-{n}"
        key = registry.create_device_with_sas(name, "", "", "enabled").authentication.symmetric_key.primary_key
        names.append(name)
        text = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}"
        clients.append(IoTHubDeviceClient.create_from_connection_string(text, server_verification_cert=ca))
        clients[-1].connect()

    def send(label):
        sent = set()
        for n, client in enumerate(clients):
            for i in range(EACH):
                text = f"{mark}-{label}-{n}-{i}"
                client.send_message(Message(text))
                sent.add(text)
        return sent

    yield send
    for client in clients:
        client.shutdown()
    for name in names:
        registry.delete_device(name)


def ownership(container):
    """Partitions by owner, from the blobs the store keeps."""
    blobs = container.list_blobs(include=["metadata"])
    return Counter(blob.metadata["ownerid"] for blob in blobs if "/ownership/" in blob.name and blob.metadata["ownerid"])


def is_balanced(container, consumers):
    """Every partition has an owner, and everybody a fair share; the SDK leaves it at 2, 2 and 4."""
    owners = ownership(container)
    fair = PARTITIONS // consumers
    return len(owners) == consumers and sum(owners.values()) == PARTITIONS and min(owners.values()) >= fair


def is_kept(env, container):
    """Every partition's checkpoint is at its last event, so that nothing is on its way to one."""
    blobs = [blob for blob in container.list_blobs(include=["metadata"]) if "/checkpoint/" in blob.name]
    kept = {blob.name.rsplit("/", 1)[1]: int(blob.metadata["sequencenumber"]) for blob in blobs}
    with EventHubConsumerClient.from_connection_string(
        env["EVENTHUB_CONNECTION_STRING"], GROUP, connection_verify=env["GANTRY_CA_FILE"]
    ) as client:
        states = [client.get_partition_properties(partition) for partition in client.get_partition_ids()]
    full = [state for state in states if not state["is_empty"]]
    return all(kept.get(state["id"]) == state["last_enqueued_sequence_number"] for state in full)


class Consumer:
    def __init__(self, env, container, seen):
        store = BlobCheckpointStore.from_connection_string(
            env["AZURE_STORAGE_CONNECTION_STRING"], container.container_name
        )
        self.client = EventHubConsumerClient.from_connection_string(
            env["EVENTHUB_CONNECTION_STRING"],
            GROUP,
            checkpoint_store=store,
            connection_verify=env["GANTRY_CA_FILE"],
            **BALANCING,
        )
        self.seen, self.mine = seen, set()
        receive = dict(on_event_batch=self.take, starting_position="-1", max_wait_time=1, max_batch_size=100)
        self.thread = threading.Thread(target=self.client.receive_batch, kwargs=receive, daemon=True)
        self.thread.start()

    def take(self, context, events):
        for event in events:
            self.seen[event.body_as_str()] += 1
            self.mine.add(event.body_as_str())
        if events:
            context.update_checkpoint(events[-1])

    def close(self):
        self.client.close()
        self.thread.join(PATIENCE)


def test_consumers_share_partitions_and_checkpoints_resume(env, container, fleet):
    seen = Counter()
    first = fleet("a")
    consumers = [Consumer(env, container, seen) for _ in range(3)]
    wait_for(lambda: is_balanced(container, 3))
    wait_for(lambda: first <= set(seen) and is_kept(env, container))
    consumers[0].close()
    wait_for(lambda: is_balanced(container, 2))
    second = fleet("b")
    wait_for(lambda: second <= set(seen) and is_kept(env, container))
    assert not second & consumers[0].mine
    assert second == (consumers[1].mine | consumers[2].mine) & second
    for consumer in consumers[1:]:
        consumer.close()
    later = Counter()
    third = fleet("c")
    resumed = Consumer(env, container, later)
    wait_for(lambda: third <= set(later))
    resumed.close()
    assert not (first | second) & set(later), "what was checkpointed is not read again"


@pytest.mark.asyncio
async def test_async_consumers_share_partitions(env, container, fleet):
    seen = Counter()
    first = await asyncio.to_thread(fleet, "d")

    async def take(context, events):
        # Before the checkpoint: a processor that loses the partition meanwhile is cut off behind it.
        for event in events:
            seen[event.body_as_str()] += 1
        if events:
            await context.update_checkpoint(events[-1])

    stores = []

    def consumer():
        store = AsyncBlobCheckpointStore.from_connection_string(
            env["AZURE_STORAGE_CONNECTION_STRING"], container.container_name, connection_verify=env["GANTRY_CA_FILE"]
        )
        stores.append(store)
        return AsyncConsumerClient.from_connection_string(
            env["EVENTHUB_CONNECTION_STRING"],
            GROUP,
            checkpoint_store=store,
            connection_verify=env["GANTRY_CA_FILE"],
            **BALANCING,
        )

    def start(client):
        return asyncio.create_task(client.receive_batch(take, starting_position="-1", max_wait_time=1))

    async def until(condition, seconds=PATIENCE):
        await asyncio.to_thread(wait_for, condition, seconds)

    clients = [consumer() for _ in range(3)]
    tasks = [start(client) for client in clients]
    await until(lambda: is_balanced(container, 3))
    await until(lambda: first <= set(seen) and is_kept(env, container))
    await clients[0].close()
    await until(lambda: is_balanced(container, 2))
    second = await asyncio.to_thread(fleet, "e")
    await until(lambda: second <= set(seen) and is_kept(env, container))
    for client in clients[1:]:
        await client.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen.clear()
    third = await asyncio.to_thread(fleet, "f")
    resumed = consumer()
    task = start(resumed)
    await until(lambda: third <= set(seen))
    await resumed.close()
    await asyncio.gather(task, return_exceptions=True)
    for store in stores:
        await store.close()
    assert not (first | second) & set(seen)


def claims(container, group, owner, etags=None):
    """A claim of every partition, as a processor makes it."""
    named = {"fully_qualified_namespace": "localhost", "eventhub_name": "gantry", "consumer_group": group, "owner_id": owner}
    return [{**named, "partition_id": str(n), **({"etag": etags[str(n)]} if etags else {})} for n in range(PARTITIONS)]


def claim_together(env, container, group, owners, etags=None):
    """What each owner gets of claims that are made at the same instant."""
    stores = [BlobCheckpointStore.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"], container.container_name) for _ in owners]
    ready, got = threading.Barrier(len(owners)), {}

    def claim(store, owner):
        wanted = claims(container, group, owner, etags)
        ready.wait()
        got[owner] = {one["partition_id"]: one["etag"] for one in store.claim_ownership(wanted)}

    threads = [threading.Thread(target=claim, args=pair) for pair in zip(stores, owners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("round", range(5))
def test_processors_that_start_at_the_same_instant_never_own_a_partition_both(env, container, round):
    group, owners = f"same-{round}", ["a", "b", "c"]
    got = claim_together(env, container, group, owners)
    assert Counter(n for mine in got.values() for n in mine) == Counter(str(n) for n in range(PARTITIONS)), got
    # Then all try to take them over, knowing the state that the first claims left.
    etags = {n: etag for mine in got.values() for n, etag in mine.items()}
    again = claim_together(env, container, group, owners, etags)
    assert Counter(n for mine in again.values() for n in mine) == Counter(str(n) for n in range(PARTITIONS)), again
    # Who comes late with the old state gets nothing, and with no state neither.
    assert claim_together(env, container, group, ["late"], etags) == {"late": {}}
    assert claim_together(env, container, group, ["new"]) == {"new": {}}


def test_async_processors_that_start_at_the_same_instant_share(env, container):
    async def claim(owner):
        store = AsyncBlobCheckpointStore.from_connection_string(
            env["AZURE_STORAGE_CONNECTION_STRING"], container.container_name, connection_verify=env["GANTRY_CA_FILE"]
        )
        async with store:
            return [one["partition_id"] for one in await store.claim_ownership(claims(container, "aio", owner))]

    async def both():
        return await asyncio.gather(claim("a"), claim("b"))

    first, second = asyncio.run(both())
    assert sorted(first + second) == [str(n) for n in range(PARTITIONS)], (first, second)


@pytest.mark.parametrize("quoted", [True, False])
def test_every_refused_condition_has_a_code(container, quoted):
    """Checkpoint stores take an answer that they cannot classify for success."""
    blob = container.get_blob_client(f"conditions-{quoted}")
    etag = blob.upload_blob(b"1")["etag"]
    plain = etag if quoted else etag.strip('"')
    stale = plain.replace("0x8D", "0x8D1")

    def refused(call, status, code, **conditions):
        with pytest.raises(HttpResponseError) as raised:
            call(**conditions)
        answer = raised.value.response
        assert (answer.status_code, answer.headers.get("x-ms-error-code")) == (status, code)

    def condition(kind, tag):
        return {"etag": tag, "match_condition": kind}

    changed, present = condition(MatchConditions.IfNotModified, stale), {"match_condition": MatchConditions.IfMissing}
    set_metadata = lambda **conditions: blob.set_blob_metadata({"ownerid": "x"}, **conditions)
    refused(set_metadata, 412, "ConditionNotMet", **changed)
    refused(set_metadata, 412, "ConditionNotMet", **present)
    refused(lambda **c: blob.set_http_headers(**c), 412, "ConditionNotMet", **changed)
    refused(lambda **c: blob.upload_blob(b"2", overwrite=True, **c), 412, "ConditionNotMet", **changed)
    refused(lambda **c: blob.upload_blob(b"2", **c), 409, "BlobAlreadyExists")
    refused(lambda **c: blob.delete_blob(**c), 412, "ConditionNotMet", **changed)
    refused(lambda **c: blob.download_blob(**c), 412, "ConditionNotMet", **changed)
    refused(lambda **c: blob.get_blob_properties(**c), 304, "ConditionNotMet", **condition(MatchConditions.IfModified, plain))
    missing = container.get_blob_client("missing")
    for conditions in ({}, present, changed):
        refused(lambda **c: missing.set_blob_metadata({}, **c), 404, "BlobNotFound", **conditions)
    nowhere = BlobServiceClient(f"{container.url.rsplit('/', 1)[0]}", credential=container.credential)
    refused(lambda: nowhere.get_container_client("not-there").get_container_properties(), 404, "ContainerNotFound")
    # What holds is carried out, with the state of the moment in either spelling.
    done = set_metadata(**condition(MatchConditions.IfNotModified, plain))
    assert done["etag"] != etag and blob.get_blob_properties().metadata == {"ownerid": "x"}
