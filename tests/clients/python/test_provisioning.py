"""azure-iot-device provisioning over MQTT and MQTT-WS, with the service SDK that writes enrollments."""

import base64
import hashlib
import hmac

import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from provisioningserviceclient import ProvisioningServiceClient
from provisioningserviceclient.models import (
    AttestationMechanism, EnrollmentGroup, IndividualEnrollment, InitialTwin, SymmetricKeyAttestation,
)

KEY = base64.b64encode(bytes(range(48))).decode()


def derive(group_key, registration_id):
    return base64.b64encode(
        hmac.new(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256).digest()
    ).decode()


@pytest.fixture(scope="module")
def service(platform, env):
    return ProvisioningServiceClient.create_from_connection_string(env["PROVISIONING_CONNECTION_STRING"])


def symmetric(key):
    return AttestationMechanism(
        type="symmetricKey", symmetric_key=SymmetricKeyAttestation(primary_key=key, secondary_key=key)
    )


@pytest.fixture(scope="module")
def group(service):
    twin = InitialTwin.create(tags={"line": "b"}, desired_properties={"rate": 7})
    enrollment = EnrollmentGroup.create("motors", symmetric(KEY), initial_twin=twin)
    service.create_or_update(enrollment)
    yield "motors"


def register(env, ca, registration_id, key, websockets=False):
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=env["PROVISIONING_HOST"], registration_id=registration_id,
        id_scope=env["PROVISIONING_IDSCOPE"], symmetric_key=key, server_verification_cert=ca, websockets=websockets,
    )
    return client.register()


@pytest.mark.parametrize("websockets", [False, True])
def test_group_device_registers_connects_and_has_its_twin(env, ca, group, registry, websockets):
    registration_id = f"Motor-{'ws' if websockets else 'tcp'}-1"
    key = derive(KEY, registration_id)
    result = register(env, ca, registration_id, key, websockets)
    assert result.status == "assigned"
    state = result.registration_state
    assert (state.assigned_hub, state.device_id) == (env["IOTHUB_HOSTNAME"], registration_id)
    client = IoTHubDeviceClient.create_from_symmetric_key(
        symmetric_key=key, hostname=state.assigned_hub, device_id=state.device_id, server_verification_cert=ca
    )
    client.connect()
    assert client.get_twin()["desired"]["rate"] == 7
    client.send_message("here")
    client.shutdown()
    assert registry.get_twin(registration_id).tags["line"] == "b"
    again = register(env, ca, registration_id, key, websockets)
    assert (again.status, again.registration_state.sub_status) == ("assigned", "reprovisionedToInitialAssignment")
    registry.delete_device(registration_id)


def test_individual_enrollment_with_its_own_device_id(env, ca, service, registry):
    enrollment = IndividualEnrollment.create("one", symmetric(KEY), device_id="the-one")
    service.create_or_update(enrollment)
    result = register(env, ca, "one", KEY)
    assert result.registration_state.device_id == "the-one"
    stored = service.get_individual_enrollment("one")
    assert stored.device_id == "the-one"
    service.delete(stored)
    registry.delete_device("the-one")


@pytest.mark.parametrize("key", [KEY, derive(KEY, "another")], ids=["group key itself", "key of another device"])
def test_wrong_keys_are_refused(env, ca, group, key):
    with pytest.raises(Exception):
        register(env, ca, "motor-x", key)


def test_wrong_scope_is_refused(env, ca, group):
    with pytest.raises(Exception):
        register({**env, "PROVISIONING_IDSCOPE": "0ne00000000"}, ca, "motor-x", derive(KEY, "motor-x"))
