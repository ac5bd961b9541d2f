"""The control plane, by azure-mgmt-iothub, azure-mgmt-iothubprovisioningservices and azure-mgmt-iotcentral as published.

Only the base URL and the credential differ from a program that manages Azure.
"""

import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest
import requests
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError,
)
from azure.eventhub import EventHubConsumerClient
from azure.mgmt.iotcentral import IotCentralClient
from azure.mgmt.iotcentral.models import AppPatch, OperationInputs as AppName
from azure.mgmt.iothub import IotHubClient
from azure.mgmt.iothub.models import (
    CertificateDescription, CertificateProperties, CertificateVerificationDescription,
    EventHubConsumerGroupBodyDescription, EventHubConsumerGroupName, ExportDevicesRequest, FailoverInput,
    FallbackRouteProperties, IotHubDescription, IotHubSkuInfo, OperationInputs, RouteProperties,
    RoutingEventHubProperties, RoutingMessage, TagsResource, TestAllRoutesInput, TestRouteInput,
)
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from azure.mgmt.iothubprovisioningservices import models as dps_models
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from conftest import wait_for
from test_x509 import Signer


class Credential:
    """Gives the token it was given."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, int(time.time()) + 3600)


def client_of(kind, env, token=None, **options):
    credential = Credential(token or env["MANAGEMENT_TOKEN"])
    return kind(credential, env["MANAGEMENT_SUBSCRIPTION"], base_url=env["MANAGEMENT_URL"], **options)


@pytest.fixture(scope="module")
def group(env):
    return env["MANAGEMENT_RESOURCE_GROUP"]


@pytest.fixture(scope="module")
def hubs(env):
    with client_of(IotHubClient, env) as client:
        yield client


@pytest.fixture(scope="module")
def services(env):
    with client_of(IotDpsClient, env) as client:
        yield client


@pytest.fixture(scope="module")
def apps(env):
    with client_of(IotCentralClient, env) as client:
        yield client


@pytest.fixture(scope="module")
def name(hubs):
    return next(iter(hubs.iot_hub_resource.list_by_subscription())).name


@pytest.fixture
def as_it_was(hubs, group, name):
    """Routing and tags, put back at the end."""
    before = hubs.iot_hub_resource.get(group, name)
    yield before
    before.etag = None
    hubs.iot_hub_resource.begin_create_or_update(group, name, before).result()


def refusal(code, status, call, *arguments, **options):
    with pytest.raises(HttpResponseError) as caught:
        call(*arguments, **options)
    error = caught.value
    assert (error.status_code, error.error.code) == (status, code), error
    return error.error.message


def test_a_hub_shows_what_it_is(hubs, group, name, env):
    found = hubs.iot_hub_resource.get(group, name)
    assert found.id.endswith(f"/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}")
    properties = found.properties
    assert (properties.host_name, properties.state) == (env["IOTHUB_HOSTNAME"], "Active")
    events = properties.event_hub_endpoints["events"]
    assert (events.path, events.partition_count, len(events.partition_ids)) == (name, 8, 8)
    assert {rule.key_name for rule in properties.authorization_policies} >= {"iothubowner", "service", "device"}
    assert all(rule.primary_key is None for rule in properties.authorization_policies)
    assert properties.cloud_to_device.default_ttl_as_iso8601 == timedelta(hours=1)
    assert [one.name for one in hubs.iot_hub_resource.list_by_resource_group(group)] == [name]
    # Names are without case.
    assert hubs.iot_hub_resource.get(group.upper(), name.upper()).id == found.id


def test_what_is_not_there_is_named(hubs, group, name, env):
    get = hubs.iot_hub_resource.get
    assert "another-hub" in refusal("ResourceNotFound", 404, get, group, "another-hub")
    refusal("ResourceGroupNotFound", 404, get, "other", name)
    with IotHubClient(Credential(env["MANAGEMENT_TOKEN"]), str(uuid.uuid4()), base_url=env["MANAGEMENT_URL"]) as other:
        refusal("SubscriptionNotFound", 404, other.iot_hub_resource.get, group, name)


def test_versions_are_asked_for(env, group, name):
    address = f"{env['MANAGEMENT_URL']}/subscriptions/{env['MANAGEMENT_SUBSCRIPTION']}/providers/Microsoft.Devices/IotHubs"
    headers = {"Authorization": f"Bearer {env['MANAGEMENT_TOKEN']}"}
    for query, code in [("", "Missing"), ("?api-version=", "Missing"), ("?api-version=2099-01-01", "Invalid")]:
        answer = requests.get(address + query, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, f"{code}ApiVersionParameter"), query
    for version in ["2019-03-22", "2019-07-01-preview", "2023-06-30", "2023-06-30-preview"]:
        with client_of(IotHubClient, env, api_version=version) as client:
            assert client.iot_hub_resource.get(group, name).name == name


def test_who_may(env, group, name, hubs):
    with client_of(IotHubClient, env, token="nonsense") as nobody:
        with pytest.raises(ClientAuthenticationError):
            nobody.iot_hub_resource.get_stats(group, name)
    # The policy `service` operates; it sees no keys and changes nothing.
    with client_of(IotHubClient, env, token=env["KUSTO_TOKEN"]) as operator:
        assert operator.iot_hub_resource.get_stats(group, name).total_device_count >= 0
        refusal("AuthorizationFailed", 403, list, operator.iot_hub_resource.list_keys(group, name))
        refusal("AuthorizationFailed", 403, operator.certificates.list_by_iot_hub, group, name)


OPERATOR = {
    "DevicesRead", "DevicesOperate", "AlertsRead", "AlertsManage", "RulesRead", "RulesManage", "SecurityRead",
    "RoutingRead", "DashboardsManage",
}
"""What the policy `service` may."""


def test_every_operation_asks_who_calls_and_for_its_version(env, group, name):
    document = requests.get(f"{env['GANTRY_URL']}/platform/v1/openapi.json").json()
    pieces = {"subscriptionId": env["MANAGEMENT_SUBSCRIPTION"], "resourceGroupName": group, "resourceName": name}
    seen = refused = 0
    for path, methods in document["paths"].items():
        for method, row in methods.items():
            if row["tags"] != ["Management"]:
                continue
            seen += 1
            named = {one["name"]: "x" for one in row["parameters"] if one["in"] == "path"} | pieces
            address = env["MANAGEMENT_URL"] + path.format(**named)
            provider = "2021-06-01" if "IoTCentral" in path else "2022-12-12" if "rovisioningService" in path else "2023-06-30"

            def status(token, version=provider):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                answer = requests.request(method, address, headers=headers, params={"api-version": version}, json={})
                return answer.status_code, answer.json()["error"]["code"]

            assert status(None) == (401, "AuthenticationFailed"), row["operationId"]
            assert status("nonsense") == (401, "AuthenticationFailed"), row["operationId"]
            assert status(env["MANAGEMENT_TOKEN"], "2016-01-01") == (400, "InvalidApiVersionParameter"), row["operationId"]
            if not set(row["x-gantry-permissions"]) <= OPERATOR:
                refused += 1
                assert status(env["KUSTO_TOKEN"]) == (403, "AuthorizationFailed"), row["operationId"]
    assert seen > 70 and 0 < refused < seen


def test_keys_of_policies(hubs, group, name, env):
    keys = {rule.key_name: rule for rule in hubs.iot_hub_resource.list_keys(group, name)}
    assert keys["iothubowner"].primary_key in env["IOTHUB_CONNECTION_STRING"]
    assert keys["iothubowner"].rights == "RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect"
    one = hubs.iot_hub_resource.get_keys_for_key_name(group, name, "service")
    assert one.secondary_key == keys["service"].secondary_key
    refusal("NotFound", 404, hubs.iot_hub_resource.get_keys_for_key_name, group, name, "nobody")


def test_what_is_counted(hubs, group, name, registry, device):
    before = hubs.iot_hub_resource.get_stats(group, name)
    registry.create_device_with_sas("counted", "", "", "disabled")
    after = hubs.iot_hub_resource.get_stats(group, name)
    registry.delete_device("counted")
    assert after.total_device_count == before.total_device_count + 1
    assert after.disabled_device_count == before.disabled_device_count + 1
    quotas = {one.name: one for one in hubs.iot_hub_resource.get_quota_metrics(group, name)}
    assert quotas["TotalDeviceCount"].current_value >= 1
    skus = list(hubs.iot_hub_resource.get_valid_skus(group, name))
    assert [one.sku.name for one in skus] == ["S3"]
    health = {one.endpoint_id: one for one in hubs.iot_hub_resource.get_endpoint_health(group, name)}
    assert health["events"].health_status == "healthy"
    usages = list(hubs.resource_provider_common.get_subscription_quota().value)
    assert usages[0].current_value >= 1
    assert any(one.name == "Microsoft.Devices/IotHubs/read" for one in hubs.operations.list())


def test_names(hubs, services, apps, name):
    for check in [
        lambda text: hubs.iot_hub_resource.check_name_availability(OperationInputs(name=text)),
        lambda text: services.iot_dps_resource.check_provisioning_service_name_availability(
            dps_models.OperationInputs(name=text)
        ),
        lambda text: apps.apps.check_name_availability(AppName(name=text)),
        lambda text: apps.apps.check_subdomain_availability(AppName(name=text)),
    ]:
        taken, free, wrong = check(name.upper()), check("nobody-has-this"), check("a b")
        assert (taken.name_available, taken.reason) == (False, "AlreadyExists")
        assert free.name_available and (wrong.name_available, wrong.reason) == (False, "Invalid")


def test_consumer_groups_are_made_used_and_deleted(hubs, group, name, env):
    resource = hubs.iot_hub_resource
    names = [one.name for one in resource.list_event_hub_consumer_groups(group, name, "events")]
    assert names[:2] == ["$Default", "workers"]
    new = f"made-{uuid.uuid4().hex[:8]}"
    body = EventHubConsumerGroupBodyDescription(properties=EventHubConsumerGroupName(name=new))
    made = resource.create_event_hub_consumer_group(group, name, "events", new, body)
    assert made.name == new and made.type.endswith("ConsumerGroups")
    assert resource.get_event_hub_consumer_group(group, name, "events", new).id == made.id

    def partitions(consumer_group):
        stream = EventHubConsumerClient.from_connection_string(
            env["EVENTHUB_CONNECTION_STRING"], consumer_group, connection_verify=env["GANTRY_CA_FILE"], retry_total=0
        )
        seen = []
        with stream:
            stream.receive_batch(
                on_event_batch=lambda context, events: (seen.append(context.partition_id), stream.close()),
                partition_id="0", max_wait_time=1, starting_position="@latest",
                on_error=lambda context, error: (seen.append(error), stream.close()),
            )
        return seen

    assert partitions(new)[0] == "0"
    resource.delete_event_hub_consumer_group(group, name, "events", new)
    refusal("NotFound", 404, resource.get_event_hub_consumer_group, group, name, "events", new)
    refusal("NotFound", 404, resource.delete_event_hub_consumer_group, group, name, "events", new)
    refusal("Conflict", 409, resource.delete_event_hub_consumer_group, group, name, "events", "workers")
    refusal("NotFound", 404, resource.get_event_hub_consumer_group, group, name, "others", "workers")
    wrong = EventHubConsumerGroupBodyDescription(properties=EventHubConsumerGroupName(name="a b"))
    refusal("BadRequest", 400, resource.create_event_hub_consumer_group, group, name, "events", "a b", wrong)


def test_certificates_of_the_hub_are_proved(hubs, group, name, tmp_path):
    certificates = hubs.certificates
    root = Signer(tmp_path, "management root", ca=True)
    body = CertificateDescription(properties=CertificateProperties(certificate=root.file.read_text()))
    made = certificates.create_or_update(group, name, "managed", body)
    assert (made.name, made.properties.is_verified) == ("managed", False)
    assert made.properties.expiry > datetime.now(made.properties.expiry.tzinfo)
    nonce = certificates.generate_verification_code(group, name, "managed", made.etag)
    code = nonce.properties.verification_code
    refusal("PreconditionFailed", 412, certificates.generate_verification_code, group, name, "managed", made.etag)
    proof = Signer(tmp_path, code, issuer=root)
    wrong = Signer(tmp_path, "something else", issuer=root)
    for signer, is_good in [(wrong, False), (proof, True)]:
        verification = CertificateVerificationDescription(certificate=signer.file.read_text())
        if is_good:
            assert certificates.verify(group, name, "managed", nonce.etag, verification).properties.is_verified
        else:
            refusal("BadRequest", 400, certificates.verify, group, name, "managed", nonce.etag, verification)
    assert "managed" in [one.name for one in certificates.list_by_iot_hub(group, name).value]
    found = certificates.get(group, name, "managed")
    certificates.delete(group, name, "managed", found.etag)
    refusal("NotFound", 404, certificates.get, group, name, "managed")
    certificates.delete(group, name, "managed", found.etag)


def test_routing_is_read_changed_and_written_back(hubs, group, name, as_it_was):
    resource = hubs.iot_hub_resource
    hub = resource.get(group, name)
    routing = hub.properties.routing
    routing.endpoints.event_hubs = [RoutingEventHubProperties(name="managed-stream")]
    routing.routes = [
        RouteProperties(name="hot", source="DeviceMessages", condition="$body.temperature > 30",
                        endpoint_names=["managed-stream"], is_enabled=True)
    ]
    hub.tags = {"site": "north"}
    written = resource.begin_create_or_update(group, name, hub, if_match=hub.etag).result()
    assert written.etag != hub.etag and written.tags == {"site": "north"}
    assert [route.name for route in written.properties.routing.routes] == ["hot"]

    # Somebody else was quicker.
    refusal("PreconditionFailed", 412, resource.begin_create_or_update, group, name, hub, if_match=hub.etag)

    message = RoutingMessage(body='{"temperature": 31}', app_properties={}, system_properties={})
    matched = resource.test_all_routes(name, group, TestAllRoutesInput(routing_source="DeviceMessages", message=message))
    assert [one.properties.name for one in matched.routes] == ["hot"]
    cold = RouteProperties(name="cold", source="DeviceMessages", condition="$body.temperature < 0",
                           endpoint_names=["events"], is_enabled=True)
    assert resource.test_route(name, group, TestRouteInput(message=message, route=cold)).result == "false"
    cold.condition = "$body.temperature <"
    broken = resource.test_route(name, group, TestRouteInput(message=message, route=cold))
    assert broken.result == "undefined" and broken.details.compilation_errors

    # What cannot be routed is named, and nothing changes.
    written.properties.routing.routes[0].endpoint_names = ["nowhere"]
    assert "nowhere" in refusal("BadRequest", 400, resource.begin_create_or_update, group, name, written)
    assert resource.get(group, name).etag == written.etag


def test_what_an_sdk_does_not_know_is_not_lost(hubs, group, name, env, as_it_was):
    headers = {"Authorization": f"Bearer {env['MANAGEMENT_TOKEN']}"}
    address = f"{env['MANAGEMENT_URL']}{as_it_was.id}?api-version=2023-06-30"
    before = requests.get(address, headers=headers).json()
    topic = {"name": "managed-topic", "subscriptions": ["a", "b"]}
    before["properties"]["routing"]["endpoints"]["serviceBusTopics"] = [topic]
    assert requests.put(address, headers=headers, json=before).status_code == 200
    hub = hubs.iot_hub_resource.get(group, name)
    hub.tags = {"seen": "yes"}
    hubs.iot_hub_resource.begin_create_or_update(group, name, hub).result()
    after = requests.get(address, headers=headers).json()
    assert after["properties"]["routing"]["endpoints"]["serviceBusTopics"] == [topic]


@pytest.mark.parametrize("change,named", [
    (lambda hub: setattr(hub.sku, "capacity", 7), "sku.capacity"),
    (lambda hub: setattr(hub.properties, "min_tls_version", "1.0"), "properties.minTlsVersion"),
    (lambda hub: setattr(hub.properties.cloud_to_device, "max_delivery_count", 99), "properties.cloudToDevice"),
    (lambda hub: setattr(hub.properties.event_hub_endpoints["events"], "retention_time_in_days", 99), "retentionTimeInDays"),
    (lambda hub: setattr(hub.properties, "comments", "mine"), "properties.comments"),
    (lambda hub: setattr(hub.properties.authorization_policies[0], "primary_key", "AAAA"), "primaryKey"),
])
def test_what_cannot_be_changed_is_refused_by_name(hubs, group, name, change, named):
    hub = hubs.iot_hub_resource.get(group, name)
    change(hub)
    assert named in refusal("NotImplemented", 501, hubs.iot_hub_resource.begin_create_or_update, group, name, hub)


def test_tags(hubs, services, apps, group, name):
    resources = [
        (hubs.iot_hub_resource.get, lambda tags: hubs.iot_hub_resource.begin_update(group, name, TagsResource(tags=tags))),
        (lambda g, n: services.iot_dps_resource.get(n, g),
         lambda tags: services.iot_dps_resource.begin_update(group, name, dps_models.TagsResource(tags=tags))),
        (apps.apps.get, lambda tags: apps.apps.begin_update(group, name, AppPatch(tags=tags))),
    ]
    for get, update in resources:
        assert update({"a": "1", "b": "2"}).result().tags == {"a": "1", "b": "2"}
        assert get(group, name).tags == {"a": "1", "b": "2"}
        update({}).result()
        assert not get(group, name).tags


def test_what_is_not_built_says_so(hubs, services, apps, group, name):
    for call in [
        lambda: hubs.iot_hub_resource.begin_delete(group, name),
        lambda: hubs.iot_hub_resource.begin_create_or_update(
            group, "another-hub", IotHubDescription(location="local", sku=IotHubSkuInfo(name="S1", capacity=1))
        ),
        lambda: hubs.private_endpoint_connections.list(group, name),
        lambda: hubs.private_link_resources.list(group, name),
        lambda: services.iot_dps_resource.begin_delete(name, group),
        lambda: services.iot_dps_resource.list_private_endpoint_connections(group, name),
        lambda: apps.apps.begin_delete(group, name),
    ]:
        refusal("NotImplemented", 501, call)
    moved = hubs.iot_hub_resource.get(group, name)
    moved.location = "westus2"
    with pytest.raises(ResourceExistsError) as caught:
        hubs.iot_hub_resource.begin_create_or_update(group, name, moved)
    assert caught.value.error.code == "InvalidResourceLocation"


def test_devices_are_exported(hubs, group, name, env, device):
    blobs = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])
    container = blobs.create_container(f"managed-{uuid.uuid4().hex[:8]}")
    signature = generate_container_sas(
        blobs.account_name, container.container_name, account_key=blobs.credential.account_key,
        permission=ContainerSasPermissions(read=True, write=True, delete=True, list=True),
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )
    resource = hubs.iot_hub_resource
    request = ExportDevicesRequest(export_blob_container_uri=f"{container.url}?{signature}", exclude_keys=True)
    job = resource.export_devices(group, name, request)
    assert job.type == "export" and job.start_time_utc
    ended = wait_for(lambda: (one := resource.get_job(group, name, job.job_id)).end_time_utc and one)
    assert (ended.status, ended.failure_reason) == ("completed", None)
    assert device[0] in container.get_blob_client("devices.txt").download_blob().readall().decode()
    assert job.job_id in [one.job_id for one in resource.list_jobs(group, name)]
    refusal("NotFound", 404, resource.get_job, group, name, "nothing")
    refusal("BadRequest", 400, resource.export_devices, group, name,
            ExportDevicesRequest(export_blob_container_uri="https://localhost/nothing", exclude_keys=True))
    container.delete_container()


def test_a_failover_is_rehearsed(hubs, group, name, env, registry):
    with pytest.raises(ResourceExistsError):
        hubs.iot_hub.begin_manual_failover(name, group, FailoverInput(failover_region="westus2"))
    poller = hubs.iot_hub.begin_manual_failover(name, group, FailoverInput(failover_region="local"), polling_interval=1)
    with pytest.raises(Exception):
        registry.get_devices(1)
    assert not poller.done()
    with pytest.raises(ResourceExistsError):
        hubs.iot_hub.begin_manual_failover(name, group, FailoverInput(failover_region="local"))
    # It ends by itself in half a minute; nobody waits for that here.
    ended = requests.delete(f"{env['GANTRY_URL']}/platform/v1/faults",
                            headers={"Authorization": env["MANAGEMENT_TOKEN"]})
    assert ended.status_code == 204
    poller.result()
    assert poller.status() == "Succeeded"
    registry.get_devices(1)


def test_a_provisioning_service_and_its_hubs(services, group, name, env):
    resource = services.iot_dps_resource
    found = resource.get(name, group)
    assert found.properties.id_scope == env["PROVISIONING_IDSCOPE"]
    assert found.properties.state == "Active" and found.sku.name == "S1"
    assert [one.name for one in resource.list_by_subscription()] == [name]
    assert [one.name for one in resource.list_by_resource_group(group)] == [name]
    assert [one.name for one in resource.list_valid_skus(name, group)] == ["S1"]
    own = len(found.properties.iot_hubs)
    assert all("****" in one.connection_string for one in found.properties.iot_hubs)
    text = "HostName=elsewhere.example;SharedAccessKeyName=iothubowner;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="
    found.properties.iot_hubs.append(
        dps_models.IotHubDefinitionDescription(connection_string=text, location="westus2", allocation_weight=7)
    )
    linked = resource.begin_create_or_update(group, name, found).result()
    elsewhere = {one.name: one for one in linked.properties.iot_hubs}["elsewhere.example"]
    assert (elsewhere.location, elsewhere.allocation_weight, elsewhere.apply_allocation_policy) == ("westus2", 7, True)
    assert "MDEy" not in elsewhere.connection_string

    # As it was read, with another share: the key stays.
    elsewhere.allocation_weight = 9
    again = resource.begin_create_or_update(group, name, linked).result()
    assert {one.name: one.allocation_weight for one in again.properties.iot_hubs}["elsewhere.example"] == 9
    refusal("PreconditionFailed", 412, resource.begin_create_or_update, group, name, linked)

    again.properties.iot_hubs = [one for one in again.properties.iot_hubs if one.name != "elsewhere.example"]
    unlinked = resource.begin_create_or_update(group, name, again).result()
    assert len(unlinked.properties.iot_hubs) == own
    unlinked.properties.iot_hubs = []
    assert "iotHubs" in refusal("NotImplemented", 501, resource.begin_create_or_update, group, name, unlinked)
    unlinked.properties.iot_hubs = None
    unlinked.properties.allocation_policy = "Static"
    message = refusal("NotImplemented", 501, resource.begin_create_or_update, group, name, unlinked)
    assert "properties.allocationPolicy" in message


def test_outcomes_of_operations(services, group, name):
    outcomes = []
    poller = services.iot_dps_resource.begin_update(
        group, name, dps_models.TagsResource(tags={}),
        raw_response_hook=lambda response: outcomes.append(response.http_response.headers.get("Azure-AsyncOperation")),
    )
    poller.result()
    operation = next(one for one in outcomes if one).split("/operationresults/")[1].split("?")[0]
    result = services.iot_dps_resource.get_operation_result(operation, group, name, asyncinfo="true")
    assert result.status == "Succeeded"
    refusal("NotFound", 404, services.iot_dps_resource.get_operation_result, "nothing", group, name, asyncinfo="true")


def test_keys_of_provisioning(services, group, name, env):
    keys = {one.key_name: one for one in services.iot_dps_resource.list_keys(name, group)}
    owner = keys["provisioningserviceowner"]
    assert owner.primary_key in env["PROVISIONING_CONNECTION_STRING"]
    one = services.iot_dps_resource.list_keys_for_key_name(name, "provisioningserviceowner", group)
    assert one.primary_key == owner.primary_key


def test_certificates_of_provisioning_are_proved(services, group, name, tmp_path):
    certificates = services.dps_certificate
    root = Signer(tmp_path, "management dps root", ca=True)
    body = dps_models.CertificateResponse(
        properties=dps_models.CertificateProperties(certificate=root.file.read_bytes())
    )
    made = certificates.create_or_update(group, name, "managed", body)
    assert made.properties.is_verified is False and made.properties.certificate
    same = dict(etag=made.etag, match_condition=MatchConditions.IfNotModified)
    nonce = certificates.generate_verification_code("managed", group, name, **same)
    proof = Signer(tmp_path, nonce.properties.verification_code, issuer=root)
    request = dps_models.VerificationCodeRequest(certificate=proof.file.read_text())
    with pytest.raises(ResourceModifiedError):
        certificates.verify_certificate("managed", group, name, request, **same)
    same["etag"] = nonce.etag
    assert certificates.verify_certificate("managed", group, name, request, **same).properties.is_verified
    assert "managed" in [one.name for one in certificates.list(group, name).value]
    found = certificates.get("managed", group, name)
    certificates.delete(group, name, "managed", etag=found.etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceNotFoundError):
        certificates.get("managed", group, name)


def test_the_application(apps, group, name):
    app = apps.apps.get(group, name)
    assert (app.name, app.sku.name, app.state) == (name, "ST2", "created")
    assert uuid.UUID(app.application_id)
    assert [one.name for one in apps.apps.list_by_subscription()] == [name]
    assert [one.name for one in apps.apps.list_by_resource_group(group)] == [name]
    assert "iotc-pnp-preview" in [one.manifest_id for one in apps.apps.list_templates()]
    assert any(one.name == "Microsoft.IoTCentral/iotApps/read" for one in apps.operations.list())
    assert apps.apps.begin_create_or_update(group, name, app).result().id == app.id
    app.display_name = "another"
    refusal("NotImplemented", 501, apps.apps.begin_create_or_update, group, name, app)
    message = refusal("NotImplemented", 501, apps.apps.begin_update, group, name, AppPatch(display_name="another"))
    assert "properties.displayName" in message
