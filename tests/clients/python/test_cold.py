"""Files of tables that are not hot any more: in S3 (SeaweedFS) and in Azure Blob storage (Azurite), where pyarrow reads them.

Both run here, on loopback, for this file alone.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pyarrow.compute
import pyarrow.dataset
import pyarrow.fs
import pytest
from azure.storage.blob import BlobServiceClient

from conftest import PATIENCE, Platform, wait_for

S3_PORT, FILER_PORT, BLOB_PORT = 8333, 9588, 10700
AZURITE = Path(__file__).parent.parent / "azurite/node_modules/azurite/dist/src/blob/main.js"
# The account that every Azurite has, as its documentation gives it.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONNECTION = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{BLOB_PORT}/{ACCOUNT}"


@pytest.fixture(scope="module")
def folder():
    made = Path(tempfile.mkdtemp(prefix="gantry-cold-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Store:
    """A program that answers HTTP on a port, which can be stopped and started again."""

    def __init__(self, log, port, *command):
        self.log, self.port, self.command = log, port, [str(part) for part in command]
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def wait_for_answers(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5)
                return
            except urllib.error.HTTPError:
                return  # It wants to know who asks.
            except OSError:
                assert self.process.poll() is None, Path(self.log).read_text()[-3000:]
                assert time.monotonic() < until, Path(self.log).read_text()[-3000:]
                time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module", autouse=True)
def azurite(folder):
    """Azurite takes its time, so it begins while the other test runs."""
    command = ["node", AZURITE, "--blobHost", "127.0.0.1", "--blobPort", BLOB_PORT, "--location", folder / "azurite"]
    store = Store(folder / "azurite.log", BLOB_PORT, *command, "--silent", "--disableTelemetry", "--skipApiVersionCheck")
    store.start()
    yield store
    store.stop()


@pytest.fixture
def lake(folder):
    """SeaweedFS with an empty bucket, and its files as pyarrow sees them."""
    data = folder / "seaweed"
    data.mkdir()
    who = {"name": "gantry", "credentials": [{"accessKey": "lake", "secretKey": "lake-secret"}], "actions": ["Admin"]}
    (data / "s3.json").write_text(json.dumps({"identities": [who]}))
    weed, log = Path(sys.executable).parent / "weed", folder / "seaweed.log"
    ports = ["-master.port=9533", "-volume.port=9580", f"-filer.port={FILER_PORT}"]
    bounds = ["-master.volumeSizeLimitMB=64", "-volume.max=8"]
    server = Store(log, FILER_PORT, weed, "server", f"-dir={data}", "-ip=127.0.0.1", "-filer", *ports, *bounds)
    # What speaks S3 is a program of its own: it is back at once after it was stopped.
    head = [f"-port={S3_PORT}", f"-filer=127.0.0.1:{FILER_PORT}", f"-config={data}/s3.json"]
    store = Store(log, S3_PORT, weed, "s3", "-ip.bind=127.0.0.1", *head)
    server.start()
    try:
        server.wait_for_answers()
        store.start()
        store.wait_for_answers()
        files = pyarrow.fs.S3FileSystem(
            access_key="lake",
            secret_key="lake-secret",
            endpoint_override=f"http://127.0.0.1:{S3_PORT}",
            allow_bucket_creation=True,
            region="us-east-1",
        )
        wait_for(lambda: made(files))
        yield store, files
    finally:
        store.stop()
        server.stop()


def made(files):
    try:
        files.create_dir("lake")
        return True
    except OSError:  # It answers before it has a place for files.
        return False


class Gantry(Platform):
    """A platform of its own, on any ports that are free."""

    def __init__(self, folder, cold):
        super().__init__(os.environ["GANTRY_BIN"], folder)
        folder.mkdir()
        self.config = folder / "gantry.toml"
        ports = "[ports]\nmqtt = 0\namqp = 0\nhttps = 0\npostgres = 0\n"
        self.config.write_text(f"{ports}[tables]\nseal_rows = 100\n[tables.cold]\n{cold}\n")

    def start(self):
        super().start()
        self.context = ssl.create_default_context(cafile=self.env["GANTRY_CA_FILE"])
        return self

    def call(self, method, path, body=None, token=None, text=False):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.env["GANTRY_URL"] + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        if token:
            request.add_header("Authorization", token)
        with urllib.request.urlopen(request, timeout=PATIENCE, context=self.context) as answer:
            read = answer.read().decode()
        return read if text else json.loads(read or "null")

    def ask(self, text):
        """The rows that a query or a command answers."""
        path = "/v1/rest/mgmt" if text.startswith(".") else "/v1/rest/query"
        body = {"db": self.env["KUSTO_DATABASE"], "csl": text}
        answer = self.call("POST", path, body, "Bearer " + self.env["KUSTO_TOKEN"])
        return answer["Tables"][0]["Rows"]

    def refusal(self, text):
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.ask(text)
        error = json.loads(refused.value.read())["error"]
        return error["@message"], error["@permanent"]

    def health(self):
        return self.call("GET", "/healthz", text=True)

    def places(self, table):
        """How many extents a table has, and how many of them are hot."""
        return self.ask(f".show table {table} details | project TotalExtents, HotExtents")[0]

    def fill(self, table, *batches):
        for first, last in batches:
            self.ask(
                f".set-or-append {table} <| range n from {first} to {last} step 1"
                " | project n, device = strcat('device-', n % 7), value = n / 4.0, at = datetime(2026-01-01) + n * 1s,"
                " more = bag_pack('n', n)"
            )

    def hot_files(self):
        return [path.name for path in (self.folder / "data/tables").glob("*.parquet")]


QUESTIONS = (
    "Readings | count",
    "Readings | summarize sum(value), max(at), dcount(device) by bin(n, 1000) | order by n asc",
    "Readings | where device == 'device-3' and n between (2500 .. 2600) | project n, value, more.n | order by n asc",
)


def azure_files():
    """Azurite's blobs as pyarrow sees them."""
    at = f"127.0.0.1:{BLOB_PORT}"
    return pyarrow.fs.AzureFileSystem(
        account_name=ACCOUNT,
        account_key=KEY,
        blob_storage_authority=at,
        blob_storage_scheme="http",
        dfs_storage_authority=at,
        dfs_storage_scheme="http",
    )


def signature(resource, key):
    until = str(int(time.time()) + 3600)
    name = urllib.parse.quote(resource, safe="")
    digest = hmac.new(base64.b64decode(key), f"{name}\n{until}".encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature sr={name}&sig={urllib.parse.quote(base64.b64encode(digest).decode(), safe='')}&se={until}"


def send_telemetry(gantry, count):
    service = dict(part.split("=", 1) for part in gantry.env["IOTHUB_CONNECTION_STRING"].split(";"))
    host = service["HostName"]
    token = signature(host, service["SharedAccessKey"]) + f"&skn={service['SharedAccessKeyName']}"
    device = gantry.call("PUT", "/devices/motor?api-version=2021-04-12", {"deviceId": "motor"}, token)
    token = signature(f"{host}/devices/motor", device["authentication"]["symmetricKey"]["primaryKey"])
    for n in range(count):
        gantry.call("POST", "/devices/motor/messages/events?api-version=2021-04-12", {"speed": n}, token)


def test_s3_keeps_what_is_cold_and_others_read_it(folder, lake):
    store, files = lake
    cold = f"""
    place = "s3://lake/plant"
    hot_days = 0
    cache_mib = 0
    s3_endpoint = "http://127.0.0.1:{S3_PORT}"
    s3_access_key_id = "lake"
    s3_secret_access_key = "lake-secret"
    """
    gantry = Gantry(folder / "with-s3", cold).start()
    try:
        gantry.ask(".create table Readings (n:long, device:string, value:real, at:datetime, more:dynamic)")
        gantry.ask(".alter table Readings policy caching hot = 30d")
        gantry.fill("Readings", (1, 3000), (3001, 5000))
        assert gantry.places("Readings") == [2, 2]
        before = [gantry.ask(question) for question in QUESTIONS]
        gantry.ask(".alter table Readings policy caching hot = 0d")
        wait_for(lambda: gantry.places("Readings") == [2, 0])
        assert [gantry.ask(question) for question in QUESTIONS] == before
        assert gantry.ask(".show table Readings extents hot") == []
        assert gantry.hot_files() == []

        # Telemetry of devices without any policy: by the default of the configuration.
        send_telemetry(gantry, 120)
        wait_for(lambda: gantry.places("Telemetry") == [1, 0])
        assert gantry.ask("Telemetry | summarize count(), sum(speed)") == [[120, sum(range(120))]]

        # Who knows nothing of Gantry reads the folder of a table.
        readings = pyarrow.dataset.dataset("lake/plant/gantry/telemetry/Readings", filesystem=files).to_table()
        assert (readings.num_rows, sum(readings["n"].to_pylist())) == (5000, 5000 * 5001 // 2)
        assert readings.filter(pyarrow.compute.field("n") == 9).to_pylist()[0]["device"] == "device-2"
        telemetry = pyarrow.dataset.dataset("lake/plant/gantry/telemetry/Telemetry", filesystem=files).to_table()
        assert sorted(telemetry["speed"].to_pylist()) == list(range(telemetry.num_rows)) and telemetry.num_rows >= 100

        # Nobody is there: what is new is taken, what is cold is not answered, and both are said.
        store.stop()
        gantry.fill("Readings", (5001, 5100))
        message, permanent = gantry.refusal("Readings | where n < 4000 | summarize sum(value)")
        assert "`s3://lake/plant`" in message and not permanent
        wait_for(lambda: "cold storage" in gantry.health())
        assert gantry.places("Readings") == [3, 1]
        assert "lake-secret" not in (gantry.folder / "serve.log").read_text()
        store.start()
        wait_for(lambda: gantry.places("Readings") == [3, 0])
        assert gantry.ask("Readings | count") == [[5100]]
        assert gantry.health() == "ok\n"

        # What is dropped is deleted there.
        gantry.ask(".drop table Readings")
        left = pyarrow.fs.FileSelector("lake/plant/gantry/telemetry/Readings", allow_not_found=True)
        wait_for(lambda: files.get_file_info(left) == [])
    finally:
        gantry.stop()


def test_azure_keeps_what_is_cold_and_others_read_it(folder, azurite):
    # The configuration has no secret: a file has it.
    (folder / "secret").write_text(CONNECTION + "\n")
    azurite.wait_for_answers()
    service = BlobServiceClient.from_connection_string(CONNECTION)
    container = service.create_container("lake")
    cold = f'place = "azure://lake/plant"\nhot_days = 0\nsecret_file = "{folder}/secret"'
    gantry = Gantry(folder / "with-azure", cold).start()
    try:
        gantry.ask(".create table Readings (n:long, device:string, value:real, at:datetime, more:dynamic)")
        gantry.ask(".alter database telemetry policy caching hot = 30d")
        gantry.fill("Readings", (1, 3000), (3001, 5000))
        before = [gantry.ask(question) for question in QUESTIONS]
        gantry.ask(".alter database telemetry policy caching hot = 0d")
        wait_for(lambda: gantry.places("Readings") == [2, 0])
        assert [gantry.ask(question) for question in QUESTIONS] == before
        readings = pyarrow.dataset.dataset("lake/plant/gantry/telemetry/Readings", filesystem=azure_files()).to_table()
        assert (readings.num_rows, sum(readings["value"].to_pylist())) == (5000, sum(n / 4 for n in range(1, 5001)))
        gantry.stop()
        gantry.start()
        assert [gantry.ask(question) for question in QUESTIONS] == before
        # Hot again: back in the data folder, gone from there.
        gantry.ask(".alter database telemetry policy caching hot = 30d")
        wait_for(lambda: gantry.places("Readings") == [2, 2])
        assert [gantry.ask(question) for question in QUESTIONS] == before
        wait_for(lambda: not list(container.list_blobs("plant/gantry/telemetry/Readings/")))
    finally:
        gantry.stop()
