"""paho-mqtt, unmodified: bodies and versions that the provisioning service does not take over MQTT."""

import json
import queue
import ssl
import uuid

import paho.mqtt.client as paho
import pytest
from azure.iot.device.common.auth import sastoken, signing_mechanism
from provisioningserviceclient import ProvisioningServiceClient
from provisioningserviceclient.models import AttestationMechanism, IndividualEnrollment, SymmetricKeyAttestation

from conftest import PATIENCE

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture
def registration(platform, env):
    service = ProvisioningServiceClient.create_from_connection_string(env["PROVISIONING_CONNECTION_STRING"])
    name = f"py-body-{uuid.uuid4().hex[:8]}"
    keys = SymmetricKeyAttestation(primary_key=KEY, secondary_key=KEY)
    attestation = AttestationMechanism(type="symmetricKey", symmetric_key=keys)
    service.create_or_update(IndividualEnrollment.create(name, attestation))
    yield name
    service.delete_individual_enrollment_by_param(name)


class Device:
    """A connection to the provisioning service with this user name behind the registration id."""

    def __init__(self, env, registration, rest):
        resource = f"{env['PROVISIONING_IDSCOPE']}/registrations/{registration}"
        signer = signing_mechanism.SymmetricKeySigningMechanism(KEY)
        token = str(sastoken.RenewableSasToken(resource, signer)) + "&skn=registration"
        self.answers, self.connected = queue.Queue(), queue.Queue()
        self.client = paho.Client(registration)
        self.client.username_pw_set(resource + rest, token)
        self.client.tls_set_context(ssl.create_default_context(cafile=env["GANTRY_CA_FILE"]))
        self.client.on_message = lambda _client, _data, message: self.answers.put(message)
        self.client.on_connect = lambda _client, _data, _flags, code: self.connected.put(code)
        self.client.on_subscribe = lambda *_: self.connected.put("subscribed")
        self.client.connect(env["PROVISIONING_HOST"], 8883)
        self.client.loop_start()
        assert self.connected.get(timeout=PATIENCE) == 0
        self.client.subscribe("$dps/registrations/res/#")
        assert self.connected.get(timeout=PATIENCE) == "subscribed"

    def register(self, body):
        """Status in the topic and the answer."""
        self.client.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", body, qos=1)
        message = self.answers.get(timeout=PATIENCE)
        return int(message.topic.split("/")[3]), json.loads(message.payload)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_what_is_no_json_object_is_refused_by_number(env, registration):
    device = Device(env, registration, "/api-version=2019-03-31&ClientVersion=paho")
    for body in ["{", "[]", '"text"', '{"payload":"text"}', '{"payload":7}', '{"registrationId":7}']:
        status, answer = device.register(body)
        assert (status, answer["errorCode"]) == (400, 400012), body
    status, answer = device.register('{"payload":{"a":1}}')
    assert (status, answer["status"]) == (202, "assigning")
    device.close()


@pytest.mark.parametrize("rest", ["", "/", "/ClientVersion=x", "/api-version=", "/api-version=2099-01-01", "/api-version=x"])
def test_a_version_that_is_missing_or_unknown_is_told_in_the_answer(env, registration, rest):
    device = Device(env, registration, rest)
    status, answer = device.register("{}")
    assert (status, answer["errorCode"]) == (400, 400004)
    assert "API version" in answer["message"]
    device.close()
