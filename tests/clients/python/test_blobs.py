"""azure-storage-blob against the blob store."""

import asyncio
import base64
import http.client
import os
import ssl
import uuid
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    PartialBatchErrorException,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient


@pytest.fixture(scope="module")
def service(env):
    return BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])


@pytest.fixture
def container(service):
    client = service.create_container(f"py-{uuid.uuid4().hex[:20]}")
    yield client
    client.delete_container()


def code(error):
    return getattr(error.value, "error_code", None)


def soon():
    return datetime.now(timezone.utc) + timedelta(minutes=5)


def test_a_blob_is_written_read_and_deleted(container):
    settings = ContentSettings(content_type="text/plain", cache_control="no-cache", content_language="de")
    body = os.urandom(3_000_000)
    blob = container.upload_blob("folder/ä b#?.txt", body, metadata={"line": "7"}, content_settings=settings)
    seen = blob.get_blob_properties()
    assert (seen.size, seen.metadata, seen.content_settings.content_type) == (3_000_000, {"line": "7"}, "text/plain")
    assert seen.content_settings.cache_control == "no-cache" and seen.content_settings.content_language == "de"
    assert blob.download_blob().readall() == body
    assert blob.download_blob(offset=2_000_000, length=7).readall() == body[2_000_000:2_000_007]
    assert blob.exists()
    with pytest.raises(ResourceExistsError) as refused:
        container.upload_blob("folder/ä b#?.txt", b"other")
    assert code(refused) == "BlobAlreadyExists"
    container.upload_blob("folder/ä b#?.txt", b"", overwrite=True)
    assert blob.download_blob().readall() == b""
    blob.delete_blob()
    assert not blob.exists()
    with pytest.raises(ResourceNotFoundError) as refused:
        blob.download_blob()
    assert code(refused) == "BlobNotFound"


def test_a_large_blob_goes_and_comes_in_blocks(container):
    body = os.urandom(9_000_000)
    client = BlobClient(
        container.url.rsplit("/", 1)[0],
        container.container_name,
        "large",
        credential=container.credential,
        max_single_put_size=1 << 20,
        max_block_size=1 << 20,
        max_single_get_size=1 << 20,
        max_chunk_get_size=1 << 20,
    )
    client.upload_blob(body, max_concurrency=4)
    assert client.download_blob(max_concurrency=4).readall() == body
    committed, uncommitted = client.get_block_list("all")
    assert [block.size for block in committed] == [1 << 20] * 8 + [9_000_000 - (8 << 20)] and uncommitted == []


def test_blocks_wait_until_they_are_committed(container):
    blob = container.get_blob_client("blocks")
    blob.stage_block("a", b"one")
    blob.stage_block("b", b"two")
    assert not blob.exists()
    assert [b.id for b in blob.get_block_list("uncommitted")[1]] == ["a", "b"]
    blob.commit_block_list([BlobBlock("b"), BlobBlock("a"), BlobBlock("b")], metadata={"x": "1"})
    assert blob.download_blob().readall() == b"twoonetwo"
    blob.stage_block("a", b"ONE")
    assert blob.download_blob().readall() == b"twoonetwo"
    blob.commit_block_list([BlobBlock("a"), BlobBlock("b")])
    assert blob.download_blob().readall() == b"ONEtwo"
    with pytest.raises(HttpResponseError) as refused:
        blob.commit_block_list([BlobBlock("a"), BlobBlock("none")])
    assert code(refused) == "InvalidBlockList"
    assert blob.download_blob().readall() == b"ONEtwo"


def test_blobs_are_listed_by_prefix_page_and_delimiter(container):
    names = [f"{folder}/{n:02}" for folder in ("a", "b", "c") for n in range(5)] + ["top"]
    for name in names:
        container.upload_blob(name, b"x", metadata={"n": name[-1]})
    listed = list(container.list_blobs(results_per_page=4, include=["metadata"]))
    assert [b.name for b in listed] == names
    assert listed[0].size == 1 and listed[0].metadata == {"n": "0"} and listed[0].etag
    assert [b.name for b in container.list_blobs(name_starts_with="b/0")] == names[5:10]
    walked = list(container.walk_blobs(results_per_page=2))
    assert [w.name for w in walked] == ["a/", "b/", "c/", "top"]
    assert [isinstance(w, BlobPrefix) for w in walked] == [True, True, True, False]
    assert [b.name for b in walked[1]] == names[5:10]


def test_conditions_decide_between_writers(container):
    blob = container.get_blob_client("owned")
    with pytest.raises(ResourceNotFoundError):
        blob.set_blob_metadata({"owner": "a"})
    first = blob.upload_blob(b"", metadata={"owner": "a"})["etag"]
    changed = blob.set_blob_metadata({"owner": "b"}, etag=first, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError) as refused:
        blob.set_blob_metadata({"owner": "c"}, etag=first, match_condition=MatchConditions.IfNotModified)
    assert code(refused) == "ConditionNotMet"
    with pytest.raises(ResourceModifiedError):
        blob.delete_blob(etag=first, match_condition=MatchConditions.IfNotModified)
    assert blob.get_blob_properties().etag == changed["etag"]
    with pytest.raises(HttpResponseError) as refused:
        blob.download_blob(etag=changed["etag"], match_condition=MatchConditions.IfModified)
    assert refused.value.status_code == 304


def test_properties_and_metadata_are_replaced(container):
    blob = container.upload_blob("p", b"x", content_settings=ContentSettings(content_type="a/b", cache_control="c"))
    blob.set_http_headers(ContentSettings(content_type="c/d"))
    settings = blob.get_blob_properties().content_settings
    assert (settings.content_type, settings.cache_control) == ("c/d", None)
    container.set_container_metadata({"k": "v"})
    assert container.get_container_properties().metadata == {"k": "v"}
    with pytest.raises(HttpResponseError) as refused:
        blob.set_blob_metadata({"k": "v" * 8192})
    assert code(refused) == "MetadataTooLarge"


def test_containers_are_made_listed_and_deleted(service):
    name = f"list-{uuid.uuid4().hex[:20]}"
    client = service.create_container(name, metadata={"a": "1"})
    with pytest.raises(ResourceExistsError) as refused:
        service.create_container(name)
    assert code(refused) == "ContainerAlreadyExists"
    listed = list(service.list_containers(name_starts_with="list-", include_metadata=True, results_per_page=1))
    assert {c.name: c.metadata for c in listed}[name] == {"a": "1"}
    client.upload_blob("x", b"x")
    client.delete_container()
    with pytest.raises(ResourceNotFoundError) as refused:
        client.upload_blob("x", b"x")
    assert code(refused) == "ContainerNotFound"
    service.create_container(name)
    assert list(client.list_blobs()) == []
    client.delete_container()
    for bad in ("devices", "Upper", "a--b", "ab"):
        with pytest.raises((HttpResponseError, ValueError)):
            service.create_container(bad)


def test_signatures_give_what_they_say(service, container):
    account, key = service.account_name, service.credential.account_key
    container.upload_blob("in/x", b"secret")
    url = service.url.rstrip("/")

    def client(sas, name="in/x"):
        return BlobClient(url, container.container_name, name, credential=sas)

    blob = (account, container.container_name, "in/x")
    reading = client(generate_blob_sas(*blob, account_key=key, permission="r", expiry=soon(), content_type="a/b"))
    assert reading.download_blob().readall() == b"secret"
    assert reading.get_blob_properties().content_settings.content_type == "a/b"
    with pytest.raises(HttpResponseError) as refused:
        # Large enough to be still on its way when it is refused.
        reading.upload_blob(os.urandom(10_000_000), overwrite=True)
    assert code(refused) == "AuthorizationPermissionMismatch"
    with pytest.raises(ClientAuthenticationError) as refused:
        client(generate_blob_sas(*blob, account_key=key, permission="r", expiry=soon()), "in/y").download_blob()
    assert code(refused) == "AuthenticationFailed"
    past = datetime.now(timezone.utc) - timedelta(minutes=1)
    with pytest.raises(ClientAuthenticationError):
        client(generate_blob_sas(*blob, account_key=key, permission="r", expiry=past)).download_blob()
    with pytest.raises(ClientAuthenticationError):
        wrong = "A" * 86 + "=="
        client(generate_blob_sas(*blob, account_key=wrong, permission="r", expiry=soon())).download_blob()

    creating = generate_container_sas(*blob[:2], account_key=key, permission="cl", expiry=soon())
    client(creating, "new").upload_blob(b"once")
    with pytest.raises(ResourceExistsError):
        client(creating, "new").upload_blob(b"twice")
    listing = BlobServiceClient(url, credential=creating).get_container_client(container.container_name)
    assert [b.name for b in listing.list_blobs()] == ["in/x", "new"]
    with pytest.raises(HttpResponseError):
        listing.delete_container()

    sas = generate_account_sas(account, key, resource_types="sco", permission="rl", expiry=soon())
    everything = BlobServiceClient(url, credential=sas)
    assert container.container_name in [c.name for c in everything.list_containers()]
    with pytest.raises(HttpResponseError):
        everything.create_container("not-allowed")


def test_a_wrong_key_and_no_key_are_refused(service, container):
    for credential in ({"account_name": service.account_name, "account_key": "A" * 86 + "=="}, None):
        stranger = BlobServiceClient(service.url, credential=credential)
        with pytest.raises(ClientAuthenticationError):
            list(stranger.list_containers())


def test_many_blobs_are_deleted_by_one_request(service, container):
    names = [f"folder/{n} ä" for n in range(256)]
    for name in names:
        container.upload_blob(name, b"x")
    answers = list(container.delete_blobs(*names, raise_on_any_failure=False))
    assert {answer.status_code for answer in answers} == {202} and len(answers) == 256
    assert list(container.list_blobs()) == []
    # One that fails keeps no other from being deleted, and the client hears of each.
    container.upload_blob("there", b"x")
    answers = list(container.delete_blobs("missing", "there", raise_on_any_failure=False))
    assert [answer.status_code for answer in answers] == [404, 202]
    with pytest.raises(PartialBatchErrorException):
        container.delete_blobs("missing")
    with pytest.raises(HttpResponseError) as refused:
        container.delete_blobs(*[f"{n}" for n in range(257)])
    assert code(refused) == "ExceedsMaxBatchRequestCount"


def test_a_signature_without_deletion_deletes_nothing_in_a_batch(service, container):
    container.upload_blob("kept", b"x")
    sas = generate_container_sas(
        container.account_name,
        container.container_name,
        account_key=container.credential.account_key,
        permission="rw",
        expiry=soon(),
    )
    stranger = ContainerClient(service.url, container.container_name, credential=sas)
    with pytest.raises(HttpResponseError):
        stranger.delete_blobs("kept")
    assert [blob.name for blob in container.list_blobs()] == ["kept"]


def test_what_is_not_built_says_so(container):
    with pytest.raises(HttpResponseError) as refused:
        container.get_blob_client("x").create_append_blob()
    assert (refused.value.status_code, code(refused)) == (501, "NotImplemented")
    with pytest.raises(HttpResponseError) as refused:
        container.acquire_lease()
    assert (refused.value.status_code, code(refused)) == (501, "NotImplemented")


@pytest.mark.asyncio
async def test_the_async_client_streams(env):
    connection = env["AZURE_STORAGE_CONNECTION_STRING"]
    verify = {"connection_verify": env["GANTRY_CA_FILE"]}
    async with AsyncBlobServiceClient.from_connection_string(connection, **verify) as service:
        container = await service.create_container(f"py-{uuid.uuid4().hex[:20]}")
        blobs = [container.get_blob_client(f"{n}") for n in range(20)]
        await asyncio.gather(*[blob.upload_blob(str(n).encode() * 1000) for n, blob in enumerate(blobs)])
        names = [blob.name async for blob in container.list_blobs()]
        assert sorted(names, key=int) == [str(n) for n in range(20)]
        assert await (await blobs[7].download_blob()).readall() == b"7" * 1000
        await container.delete_container()


def raw(env, container, method, path, headers=None, body=b""):
    """A request as no SDK makes it; gives status and error code."""
    sas = generate_container_sas(
        container.account_name,
        container.container_name,
        account_key=container.credential.account_key,
        permission="rwcdl",
        expiry=soon(),
    )
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    connection = http.client.HTTPSConnection("localhost", context=context, timeout=20)
    path, _, query = path.partition("?")
    query = f"{query}&{sas}" if query else sas
    connection.putrequest(method, f"/{container.container_name}{path}?{query}")
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers["x-ms-error-code"]


def test_limits_at_and_past(env, container):
    block = {"x-ms-blob-type": "BlockBlob"}

    def put_block(size):
        block_id = quote(base64.b64encode(b"i" * size).decode(), safe="")
        return raw(env, container, "PUT", f"/b?comp=block&blockid={block_id}", body=b"x")

    assert put_block(64) == (201, None)
    assert put_block(65) == (400, "InvalidQueryParameterValue")
    assert put_block(0) == (400, "InvalidQueryParameterValue")
    assert raw(env, container, "PUT", "/b?comp=block&blockid=YQ%3D%3D") == (400, "InvalidHeaderValue")
    too_large = {**block, "Content-Length": str((5000 << 20) + 1)}
    assert raw(env, container, "PUT", "/b", too_large) == (413, "RequestBodyTooLarge")
    assert raw(env, container, "GET", "?restype=container&comp=list&maxresults=0")[1] == "OutOfRangeQueryParameterValue"
    assert raw(env, container, "GET", "?restype=container&comp=list&maxresults=5001") == (200, None)
    assert raw(env, container, "PUT", "/" + "n" * 1024, block) == (201, None)
    assert raw(env, container, "PUT", "/" + "n" * 1025, block) == (400, "InvalidUri")
    fits = {**block, "x-ms-meta-k": "v" * (8192 - 1)}
    assert raw(env, container, "PUT", "/m", fits) == (201, None)
    assert raw(env, container, "PUT", "/m", {**fits, "x-ms-meta-l": ""}) == (400, "MetadataTooLarge")
    assert raw(env, container, "PUT", "/m", {**block, "x-ms-meta-9": "v"}) == (400, "InvalidMetadata")
    assert raw(env, container, "PUT", "/m") == (400, "InvalidHeaderValue")
    assert raw(env, container, "PUT", "/m", {**block, "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}) == (400, "Md5Mismatch")
    assert raw(env, container, "PUT", "/m?comp=blocklist", body=b"<no>") == (400, "InvalidXmlDocument")
    assert raw(env, container, "GET", "/m", {"Range": "bytes=9-1"}) == (400, "InvalidHeaderValue")
    assert raw(env, container, "GET", "/m", {"Range": "bytes=0-"}) == (416, "InvalidRange")
    assert raw(env, container, "GET", "/%2e%2e/%2e%2e/etc/passwd") == (404, "BlobNotFound")
    assert raw(env, container, "POST", "/m") == (501, "NotImplemented")
