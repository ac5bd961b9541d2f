"""Device streams: a service and a device of plain clients, joined by two WebSockets.

Only branches of preview SDKs have them, so the device is paho-mqtt and the WebSockets are aiohttp's.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
import threading
import time
import urllib.parse

import aiohttp
import paho.mqtt.client as paho
import pytest
import requests

from conftest import PATIENCE, wait_for

OFFERS = "$iothub/streams/POST/#"


def token(resource, key, policy=None, life=600):
    resource, expiry = urllib.parse.quote(resource, safe=""), int(time.time()) + life
    signature = hmac.new(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    text = urllib.parse.quote(base64.b64encode(signature).decode(), safe="")
    made = f"SharedAccessSignature sr={resource}&sig={text}&se={expiry}"
    return made + f"&skn={policy}" if policy else made


class Device:
    """Answers every offer of a stream with one status, or not at all."""

    def __init__(self, env, connection_string, status, subscribed=True):
        device = dict(part.split("=", 1) for part in connection_string.split(";"))
        self.offers, self.status, done = [], status, threading.Event()
        name, host = device["DeviceId"], env["IOTHUB_HOSTNAME"]
        self.client = paho.Client(name, protocol=paho.MQTTv311)
        self.client.tls_set_context(ssl.create_default_context(cafile=env["GANTRY_CA_FILE"]))
        self.client.username_pw_set(
            f"{host}/{name}/?api-version=2021-04-12", token(f"{host}/devices/{name}", device["SharedAccessKey"])
        )
        self.client.on_message = self.offered
        self.client.on_connect = lambda client, *_: client.subscribe(OFFERS) if subscribed else done.set()
        self.client.on_subscribe = lambda *_: done.set()
        self.client.connect(host, 8883)
        self.client.loop_start()
        assert done.wait(PATIENCE)

    def offered(self, client, _, message):
        start, name, query = message.topic.rsplit("/", 2)
        assert start == "$iothub/streams/POST" and query.startswith("?$rid=")
        offer = {"name": name} | dict(urllib.parse.parse_qsl(query[1:]))
        self.offers.append(offer)
        if self.status:
            client.publish(f"$iothub/streams/res/{self.status}/?$rid={offer['$rid']}", qos=1)

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listening(env, device):
    """Makes the device with an answer to offers."""
    made = []

    def make(status=200, **options):
        made.append(Device(env, device[1], status, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def ask(env, path, **timeouts):
    owner = dict(part.split("=", 1) for part in env["IOTHUB_CONNECTION_STRING"].split(";"))
    headers = {f"iothub-streaming-{name}-timeout-in-seconds": str(secs) for name, secs in timeouts.items()}
    headers["Authorization"] = token(owner["HostName"], owner["SharedAccessKey"], owner["SharedAccessKeyName"])
    return requests.post(f"https://{owner['HostName']}{path}?api-version=2018-08-30-preview", headers=headers, timeout=30)


def invited(env, device, listening):
    """Where service and device come to, and with what."""
    answer = ask(env, f"/twins/{device[0]}/streams/ssh", response=10)
    assert (answer.status_code, answer.headers["iothub-streaming-is-accepted"]) == (200, "True")
    [offer] = listening.offers
    assert offer["name"] == "ssh"
    service = answer.headers["iothub-streaming-url"], answer.headers["iothub-streaming-auth-token"]
    assert service[0].startswith(f"wss://{env['IOTHUB_HOSTNAME']}")
    return service, (offer["$url"], offer["$auth"])


class Sockets:
    """WebSockets of one test."""

    def __init__(self, env):
        self.context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    def open(self, url, auth):
        headers = {"Authorization": f"Bearer {auth}"}
        return self.session.ws_connect(url, headers=headers, ssl=self.context, timeout=aiohttp.ClientWSTimeout(ws_close=5))

    async def is_refused(self, url, auth):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await self.open(url, auth)
        return refused.value.status == 401


async def receive(socket, count):
    got = b""
    while len(got) < count:
        got += await asyncio.wait_for(socket.receive_bytes(), PATIENCE)
    return got


async def test_bytes_go_both_ways_in_order_and_the_end_of_one_side_is_the_end_of_both(env, device, listening):
    service, client = invited(env, device, listening())
    there, back = os.urandom(3_000_000), os.urandom(2_000_000)
    async with Sockets(env) as sockets:
        async with sockets.open(*service) as ours, sockets.open(*client) as theirs:

            async def send(socket, data):
                for at in range(0, len(data), 50_000):
                    await socket.send_bytes(data[at : at + 50_000])

            _, _, at_device, at_service = await asyncio.gather(
                send(ours, there), send(theirs, back), receive(theirs, len(there)), receive(ours, len(back))
            )
            assert at_device == there and at_service == back
            await ours.send_str("as text")
            assert await theirs.receive_str() == "as text"
            # The last words arrive before the end.
            await theirs.send_bytes(b"bye")
            await theirs.close()
            assert await receive(ours, 3) == b"bye"
            assert (await asyncio.wait_for(ours.receive(), PATIENCE)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_a_writer_is_held_up_by_a_reader_that_does_not_come(env, device, listening):
    service, client = invited(env, device, listening())
    piece, count = os.urandom(100_000), 400
    async with Sockets(env) as sockets:
        async with sockets.open(*service) as ours:
            sent = 0

            async def send():
                nonlocal sent
                for _ in range(count):
                    await ours.send_bytes(piece)
                    sent += 1

            sending = asyncio.create_task(send())
            while sent == 0:
                await asyncio.sleep(0.05)
            await asyncio.wait([sending], timeout=2)
            assert sent < count
            async with sockets.open(*client) as theirs:
                assert await receive(theirs, len(piece) * count) == piece * count
                await sending


async def test_a_token_opens_its_own_end_once(env, device, listening):
    (url, auth), (device_url, device_auth) = invited(env, device, listening())
    async with Sockets(env) as sockets:
        assert await sockets.is_refused(url, "0" * 64)
        assert await sockets.is_refused(url, "")
        assert await sockets.is_refused(url[:-1] + ("0" if url[-1] != "0" else "1"), auth)
        async with sockets.open(url, auth), sockets.open(device_url, device_auth):
            assert await sockets.is_refused(url, auth)
            assert await sockets.is_refused(device_url, device_auth)


async def test_a_stream_ends_with_the_rights_of_its_device(env, device, listening, registry):
    service, client = invited(env, device, listening())
    async with Sockets(env) as sockets:
        async with sockets.open(*service) as ours, sockets.open(*client) as theirs:
            await ours.send_bytes(b"x")
            assert await receive(theirs, 1) == b"x"
            known = registry.get_device(device[0])
            keys = known.authentication.symmetric_key
            registry.update_device_with_sas(device[0], known.etag, keys.primary_key, keys.secondary_key, "disabled")
            for socket in (ours, theirs):
                ended = await asyncio.wait_for(socket.receive(), PATIENCE)
                assert ended.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


def test_a_refused_stream_has_no_place(env, device, listening):
    refusing = listening(status=400)
    answer = ask(env, f"/twins/{device[0]}/streams/ssh")
    assert (answer.status_code, answer.headers["iothub-streaming-is-accepted"]) == (200, "False")
    assert "iothub-streaming-auth-token" not in answer.headers and "iothub-streaming-url" not in answer.headers

    async def come():
        async with Sockets(env) as sockets:
            [offer] = refusing.offers
            assert await sockets.is_refused(offer["$url"], offer["$auth"])

    asyncio.run(come())


def test_who_does_not_answer_or_listen_is_an_error_in_time(env, device, listening):
    silent = listening(status=None)
    begun = time.monotonic()
    answer = ask(env, f"/twins/{device[0]}/streams/ssh", response=1)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (504, "GatewayTimeout")
    assert 0.9 < time.monotonic() - begun < 10
    silent.stop()
    listening(subscribed=False)
    answer = ask(env, f"/twins/{device[0]}/streams/ssh", connect=1)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")


def test_a_device_that_comes_within_the_connect_time_out_is_asked(env, device, listening):
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(env, f"/twins/{device[0]}/streams/a%20b", connect=20)))
    asking.start()
    offers = listening().offers
    asking.join(PATIENCE)
    assert answers[0].headers["iothub-streaming-is-accepted"] == "True"
    assert wait_for(lambda: offers)[0]["name"] == "a%20b"


@pytest.mark.parametrize(
    ("path", "timeouts", "status", "name"),
    [
        ("/twins/nobody/streams/ssh", {}, 404, "DeviceNotFound"),
        ("/twins/{}/modules/none/streams/ssh", {}, 404, "ModuleNotFound"),
        ("/twins/{}/streams/" + "x" * 101, {}, 400, "ArgumentInvalid"),
        ("/twins/{}/streams/ssh", {"connect": 301}, 400, "ArgumentInvalid"),
        ("/twins/{}/streams/ssh", {"response": "soon"}, 400, "ArgumentInvalid"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(env, device, path, timeouts, status, name):
    answer = ask(env, path.format(device[0]), **timeouts)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (status, name)
