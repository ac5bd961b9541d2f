"""A second platform that keeps contents, uploaded files and exports in another account: the first one's.

To the second one the first is an account at Azure like any other; it is reached through the same client.
"""

import json
import os
import subprocess
import tempfile
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from azure.iot.hub import IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.protocol.models import JobProperties
from azure.storage.blob import BlobClient, BlobServiceClient, generate_container_sas

from conftest import Platform, wait_for
from test_files import post, token_of


@pytest.fixture(scope="module")
def first(env):
    return BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])


@pytest.fixture(scope="module")
def containers(first):
    made = {name: first.create_container(f"{name}-{uuid.uuid4().hex[:12]}") for name in ("contents", "files", "jobs")}
    yield made
    for container in made.values():
        container.delete_container()


@pytest.fixture(scope="module")
def second(env, first, containers):
    """The second platform, and an environment in which clients trust both."""
    folder = Path(tempfile.mkdtemp(prefix="gantry-second-"))
    account, key = first.account_name, first.credential.account_key
    plain = f"AccountName={account};AccountKey={key};BlobEndpoint=https://localhost"
    (folder / "gantry.toml").write_text(
        f"""
        [ports]
        offset = 2000
        [blobs]
        azure_connection_string = "{env["AZURE_STORAGE_CONNECTION_STRING"]}"
        azure_container = "{containers["contents"].container_name}"
        [file_upload]
        azure_connection_string = "{plain}"
        container = "{containers["files"].container_name}"
        """
    )
    platform = Platform(os.environ["GANTRY_BIN"], folder)
    platform.config = folder / "gantry.toml"
    platform.variables = {"SSL_CERT_FILE": env["GANTRY_CA_FILE"]}
    platform.start()
    both = folder / "both.pem"
    both.write_text("".join(Path(e["GANTRY_CA_FILE"]).read_text() for e in (env, platform.env)))
    before = os.environ["REQUESTS_CA_BUNDLE"]
    os.environ["REQUESTS_CA_BUNDLE"] = str(both)
    yield platform.env
    os.environ["REQUESTS_CA_BUNDLE"] = before
    platform.stop()


def test_contents_are_objects_in_the_other_account(second, containers):
    service = BlobServiceClient.from_connection_string(second["AZURE_STORAGE_CONNECTION_STRING"])
    container = service.create_container("here")
    for size in (0, 10, 3_000_000):
        body = os.urandom(size)
        blob = container.upload_blob(f"folder/{size}", body)
        assert blob.download_blob().readall() == body
        assert blob.download_blob(offset=size // 2).readall() == body[size // 2 :] if size else True
    objects = list(containers["contents"].list_blobs())
    assert sorted(o.size for o in objects) == [10, 3_000_000]
    assert not any("folder" in o.name for o in objects), "what a client calls its blob is in the catalogue only"


def test_devices_upload_to_the_other_account(second, containers):
    registry = IoTHubRegistryManager.from_connection_string(second["IOTHUB_CONNECTION_STRING"])
    key = registry.create_device_with_sas("d1", "", "", "enabled").authentication.symmetric_key.primary_key
    token = token_of(f"HostName=localhost;DeviceId=d1;SharedAccessKey={key}")
    status, _, info = post(second, "/devices/d1/files", token, {"blobName": "ä 1.txt"})
    assert (status, info["hostName"]) == (200, "localhost")
    BlobClient.from_blob_url("https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)).upload_blob(b"x")
    done = {"correlationId": info["correlationId"], "isSuccess": True}
    assert post(second, "/devices/d1/files/notifications", token, done)[0] == 204
    assert containers["files"].download_blob("d1/ä 1.txt").readall() == b"x"


def test_identities_go_to_the_other_account_and_back(second, first, containers):
    registry = IoTHubRegistryManager.from_connection_string(second["IOTHUB_CONNECTION_STRING"])
    jobs = IoTHubJobManager.from_connection_string(second["IOTHUB_CONNECTION_STRING"])
    container = containers["jobs"]
    sas = generate_container_sas(
        first.account_name,
        container.container_name,
        account_key=first.credential.account_key,
        permission="rwd",
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )
    uri = f"{container.url}?{sas}"

    def run(**properties):
        job = jobs.create_import_export_job(JobProperties(output_blob_container_uri=uri, **properties))
        seen = lambda: jobs.get_import_export_job(job.job_id)
        return wait_for(lambda: seen() if seen().status != "running" else None)

    lines = [json.dumps({"id": f"e-{n:05}", "importMode": "create"}) for n in range(3000)]
    container.upload_blob("in.txt", "\n".join([*lines, '{"id": "e-00001", "importMode": "create"}']))
    job = run(type="import", input_blob_container_uri=uri, input_blob_name="in.txt")
    assert (job.status, job.failure_reason) == ("completed", "1 of 3001 lines failed; see importErrors.log")
    error = json.loads(container.download_blob("importErrors.log").readall())
    assert (error["deviceId"], error["errorCode"]) == ("e-00001", "DeviceAlreadyExists")
    job = run(type="export", output_blob_name="out/ä.txt")
    assert job.status == "completed", job.failure_reason
    exported = container.download_blob("out/ä.txt").readall().decode().splitlines()
    assert [json.loads(line)["id"] for line in exported if '"e-' in line] == [f"e-{n:05}" for n in range(3000)]
    assert registry.get_device("e-02999").status == "enabled"
