"""azure-iot-device uploads files: the hub's part over HTTPS, the content with azure-storage-blob."""

import json
import os
import ssl
import urllib.error
import urllib.request

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.aio import IoTHubDeviceClient as AsyncDeviceClient
from azure.storage.blob import BlobClient, BlobServiceClient


@pytest.fixture
def client(device, ca):
    made = IoTHubDeviceClient.create_from_connection_string(device[1], server_verification_cert=ca)
    made.connect()
    yield made
    made.shutdown()


@pytest.fixture
def stored(env):
    service = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])
    return service.get_container_client("uploads")


def blob_of(info):
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    return BlobClient.from_blob_url(url)


def test_a_file_is_uploaded(client, device, stored):
    info = client.get_storage_info_for_blob("logs/ä 1.txt")
    assert info["blobName"] == f"{device[0]}/logs/ä 1.txt" and info["sasToken"].startswith("?")
    body = os.urandom(5_000_000)
    blob_of(info).upload_blob(body)
    client.notify_blob_upload_status(info["correlationId"], True, 200, "fine")
    assert stored.download_blob(info["blobName"]).readall() == body
    with pytest.raises(Exception):
        client.notify_blob_upload_status(info["correlationId"], True, 200, "again")


def test_an_address_is_for_one_blob_only(client, device):
    info = client.get_storage_info_for_blob("mine")
    for changed in ({"blobName": "another/mine"}, {"containerName": "uploads-not"}):
        with pytest.raises(HttpResponseError) as refused:
            blob_of({**info, **changed}).upload_blob(b"x")
        assert refused.value.error_code == "AuthenticationFailed"
    with pytest.raises(HttpResponseError) as refused:
        blob_of(info).delete_blob()
    assert refused.value.error_code == "AuthorizationPermissionMismatch"
    with pytest.raises(ResourceNotFoundError):
        blob_of(info).download_blob()


def post(env, path, token, body):
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    request = urllib.request.Request(env["GANTRY_URL"] + path + "?api-version=2021-04-12", method="POST")
    request.add_header("Authorization", token)
    try:
        with urllib.request.urlopen(request, json.dumps(body).encode(), context=context, timeout=10) as answer:
            return answer.status, None, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers["iothub-errorcode"], None


def token_of(connection_string):
    from azure.iot.device.common.auth.sastoken import RenewableSasToken
    from azure.iot.device.common.auth.signing_mechanism import SymmetricKeySigningMechanism

    fields = dict(part.split("=", 1) for part in connection_string.split(";"))
    resource = f"{fields['HostName']}/devices/{fields['DeviceId']}"
    return str(RenewableSasToken(resource, SymmetricKeySigningMechanism(fields["SharedAccessKey"])))


def test_limits_and_single_use(env, device, registry):
    name, connection_string = device
    token, files = token_of(connection_string), f"/devices/{name}/files"
    begun = [post(env, files, token, {"blobName": f"{n}"}) for n in range(10)]
    assert [status for status, _, _ in begun] == [200] * 10
    refused = post(env, files, token, {"blobName": "11"})
    assert refused[:2] == (403, "DeviceMaximumActiveFileUploadLimitExceeded")
    ids = [info["correlationId"] for _, _, info in begun]
    # Both forms of completion, and the C SDK's slash.
    assert post(env, f"{files}/notifications", token, {"correlationId": ids[0], "isSuccess": True})[0] == 204
    assert post(env, f"{files}/notifications/{ids[1]}", token, {"isSuccess": False, "statusCode": 500})[0] == 204
    assert post(env, f"{files}/", token, {"blobName": "12"})[0] == 200
    for used in (ids[0], ids[1], "unknown"):
        outcome = post(env, f"{files}/notifications", token, {"correlationId": used, "isSuccess": True})
        assert outcome[:2] == (400, "InvalidFileUploadCorrelationId")
    assert post(env, f"{files}/notifications/{ids[2]}", token, {})[:2] == (400, "InvalidFileUploadCompletionStatus")
    too_long = "x" * (1024 - len(name))
    assert post(env, files, token, {"blobName": too_long})[:2] == (400, "ArgumentInvalid")
    assert post(env, files, token, {"blobName": ""})[:2] == (400, "ArgumentInvalid")
    assert post(env, files, token, {"blobName": too_long[:-1]})[0] == 200
    assert post(env, "/devices/other/files", token, {"blobName": "x"})[0] == 401
    assert post(env, files, "", {"blobName": "x"})[0] == 401


@pytest.mark.asyncio
async def test_the_async_client_uploads(device, ca, stored):
    client = AsyncDeviceClient.create_from_connection_string(device[1], server_verification_cert=ca)
    await client.connect()
    info = await client.get_storage_info_for_blob("async.bin")
    blob_of(info).upload_blob(b"x" * 10)
    await client.notify_blob_upload_status(info["correlationId"], True, 200, "")
    await client.shutdown()
    assert stored.download_blob(info["blobName"]).readall() == b"x" * 10
