"""azure-iot-device with tokens of the token server: renewed in time, and cut off when not."""

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient

from conftest import PATIENCE

KEY = "key-of-the-client-suites"
def token(env, device_id, ttl):
    """What a device asks for; as in the article, with a key of its own."""
    resource = urllib.parse.quote(f"{env['IOTHUB_HOSTNAME']}/devices/{device_id}", safe="")
    url = f"{env['GANTRY_URL']}/sts/azure/token/operations?sr={resource}&ttl={ttl}"
    request = urllib.request.Request(url, headers={"x-api-key": KEY})
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return answer.read().decode()


def expiry(sas):
    return int(sas.split("&se=")[1].split("&")[0])


def make(env, ca, sas, **more):
    return IoTHubDeviceClient.create_from_sastoken(sas, server_verification_cert=ca, **more)


async def send_until(client, device_id, done):
    """Sends numbers one after the other, eleven at least; returns how many were acknowledged."""
    count = 0
    while count <= 10 or not done():
        await client.send_message(Message(json.dumps({"device": device_id, "n": count})))
        count += 1
        await asyncio.sleep(0.05)
    return count


async def renewed_by_event(env, ca, device_id):
    """The SDK asks for a token 120 s before the end: a life of 130 s makes it ask every 10 s."""
    client, renewals = make(env, ca, token(env, device_id, 130)), []

    async def renew():
        sas = await asyncio.to_thread(token, env, device_id, 130)
        await client.update_sastoken(sas)
        renewals.append(sas)

    client.on_new_sastoken_required = renew
    await client.connect()
    sent = await send_until(client, device_id, lambda: len(renewals) >= 3)
    await client.shutdown()
    return sent


async def renewed_at_half_life(env, ca, device_id, **more):
    sas = token(env, device_id, 20)
    first = expiry(sas)
    client, renewals = make(env, ca, sas, **more), 0
    await client.connect()
    sending = asyncio.create_task(send_until(client, device_id, lambda: renewals >= 3 and time.time() > first))
    while not sending.done():
        await asyncio.wait([sending], timeout=10)
        if not sending.done():
            await client.update_sastoken(await asyncio.to_thread(token, env, device_id, 20))
            renewals += 1
    await client.shutdown()
    return await sending


async def not_renewed(env, ca, device_id):
    """Cut off when the token ends; comes back with another one."""
    sas = token(env, device_id, 20)
    client = make(env, ca, sas, connection_retry=False)
    gone, loop = asyncio.Event(), asyncio.get_running_loop()

    def changed():
        if not client.connected:
            loop.call_soon_threadsafe(gone.set)

    client.on_connection_state_change = changed
    await client.connect()
    await asyncio.wait_for(gone.wait(), PATIENCE)
    late = time.time() - expiry(sas)
    assert 0 <= late < PATIENCE, f"cut off {late} s after the end of the token"
    client.on_connection_state_change = None
    await client.update_sastoken(token(env, device_id, 60))
    sent = await send_until(client, device_id, lambda: True)
    await client.shutdown()
    return sent


def read(env, wanted):
    """Numbers of each device as they are in the stream, in order, until all that are wanted were seen."""
    got = {device_id: [] for device_id in wanted}
    client = EventHubConsumerClient.from_connection_string(
        env["EVENTHUB_CONNECTION_STRING"], "$Default", connection_verify=env["GANTRY_CA_FILE"]
    )
    deadline = time.monotonic() + PATIENCE

    def on_batch(_, events):
        for event in events:
            device_id = event.system_properties.get(b"iothub-connection-device-id", b"").decode()
            if device_id in got:
                got[device_id].append(json.loads(event.body_as_str())["n"])
        if all(len(set(got[d])) >= wanted[d] for d in wanted) or time.monotonic() > deadline:
            client.close()

    client.receive_batch(on_batch, starting_position="-1", max_wait_time=1)
    return got


async def test_no_message_is_lost_while_tokens_are_renewed(env, ca, registry):
    work = {
        "token-event": renewed_by_event,
        "token-half": renewed_at_half_life,
        "token-half-ws": lambda *about: renewed_at_half_life(*about, websockets=True),
        "token-late": not_renewed,
    }
    for device_id in work:
        registry.create_device_with_sas(device_id, "", "", "enabled")
    try:
        sent = dict(zip(work, await asyncio.gather(*(run(env, ca, name) for name, run in work.items()))))
        got = await asyncio.to_thread(read, env, sent)
    finally:
        for device_id in work:
            registry.delete_device(device_id)
    for device_id, count in sent.items():
        assert sorted(set(got[device_id])) == list(range(count)), device_id


def test_a_token_is_for_its_own_device(env, ca):
    with pytest.raises(urllib.error.HTTPError) as refused:
        token(env, "somebody-else", 20)
    assert refused.value.code == 403
    assert json.loads(refused.value.read())["error"]["code"] == "Forbidden"
