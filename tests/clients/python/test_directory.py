"""Programs that come with tokens of a directory, as azure-identity gets them, at every head: with a role, without, after
it is taken away, and with tokens that are no good. All of it twice: beside shared access signatures, and alone
(`disable_local_auth`).

The platforms here have an address of their own, so that every client finds the standard ports.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import uuid
from pathlib import Path

import jwt
import msal
import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.identity import ClientSecretCredential
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoServiceError
from azure.storage.blob import BlobServiceClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import PATIENCE, Platform, prepare, wait_for

HUB = "https://iothubs.azure.net"
DPS = "https://azure-devices-provisioning.net"
MANAGEMENT = "https://management.azure.com"
KUSTO = "https://kusto.kusto.windows.net"
STORAGE = "https://storage.azure.com"
CENTRAL = "https://apps.azureiotcentral.com"
STREAM = "https://eventhubs.azure.net"
TENANT = "7b1c2f7e-4a53-4d0e-9c11-0f5ce3e1a001"
"""Of the directory elsewhere."""


def binary():
    """Of the suites, or of one platform that runs already."""
    return os.environ.get("GANTRY_BIN") or os.environ["BIN"]


class Elsewhere:
    """A directory elsewhere, of which we have the key."""

    issuer = "https://login.elsewhere.example/"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())

    def key_set(self):
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "elsewhere", "use": "sig", "alg": "ES256"}]}

    def token(self, resource, life=3600, object_id=None, headers=None, key=None, algorithm="ES256", **claims):
        now = int(time.time())
        object_id = object_id or "0b0b0b0b-0000-4000-8000-000000000001"
        all_claims = {
            "aud": resource, "iss": self.issuer, "tid": TENANT, "oid": object_id, "sub": object_id, "appid": "their-app",
            "idtyp": "app", "ver": "1.0", "iat": now, "nbf": now, "exp": now + life, **claims,
        }
        return jwt.encode(all_claims, key or self.key, algorithm=algorithm, headers={"kid": "elsewhere", **(headers or {})})


@pytest.fixture(scope="module")
def elsewhere():
    return Elsewhere()


@pytest.fixture(scope="module", params=["beside signatures", "alone"])
def place(request, elsewhere):
    """A platform with a directory, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gantry-directory-"))
    (folder / "keys.json").write_text(json.dumps(elsewhere.key_set()))
    (folder / "gantry.toml").write_text(
        f"""
        bind = ["127.0.0.5"]
        [hub]
        name = "line-5"
        host_names = ["127.0.0.5"]
        partitions = 2
        disable_local_auth = {"true" if request.param == "alone" else "false"}
        [directory]
        enabled = true
        development_principal = true
        [[directory.issuers]]
        issuer = ["{elsewhere.issuer}"]
        tenant_id = "{TENANT}"
        keys = "{folder / "keys.json"}"
        """
    )
    platform = Platform(binary(), folder)
    platform.config = folder / "gantry.toml"
    before = {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")}
    platform.start()
    prepare(platform.env)
    platform.is_alone = request.param == "alone"
    yield platform
    platform.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    shutil.rmtree(folder)


def credential_of(env, client_id, secret):
    return ClientSecretCredential(
        env["AZURE_TENANT_ID"], client_id, secret, authority=env["AZURE_AUTHORITY_HOST"], disable_instance_discovery=True
    )


class Admin:
    """The platform's own operations, as the program for development."""

    def __init__(self, env):
        self.env = env
        self.credential = credential_of(env, env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"])

    def call(self, method, path, body=None, status=None):
        token = self.credential.get_token(f"{MANAGEMENT}/.default").token
        answer = requests.request(
            method, f"{self.env['GANTRY_URL']}/platform/v1{path}", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status if status else answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def program(self, *roles, scope=None):
        made = self.call("POST", "/directory/servicePrincipals", {"displayName": "a test"})
        secret = self.call("POST", f"/directory/servicePrincipals/{made['appId']}/secrets", {"displayName": "one"})
        program = Program(self, made, secret)
        for role in roles:
            program.give(role, scope)
        return program


class Program:
    """A service principal with a secret."""

    def __init__(self, admin, made, secret):
        self.admin, self.id, self.object_id, self.secret = admin, made["appId"], made["objectId"], secret["secret"]
        self.key_id = secret["keyId"]
        self.given = {}

    def give(self, role, scope=None):
        body = {"principalId": self.object_id, "role": role, **({"scope": scope} if scope else {})}
        self.given[role] = self.admin.call("POST", "/directory/roleAssignments", body, 201)["id"]

    def take(self, role):
        self.admin.call("DELETE", f"/directory/roleAssignments/{self.given.pop(role)}", status=204)

    @property
    def credential(self):
        return credential_of(self.admin.env, self.id, self.secret)

    def token(self, resource):
        return self.credential.get_token(f"{resource}/.default").token


@pytest.fixture(scope="module")
def admin(place):
    return Admin(place.env)


@pytest.fixture(scope="module")
def owner(place):
    """The registry as the program for development reaches it."""
    env = place.env
    credential = credential_of(env, env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"])
    return IoTHubRegistryManager.from_token_credential(env["IOTHUB_HOSTNAME"], credential)


@pytest.fixture
def thing(owner, place):
    """A device of its own: its id and connection string."""
    name = f"d-{uuid.uuid4().hex[:10]}"
    key = owner.create_device_with_sas(name, "", "", "enabled").authentication.symmetric_key.primary_key
    yield name, f"HostName={place.env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}"
    owner.delete_device(name)


def refused(call, status=None):
    """The error of a call that must fail, with its status when that is told."""
    with pytest.raises(Exception) as caught:
        call()
    error = caught.value
    found = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    assert status is None or found == status, f"{found}: {error!r}"
    return error


def get(env, path, token, status, method="GET", **options):
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    answer = requests.request(method, env["GANTRY_URL"] + path, headers=headers, **options)
    assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
    return answer


def test_clients_find_the_directory_and_its_keys(place):
    env = place.env
    home = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}"
    found = requests.get(f"{home}/v2.0/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"{home}/oauth2/v2.0/token" and found["issuer"] == f"{home}/v2.0"
    keys = requests.get(found["jwks_uri"]).json()["keys"]
    assert keys and all(set(key) <= {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in keys)
    instance = requests.get(f"{env['AZURE_AUTHORITY_HOST']}/common/discovery/instance?api-version=1.1").json()
    assert instance["tenant_discovery_endpoint"].startswith(home)
    # The library behind azure-identity, on its own, and what it gets, verified as any resource server does.
    application = msal.ConfidentialClientApplication(
        env["AZURE_CLIENT_ID"], client_credential=env["AZURE_CLIENT_SECRET"], authority=home, instance_discovery=False
    )
    got = application.acquire_token_for_client([f"{HUB}/.default"])
    key = jwt.PyJWKSet.from_dict({"keys": keys})[jwt.get_unverified_header(got["access_token"])["kid"]]
    claims = jwt.decode(got["access_token"], key, algorithms=["ES256"], audience=HUB)
    assert claims["tid"] == env["AZURE_TENANT_ID"] and claims["appid"] == env["AZURE_CLIENT_ID"]
    other = requests.get(f"{env['AZURE_AUTHORITY_HOST']}/{uuid.uuid4()}/v2.0/.well-known/openid-configuration")
    assert other.status_code == 400 and other.json()["error_codes"] == [90002]


def test_the_token_endpoint_refuses_in_the_shape_clients_know(place, admin):
    env, program = place.env, admin.program()
    url = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials", "client_id": program.id, "client_secret": program.secret, "scope": f"{HUB}/.default"
    }

    def ask(status, error, number, auth=None, **changes):
        body = {name: value for name, value in {**form, **changes}.items() if value is not None}
        answer = requests.post(url, data=body, auth=auth)
        told = answer.json()
        assert (answer.status_code, told.get("error"), told.get("error_codes")) == (status, error, number), told
        assert answer.headers["Cache-Control"] == "no-store" and program.secret not in answer.text
        return told

    assert requests.post(url, data=form).json()["token_type"] == "Bearer"
    basic = requests.post(
        url, data={"grant_type": "client_credentials", "scope": f"{HUB}/.default"}, auth=(program.id, program.secret)
    )
    assert basic.status_code == 200, basic.text
    ask(400, "unsupported_grant_type", [70003], grant_type="password")
    ask(400, "invalid_scope", [70011], scope="openid")
    ask(400, "invalid_resource", [500011], scope="https://graph.microsoft.com/.default")
    ask(400, "invalid_request", [900144], client_secret=None)
    assert ask(401, "invalid_client", [7000215], client_secret="guess")["error_description"].startswith("AADSTS7000215")
    ask(400, "unauthorized_client", [700016], client_id=str(uuid.uuid4()))
    error = refused(lambda: credential_of(env, program.id, "guess").get_token(f"{HUB}/.default"))
    assert isinstance(error, ClientAuthenticationError) and "AADSTS7000215" in str(error)
    # A secret that was removed is none.
    admin.call("DELETE", f"/directory/servicePrincipals/{program.id}/secrets/{program.key_id}", status=204)
    ask(401, "invalid_client", [7000215])
    events = admin.call("GET", "/security")["events"]
    assert any(one["operation"] == "token endpoint" and one["claimed"] == program.id for one in events)


def test_guessing_a_secret_is_made_slow(place, admin):
    env, program = place.env, admin.program()
    url = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    form = {"grant_type": "client_credentials", "client_id": program.id, "scope": f"{HUB}/.default"}
    answers = [requests.post(url, data={**form, "client_secret": f"guess-{n}"}) for n in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) > 0 and answers[-1].json()["error_codes"] == [50053]
    assert requests.post(url, data={**form, "client_secret": program.secret}).status_code == 429
    assert admin.program().token(HUB), "others are not kept out"


def test_signatures_are_refused_where_they_are_switched_off(place):
    env = place.env
    registry = IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    if place.is_alone:
        refused(lambda: registry.get_devices(1), 401)
        refused(lambda: registry.send_c2d_message("d", "x"))
        assert requests.get(env["GANTRY_URL"] + "/platform/v1/fleet", headers={"Authorization": env["KUSTO_TOKEN"]}).status_code == 401
    else:
        assert registry.get_devices(1) is not None


def test_the_registry_opens_to_a_role_until_it_is_taken_away(place, admin, thing):
    name, _ = thing
    program = admin.program()
    registry = IoTHubRegistryManager.from_token_credential(place.env["IOTHUB_HOSTNAME"], program.credential)
    assert "no assigned permissions" in refused(lambda: registry.get_device(name), 403).response.text
    program.give("IoT Hub Data Reader")
    assert registry.get_device(name).device_id == name and registry.get_twin(name).device_id == name
    refused(lambda: registry.update_twin(name, Twin(tags={"site": "lyon"}), "*"), 403)
    refused(lambda: registry.delete_device(name), 403)
    program.give("IoT Hub Twin Contributor")
    assert registry.update_twin(name, Twin(tags={"site": "lyon"}), "*").tags == {"site": "lyon"}
    refused(lambda: registry.create_device_with_sas("other", "", "", "enabled"), 403)
    # A bulk call is more than a role for twins allows.
    from azure.iot.hub.models import ExportImportDevice

    refused(lambda: registry.bulk_create_or_update_devices([ExportImportDevice(id="other")]), 403)
    program.take("IoT Hub Twin Contributor")
    refused(lambda: registry.update_twin(name, Twin(tags={"site": "paris"}), "*"), 403)
    program.take("IoT Hub Data Reader")
    refused(lambda: registry.get_device(name), 403)
    program.give("IoT Hub Data Contributor", "/subscriptions/11111111-1111-4111-8111-111111111111")
    refused(lambda: registry.get_device(name), 403)
    program.give("IoT Hub Registry Contributor")
    assert registry.get_device(name).device_id == name
    # Entries of a bulk call write twins, too.
    refused(lambda: registry.bulk_create_or_update_devices([ExportImportDevice(id=name, import_mode="updateTwin")]), 403)
    admin.call("PATCH", f"/directory/servicePrincipals/{program.id}", {"enabled": False})
    refused(lambda: registry.get_device(name), 401)


def test_cloud_to_device_messages_are_sent_with_a_role(place, admin, thing):
    name, connection_string = thing
    sender = admin.program("IoT Hub Data Contributor")
    manager = IoTHubRegistryManager.from_token_credential(place.env["IOTHUB_HOSTNAME"], sender.credential)
    manager.send_c2d_message(name, "by a program", properties={"messageId": "m1"})
    device = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=Path(place.env["GANTRY_CA_FILE"]).read_text()
    )
    got = []
    device.on_message_received = got.append
    device.connect()
    assert wait_for(lambda: got)[0].data == b"by a program"
    device.shutdown()
    reader = admin.program("IoT Hub Data Reader")
    manager = IoTHubRegistryManager.from_token_credential(place.env["IOTHUB_HOSTNAME"], reader.credential)
    refused(lambda: manager.send_c2d_message(name, "no"))


def consumer(env, credential, group="$Default", **options):
    return EventHubConsumerClient(
        env["IOTHUB_HOSTNAME"], "line-5", group, credential, connection_verify=env["GANTRY_CA_FILE"],
        retry_total=0, **options,
    )


class Reading:
    """Events as they come, and the error that ends it."""

    def __init__(self, client):
        self.client, self.bodies, self.errors = client, [], []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        self.client.receive_batch(
            on_event_batch=lambda _, events: self.bodies.extend(event.body_as_str() for event in events),
            on_error=lambda _, error: self.errors.append(error),
            max_wait_time=0.2,
            starting_position="-1",
        )

    def close(self):
        self.client.close()
        self.thread.join(PATIENCE)


def send(connection_string, env, *bodies):
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=Path(env["GANTRY_CA_FILE"]).read_text()
    )
    for body in bodies:
        client.send_message(Message(body))
    client.shutdown()


def test_the_event_stream_is_read_with_a_role(place, admin, thing):
    env, (_, connection_string) = place.env, thing
    body = f"read-{uuid.uuid4()}"
    send(connection_string, env, body)
    program = admin.program()
    with consumer(env, program.credential) as client:
        refused(client.get_eventhub_properties)
    program.give("IoT Hub Data Contributor")
    with consumer(env, program.credential) as client:
        refused(client.get_eventhub_properties)
    program.give("Azure Event Hubs Data Receiver")
    reading = Reading(consumer(env, program.credential))
    wait_for(lambda: body in reading.bodies)
    assert not reading.errors
    # The role goes, and with it the links that are there.
    program.take("Azure Event Hubs Data Receiver")
    wait_for(lambda: reading.errors)
    reading.close()
    with consumer(env, program.credential) as client:
        refused(client.get_eventhub_properties)
    sender = admin.program("Azure Event Hubs Data Sender")
    producer = EventHubProducerClient(
        env["IOTHUB_HOSTNAME"], "line-5", sender.credential, connection_verify=env["GANTRY_CA_FILE"], retry_total=0
    )
    with producer:
        assert producer.get_eventhub_properties()["partition_ids"] == ["0", "1"]
        # Nobody publishes to the hub's stream, whatever they bring.
        refused(lambda: producer.send_batch([EventData("x")]))
    reading = Reading(consumer(env, sender.credential))
    wait_for(lambda: reading.errors)
    reading.close()


class Minted:
    """A credential whose tokens are those of the directory elsewhere, short ones; none any more once it is told to stop."""

    def __init__(self, elsewhere, resource, life):
        self.elsewhere, self.resource, self.life, self.count, self.stopped = elsewhere, resource, life, 0, False

    def get_token(self, *_, **__):
        if self.stopped:
            raise ClientAuthenticationError("no more tokens")
        self.count += 1
        return AccessToken(self.elsewhere.token(self.resource, self.life), int(time.time()) + self.life)


def test_a_link_lives_with_tokens_that_are_renewed_and_ends_with_the_last(place, admin, elsewhere, thing):
    env, (_, connection_string) = place.env, thing
    their_id = "0b0b0b0b-0000-4000-8000-000000000001"
    body = {"principalId": their_id, "tenantId": TENANT, "role": "Azure Event Hubs Data Receiver"}
    given = admin.call("POST", "/directory/roleAssignments", body)
    # The client asks for the next token when a tenth of the life is left.
    credential = Minted(elsewhere, STREAM, 20)
    reading, begun = Reading(consumer(env, credential)), time.monotonic()
    wait_for(lambda: time.monotonic() > begun + 22 and credential.count >= 4)
    assert not reading.errors
    marker = f"renewed-{uuid.uuid4()}"
    send(connection_string, env, marker)
    wait_for(lambda: marker in reading.bodies)
    credential.stopped = True
    wait_for(lambda: reading.errors)
    reading.close()
    admin.call("DELETE", f"/directory/roleAssignments/{given['id']}", status=204)


def test_blobs_open_to_roles(place, admin):
    env = place.env
    account = re.search(r"BlobEndpoint=([^;]+)", env["AZURE_STORAGE_CONNECTION_STRING"])[1].rstrip("/")
    contributor = BlobServiceClient(account, admin.program("Storage Blob Data Contributor").credential)
    container = contributor.create_container(f"c-{uuid.uuid4().hex[:12]}")
    container.upload_blob("a", b"content", overwrite=True)
    reader_program = admin.program("Storage Blob Data Reader")
    reader = BlobServiceClient(account, reader_program.credential)
    theirs = reader.get_container_client(container.container_name)
    assert theirs.download_blob("a").readall() == b"content" and [blob.name for blob in theirs.list_blobs()] == ["a"]
    assert container.container_name in [one.name for one in reader.list_containers()]
    for call in (
        lambda: theirs.upload_blob("a", b"x", overwrite=True),
        lambda: theirs.delete_blob("a"),
        lambda: theirs.delete_container(),
        lambda: reader.create_container("other"),
        lambda: theirs.delete_blobs("a"),
    ):
        refused(call, None)
    error = refused(lambda: theirs.upload_blob("b", b"x"), 403)
    assert error.error_code == "AuthorizationPermissionMismatch"
    reader_program.take("Storage Blob Data Reader")
    refused(lambda: theirs.download_blob("a"), 403)
    # At one container, and there alone.
    subscription = env["MANAGEMENT_SUBSCRIPTION"]
    name = account.rsplit("/", 1)[1]
    scope = (
        f"/subscriptions/{subscription}/resourceGroups/{env['MANAGEMENT_RESOURCE_GROUP']}/providers/Microsoft.Storage"
        f"/storageAccounts/{name}/blobServices/default/containers/{container.container_name}"
    )
    reader_program.give("Storage Blob Data Reader", scope)
    assert theirs.download_blob("a").readall() == b"content"
    refused(lambda: reader.get_container_client("uploads").get_container_properties(), 403)
    container.delete_blobs("a")
    assert [blob.name for blob in container.list_blobs()] == []
    container.delete_container()
    # Clients that come without a token are told where to get one; versions before 2017-11-09 take none.
    challenge = requests.get(f"{account}/nothing/b", headers={"x-ms-version": "2021-12-02"})
    assert challenge.status_code == 401
    expected = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/authorize"
    assert f"authorization_uri={expected}" in challenge.headers["WWW-Authenticate"]
    token = admin.program("Storage Blob Data Owner").token(STORAGE)
    for version, status in (("2017-07-29", 400), ("2017-11-09", 404)):
        answer = requests.get(f"{account}/nothing/b", headers={"x-ms-version": version, "Authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text


def test_tables_open_to_roles(place, admin):
    env = place.env
    metadata = requests.get(env["KUSTO_URL"] + "/v1/rest/auth/metadata").json()["AzureAD"]
    assert metadata["LoginEndpoint"] == env["AZURE_AUTHORITY_HOST"]
    program = admin.program()

    def ask(text):
        builder = KustoConnectionStringBuilder.with_azure_token_credential(env["KUSTO_URL"], program.credential)
        with KustoClient(builder) as client:
            execute = client.execute_mgmt if text.startswith(".") else client.execute_query
            return [row.to_list() for row in execute(env["KUSTO_DATABASE"], text).primary_results[0]]

    refused(lambda: ask("print 1"))
    program.give("AllDatabasesViewer")
    assert ask("print 1") == [[1]]
    assert ask("print current_principal()") == [[f"aadapp={program.id};{env['AZURE_TENANT_ID']}"]]
    refused(lambda: ask(".create table Measured (n: long)"))
    program.give("AllDatabasesAdmin")
    ask(".create table Measured (n: long)")
    ask(".drop table Measured")
    # The same tables for clients of OData and PostgreSQL.
    get(env, "/odata/", program.token(KUSTO), 200)
    import adbc_driver_flightsql.dbapi
    import psycopg

    from adbc_driver_flightsql import DatabaseOptions

    def flight(**who):
        options = {DatabaseOptions.TLS_ROOT_CERTS.value: Path(env["GANTRY_CA_FILE"]).read_text(), **who}
        options[f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}x-query-language"] = "kql"
        connecting = adbc_driver_flightsql.dbapi.connect(env["FLIGHTSQL_URL"], db_kwargs=options, autocommit=True)
        with connecting as connection, connection.cursor() as cursor:
            cursor.execute("print n = 1")
            return cursor.fetchall()

    header = DatabaseOptions.AUTHORIZATION_HEADER.value
    assert flight(**{header: f"Bearer {program.token(KUSTO)}"}) == [(1,)]
    assert flight(username="anybody", password=program.token(KUSTO)) == [(1,)]
    refused(lambda: flight(**{header: f"Bearer {program.token(HUB)}"}))

    def connect(password):
        return psycopg.connect(
            host="127.0.0.5", port=int(re.search(r":(\d+)/", env["POSTGRES_URL"])[1]), user="anybody", password=password,
            dbname=env["KUSTO_DATABASE"], sslmode="verify-full", sslrootcert=env["GANTRY_CA_FILE"],
        )

    with connect(program.token(KUSTO)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.commit()
        program.take("AllDatabasesViewer")
        program.take("AllDatabasesAdmin")
        refused(lambda: connection.execute("SELECT 1"))
    refused(lambda: connect(program.token(KUSTO)))
    refused(lambda: connect(program.token(HUB)))
    refused(lambda: ask("print 1"))
    get(env, "/odata/", program.token(KUSTO), 403)


def test_provisioning_opens_to_roles(place, admin):
    env, version = place.env, "?api-version=2021-10-01"
    program = admin.program("Device Provisioning Service Data Reader")
    token, name = program.token(DPS), f"e-{uuid.uuid4().hex[:8]}"
    body = {"registrationId": name, "attestation": {"type": "symmetricKey"}}
    denied = get(env, f"/enrollments/{name}{version}", token, 403, "PUT", json=body)
    assert denied.json()["errorCode"] == 403002
    query = {"json": {"query": "SELECT * FROM enrollments"}}
    get(env, f"/enrollments/query{version}", token, 200, "POST", **query)
    program.give("Device Provisioning Service Data Contributor")
    get(env, f"/enrollments/{name}{version}", token, 200, "PUT", json=body)
    get(env, f"/enrollments/{name}/attestationmechanism{version}", token, 200, "POST")
    get(env, f"/enrollments/{name}{version}", token, 204, "DELETE")
    for role in list(program.given):
        program.take(role)
    get(env, f"/enrollments/query{version}", token, 403, "POST", **query)
    assert get(env, f"/enrollments/query{version}", program.token(HUB), 401, "POST", **query).json()["errorCode"] == 401002


def test_the_application_knows_its_users(place, admin):
    env, version = place.env, "?api-version=2022-07-31"
    program = admin.program()
    token = program.token(CENTRAL)
    assert get(env, f"/api/devices{version}", token, 403).json()["error"]["code"] == "Forbidden"
    headers = {"Authorization": env["IOTCENTRAL_API_TOKEN"]}

    def user(name, body):
        url = f"{env['GANTRY_URL']}/api/users/{name}-{program.id[:8]}{version}"
        made = requests.put(url, json=body, headers=headers)
        assert made.ok, made.text
        return url

    # An application has an administrator before it has anybody else; a name in a token is not theirs.
    administrator, operator = "ca310b8d-2f4a-44e0-a36e-957c202cd8d4", "ae2c9854-393b-4f97-8c42-479d70ce626e"
    user("boss", {"type": "email", "email": "a@test.example", "roles": [{"role": administrator}]})
    get(env, f"/api/devices{version}", token, 403)
    identity = {"type": "servicePrincipal", "tenantId": env["AZURE_TENANT_ID"], "objectId": program.object_id}
    url = user("program", {**identity, "roles": [{"role": operator}]})
    get(env, f"/api/devices{version}", token, 200)
    get(env, f"/api/users{version}", token, 403)
    get(env, f"/api/devices{version}", program.token(HUB), 401)
    assert requests.delete(url, headers=headers).ok
    get(env, f"/api/devices{version}", token, 403)


def test_the_control_plane_opens_to_the_roles_of_its_resource_group(place, admin):
    env, program = place.env, admin.program()
    token = program.token(MANAGEMENT)
    get(env, "/platform/v1/fleet", token, 403)
    program.give("Reader")
    get(env, "/platform/v1/fleet", token, 200)
    get(env, "/platform/v1/policies", token, 403)
    get(env, "/platform/v1/routing", token, 403)
    program.give("Contributor")
    get(env, "/platform/v1/routing", token, 200)
    # With the owner's key they could make themselves owner.
    get(env, "/platform/v1/policies", token, 403)
    # Who may do everything else may not say who may do what: not for themselves, and not by making another program.
    for method, path, body in (
        ("GET", "/directory/servicePrincipals", None),
        ("POST", "/directory/servicePrincipals", {"displayName": "mine"}),
        ("POST", f"/directory/servicePrincipals/{env['AZURE_CLIENT_ID']}/secrets", {}),
        ("POST", "/directory/roleAssignments", {"principalId": program.object_id, "role": "Owner"}),
    ):
        get(env, f"/platform/v1{path}", token, 403, method, json=body)
    hub = f"/subscriptions/{env['MANAGEMENT_SUBSCRIPTION']}/resourceGroups/{env['MANAGEMENT_RESOURCE_GROUP']}"
    hub = f"{hub}/providers/Microsoft.Devices/IotHubs/line-5?api-version=2023-06-30"
    get(env, hub, token, 200)
    program.take("Contributor")
    program.take("Reader")
    get(env, hub, token, 403)
    get(env, hub, program.token(HUB), 401)


HEADS = [
    ("/devices?api-version=2021-04-12", HUB, {}),
    ("/registrations/x?api-version=2021-10-01", DPS, {}),
    ("/v1/rest/query?db=telemetry&csl=print+1", KUSTO, {}),
    ("/odata/", KUSTO, {}),
    ("/api/devices?api-version=2022-07-31", CENTRAL, {}),
    ("/platform/v1/fleet", MANAGEMENT, {}),
    ("/{account}/nothing?restype=container", STORAGE, {"x-ms-version": "2021-12-02"}),
]


def test_tokens_that_are_no_good_are_refused_everywhere(place, admin, elsewhere):
    env = place.env
    account = re.search(r"AccountName=([^;]+)", env["AZURE_STORAGE_CONNECTION_STRING"])[1]
    owner = credential_of(env, env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"])
    home = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}"
    key_set = requests.get(f"{home}/discovery/v2.0/keys").json()
    public = jwt.PyJWKSet.from_dict(key_set).keys[0].key
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for path, resource, headers in HEADS:
        path = path.format(account=account)
        good = owner.get_token(f"{resource}/.default").token
        if "apps.azureiotcentral" not in resource:
            assert get_status(env, path, good, headers) not in (401, 403), path
        head, claims = jwt.get_unverified_header(good), jwt.decode(good, options={"verify_signature": False})
        kid = {"kid": head["kid"]}
        stranger = ec.generate_private_key(ec.SECP256R1())
        body = good.rsplit(".", 1)[0]
        b64 = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=").decode()
        none = b64(json.dumps({**head, "alg": "none"}).encode()) + "." + body.split(".")[1]
        hs = b64(json.dumps({**head, "alg": "HS256"}).encode()) + "." + body.split(".")[1]
        as_secret = b64(hmac.new(pem, hs.encode(), hashlib.sha256).digest())
        other_audience = HUB if resource != HUB else DPS
        wrong = {
            "forged": jwt.encode(claims, stranger, algorithm="ES256", headers=kid),
            "changed": body + "." + b64(b"x" * 64),
            "no algorithm": none + ".",
            "the public key as a secret": f"{hs}.{as_secret}",
            "for another head": owner.get_token(f"{other_audience}/.default").token,
            "expired": elsewhere.token(resource, life=-120),
            "not yet": elsewhere.token(resource, nbf=int(time.time()) + 600, life=900),
            "of a tenant that is not its issuer's": elsewhere.token(resource, tid=env["AZURE_TENANT_ID"]),
            "of an issuer nobody trusts": elsewhere.token(resource, iss="https://login.evil.example/"),
            "of an issuer that is ours, with their key": elsewhere.token(resource, iss=claims["iss"], headers=kid),
            "nothing": "x",
        }
        for what, token in wrong.items():
            assert get_status(env, path, token, headers) == 401, f"{path}: {what}"
        # Good, of somebody without a role, who writes the object id of ours into their token.
        theirs = elsewhere.token(resource, object_id=claims["oid"])
        assert get_status(env, path, theirs, headers) == 403, path
    events = admin.call("GET", "/security")["events"]
    for operation in ("https service", "https dps service", "https blob", "https platform", "https application"):
        assert any(one["operation"] == operation for one in events), operation
    assert "eyJ" not in json.dumps(events)


def get_status(env, path, token, headers):
    return requests.get(env["GANTRY_URL"] + path, headers={**headers, "Authorization": f"Bearer {token}"}).status_code


def test_the_command_line_manages_the_directory(place, admin):
    def gantry(*words):
        command = [binary(), "--data", str(place.folder / "data"), "--config", str(place.config), "--json", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert gantry("directory", "show")["tenantId"] == place.env["AZURE_TENANT_ID"]
    made = gantry("directory", "principal", "create", "by hand")
    given = gantry("directory", "role", "assign", made["appId"], "IoT Hub Data Reader")
    credential = credential_of(place.env, made["appId"], made["secret"])
    registry = IoTHubRegistryManager.from_token_credential(place.env["IOTHUB_HOSTNAME"], credential)
    assert registry.get_devices(1) is not None
    assert any(one["id"] == given["id"] for one in gantry("directory", "role", "list"))
    second = gantry("directory", "secret", "add", made["appId"], "--days", "1")
    assert credential_of(place.env, made["appId"], second["secret"]).get_token(f"{HUB}/.default")
    gantry("directory", "secret", "remove", made["appId"], second["keyId"])
    gantry("directory", "role", "remove", given["id"])
    refused(lambda: registry.get_devices(1), 403)
    assert made["secret"] not in json.dumps(gantry("directory", "principal", "list"))
    assert gantry("directory", "key", "list")[0]["id"]
    gantry("directory", "principal", "disable", made["appId"])
    gantry("directory", "principal", "delete", made["objectId"])
    refused(lambda: credential_of(place.env, made["appId"], made["secret"]).get_token(f"{HUB}/.default"))
    # Everything else works too, whatever is switched off: it comes with the program of connection.env.
    gantry("device", "create", "by-hand")
    gantry("device", "delete", "by-hand")
    gantry("enrollment", "list")


def test_nothing_is_taken_that_is_not_understood(admin):
    made = admin.call("POST", "/directory/servicePrincipals", {"displayName": "odd"}, 201)
    path = f"/directory/servicePrincipals/{made['objectId']}"
    for method, where, body, status in (
        ("POST", "/directory/servicePrincipals", {}, 400),
        ("POST", "/directory/servicePrincipals", {"displayName": ""}, 400),
        ("POST", "/directory/servicePrincipals", {"displayName": "x" * 257}, 400),
        ("POST", "/directory/servicePrincipals", {"displayName": "x", "roles": ["Owner"]}, 400),
        ("GET", f"/directory/servicePrincipals/{uuid.uuid4()}", None, 404),
        ("POST", f"{path}/secrets", {"days": 731}, 409),
        ("POST", f"{path}/secrets", {"days": 0}, 409),
        ("DELETE", f"{path}/secrets/{uuid.uuid4()}", None, 404),
        ("POST", "/directory/roleAssignments", {"principalId": made["objectId"], "role": "Janitor"}, 400),
        ("POST", "/directory/roleAssignments", {"principalId": str(uuid.uuid4()), "role": "Owner"}, 404),
        ("POST", "/directory/roleAssignments", {"principalId": made["objectId"], "role": "Owner", "scope": "x"}, 400),
        (
            "POST", "/directory/roleAssignments",
            {"principalId": made["objectId"], "role": "Owner", "tenantId": str(uuid.uuid4())}, 400,
        ),
        ("DELETE", f"/directory/roleAssignments/{uuid.uuid4()}", None, 404),
    ):
        admin.call(method, where, body, status)
    given = {"principalId": made["appId"], "role": "Reader"}
    admin.call("POST", "/directory/roleAssignments", given, 201)
    admin.call("POST", "/directory/roleAssignments", given, 409)
    admin.call("DELETE", path, status=204)
    assert made["objectId"] not in json.dumps(admin.call("GET", "/directory/roleAssignments"))


DOCUMENT = (Path(__file__).parents[3] / "docs/directory.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.S | re.M)


@pytest.mark.parametrize("language, text", BLOCKS, ids=[f"{language}-{n}" for n, (language, _) in enumerate(BLOCKS)])
def test_every_block_of_the_document_runs_as_printed(language, text, place, admin, tmp_path):
    if language == "toml":
        section = tomllib.loads(text)["directory"]
        assert section["enabled"] and set(section) <= {"enabled", "development_principal", "issuers"}
        (tmp_path / "gantry.toml").write_text(text)
        # Read and checked whole before anything is asked; without a platform it goes no further.
        command = [binary(), "--data", str(tmp_path), "--config", str(tmp_path / "gantry.toml"), "alerts"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "connection.env" in done.stderr, done.stderr
        return
    if language == "python":
        command = [sys.executable, "-c", text]
    else:
        (tmp_path / "gantry").write_text(
            f'#!/bin/sh\nexec {binary()} --data {place.folder / "data"} --config {place.config} "$@"\n'
        )
        (tmp_path / "gantry").chmod(0o755)
        command = ["bash", "-euc", text]
    environment = {**os.environ, **place.env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if "CLIENT_ID" in text:
        environment["CLIENT_ID"] = admin.program().id
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and done.stdout, f"{done.stdout}{done.stderr}"
    if text.startswith("curl"):
        assert json.loads(done.stdout)["token_type"] == "Bearer"


def test_everything_is_there_after_a_start(place, admin):
    program = admin.program("IoT Hub Data Reader")
    token = program.token(HUB)
    place.stop()
    before = dict(place.env)
    place.start()
    same = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST")
    assert all(place.env[name] == before[name] for name in same)
    get(place.env, "/devices?api-version=2021-04-12", token, 200)
    assert program.token(HUB)
    mode = (place.folder / "data/connection.env").stat().st_mode & 0o777
    assert mode == 0o600
