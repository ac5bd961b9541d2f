"""ProvisioningDeviceClient with certificates: individual leaves, groups under intermediates and verified roots."""

import json

import pytest
from azure.iot.device import IoTHubDeviceClient, ProvisioningDeviceClient
from provisioningserviceclient import ProvisioningServiceClient
from provisioningserviceclient.models import (
    AttestationMechanism, EnrollmentGroup, IndividualEnrollment, X509Attestation, X509CAReferences,
    X509CertificateWithInfo, X509Certificates,
)
from test_x509 import Signer, gantry


@pytest.fixture(scope="module")
def service(platform, env):
    return ProvisioningServiceClient.create_from_connection_string(env["PROVISIONING_CONNECTION_STRING"])


@pytest.fixture
def enroll(service):
    """Writes enrollments; deleted when the test ends."""
    made = []

    def write(enrollment):
        made.append(service.create_or_update(enrollment))
        return made[-1]

    yield write
    for enrollment in made:
        if hasattr(enrollment, "registration_id"):
            service.delete_individual_enrollment_by_param(enrollment.registration_id)
        else:
            service.delete_enrollment_group_by_param(enrollment.enrollment_group_id)


@pytest.fixture
def hub_devices(registry):
    names = []
    yield names
    for name in names:
        registry.delete_device(name)


def mechanism(**slots):
    return AttestationMechanism(type="x509", x509=X509Attestation(**slots))


def certificates(primary, secondary=None):
    slot = lambda made: made and X509CertificateWithInfo(certificate=made.file.read_text())
    return X509Certificates(primary=slot(primary), secondary=slot(secondary))


def register(env, ca, registration_id, x509, websockets=False):
    return ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=env["PROVISIONING_HOST"], registration_id=registration_id, x509=x509,
        id_scope=env["PROVISIONING_IDSCOPE"], server_verification_cert=ca, websockets=websockets,
    ).register()


def talks_at_its_hub(result, ca, x509):
    state = result.registration_state
    client = IoTHubDeviceClient.create_from_x509_certificate(
        x509=x509, hostname=state.assigned_hub, device_id=state.device_id, server_verification_cert=ca,
        connection_retry=False,
    )
    try:
        client.connect()
        client.send_message("here")
    finally:
        client.shutdown()


def is_disabled(env, ca, service, registration_id, x509):
    """The client raises; the service says why."""
    with pytest.raises(Exception):
        register(env, ca, registration_id, x509)
    assert service.get_registration_state(registration_id).status == "disabled"


def is_refused(env, ca, registry, registration_id, x509):
    with pytest.raises(Exception):
        register(env, ca, registration_id, x509)
    with pytest.raises(Exception):
        registry.get_device(registration_id)


def last_refusals(platform, of):
    """Reasons of the security events about one registration id."""
    listed = gantry(platform, "--json", "security")
    return [event["reason"] for event in json.loads(listed.stdout) if event.get("claimed") == of]


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "mqtt-ws"])
def test_an_enrolled_leaf_registers_and_is_let_in_at_its_hub(
    platform, env, ca, enroll, service, registry, hub_devices, tmp_path, websockets
):
    name = f"dps-leaf-{websockets}".lower()
    first, second = Signer(tmp_path, name), Signer(tmp_path, name.upper())
    enrollment = IndividualEnrollment.create(name, mechanism(client_certificates=certificates(first, second)))
    enroll(enrollment)
    hub_devices.append(name)
    for made in (first, second):
        result = register(env, ca, name, made.chain(), websockets)
        assert (result.status, result.registration_state.device_id) == ("assigned", name)
        talks_at_its_hub(result, ca, made.chain())
    # Certificates are shown as `info`; what was read can be written back and keeps them.
    read = service.get_individual_enrollment(name)
    slot = read.attestation.x509.client_certificates.primary
    assert slot.certificate is None
    assert slot.info.sha1_thumbprint == first.thumbprint("sha1").replace(":", "")
    assert slot.info.subject_name == f"CN={name}" and slot.info.version == 3
    read.provisioning_status = "disabled"
    service.create_or_update(read)
    is_disabled(env, ca, service, name, first.chain())
    misnamed = Signer(tmp_path, name + "-other")
    with pytest.raises(Exception):
        register(env, ca, name, misnamed.chain())
    assert any("not for" in reason for reason in last_refusals(platform, name))


def test_another_leaf_an_expired_one_and_a_token_are_refused(platform, env, ca, enroll, registry, tmp_path):
    name = "dps-leaf-wrong"
    enroll(IndividualEnrollment.create(name, mechanism(client_certificates=certificates(Signer(tmp_path, name)))))
    is_refused(env, ca, registry, name, Signer(tmp_path, name).chain())
    assert last_refusals(platform, name)[0] == "thumbprint is not registered"
    old = "dps-leaf-old"
    expired = Signer(tmp_path, old, days=-1)
    enroll(IndividualEnrollment.create(old, mechanism(client_certificates=certificates(expired))))
    is_refused(env, ca, registry, old, expired.chain())
    assert last_refusals(platform, old)[0] == "certificate is not valid at this time"
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=env["PROVISIONING_HOST"], registration_id=name, id_scope=env["PROVISIONING_IDSCOPE"],
        symmetric_key="MDEyMzQ1Njc4OWFiY2RlZg==", server_verification_cert=ca,
    )
    with pytest.raises(Exception):
        client.register()
    assert "does not authenticate with a token" in last_refusals(platform, name)[0]


def test_the_nearest_authority_decides_and_a_disabled_one_blocks(
    platform, env, ca, enroll, service, registry, hub_devices, tmp_path
):
    root = Signer(tmp_path, "dps-root", ca=True)
    middle = Signer(tmp_path, "dps-middle", issuer=root, ca=True)
    name = "dps-device-1"
    leaf = Signer(tmp_path, name, issuer=middle)
    whole = leaf.chain(middle)
    is_refused(env, ca, registry, name, whole)

    # By root: the authority is verified by proof of possession, in the service's own list.
    references = lambda who: mechanism(ca_references=X509CAReferences(primary=who))
    add = gantry(platform, "certificate", "--provisioning", "add", "dps-root", root.file)
    assert add.stdout == "dps-root is not yet verified\n", add.stderr
    with pytest.raises(Exception):
        service.create_or_update(EnrollmentGroup.create("by-root", references("dps-root")))
    code = gantry(platform, "certificate", "--provisioning", "code", "dps-root").stdout.strip()
    proof = Signer(tmp_path, code, issuer=root, version1=True)
    verified = gantry(platform, "certificate", "--provisioning", "verify", "dps-root", proof.file)
    assert verified.stdout == "dps-root is verified\n", verified.stderr
    assert "dps-root" not in gantry(platform, "certificate", "list").stdout
    enroll(EnrollmentGroup.create("by-root", references("dps-root")))
    hub_devices.append(name)
    result = register(env, ca, name, whole)
    assert result.status == "assigned"
    talks_at_its_hub(result, ca, whole)
    assert service.get_registration_state(name).status == "assigned"

    # By intermediate: nearer, so it decides, and blocks when it is switched off.
    stored = enroll(EnrollmentGroup.create("by-middle", mechanism(signing_certificates=certificates(middle))))
    assert stored.attestation.x509.signing_certificates.primary.info.subject_name == "CN=dps-middle"
    assert register(env, ca, name, whole).status == "assigned"
    stored = service.get_enrollment_group("by-middle")
    stored.provisioning_status = "disabled"
    service.create_or_update(stored)
    is_disabled(env, ca, service, name, whole)
    # The individual enrollment comes before both, by authority or by leaf.
    by_authority = IndividualEnrollment.create(name, references("dps-root"))
    service.create_or_update(by_authority)
    assert register(env, ca, name, whole).status == "assigned"
    service.delete_individual_enrollment_by_param(name)
    enroll(IndividualEnrollment.create(name, mechanism(client_certificates=certificates(leaf))))
    assert register(env, ca, name, whole).status == "assigned"


def test_what_a_group_does_not_cover_is_refused(platform, env, ca, enroll, service, registry, tmp_path):
    middle = Signer(tmp_path, "dps-plant", ca=True)
    enroll(EnrollmentGroup.create("plant", mechanism(signing_certificates=certificates(middle))))
    stranger = Signer(tmp_path, "dps-plant", ca=True)
    leaf = Signer(tmp_path, "dps-foreign", issuer=stranger)
    is_refused(env, ca, registry, "dps-foreign", leaf.chain(stranger))
    assert "does not lead to a verified authority" in last_refusals(platform, "dps-foreign")[0]
    own = Signer(tmp_path, "dps-own", issuer=middle)
    is_refused(env, ca, registry, "dps-another", own.chain())
    assert "not for `dps-another`" in last_refusals(platform, "dps-another")[0]
    expired = Signer(tmp_path, "dps-late", issuer=middle, days=-1)
    is_refused(env, ca, registry, "dps-late", expired.chain())
    for wrong in (mechanism(client_certificates=certificates(own)), mechanism(signing_certificates=certificates(own))):
        with pytest.raises(Exception):
            service.create_or_update(EnrollmentGroup.create("wrong", wrong))


def test_leaves_of_version_1_register_and_are_let_in(platform, env, ca, enroll, registry, hub_devices, tmp_path):
    """By group, over an intermediate too, and one by one: what `openssl x509 -req` makes without extensions."""
    root = Signer(tmp_path, "dps-old-root", ca=True, version1=True)
    middle = Signer(tmp_path, "dps-old-middle", issuer=root, ca=True)
    add = gantry(platform, "certificate", "--provisioning", "add", "dps-old-root", root.file, "--verified")
    assert add.returncode == 0, add.stderr
    enroll(EnrollmentGroup.create("by-old-root", mechanism(ca_references=X509CAReferences(primary="dps-old-root"))))
    alone = Signer(tmp_path, "dps-v1-alone", version1=True)
    enroll(IndividualEnrollment.create("dps-v1-alone", mechanism(client_certificates=certificates(alone))))
    chains = {
        "dps-v1-root": Signer(tmp_path, "dps-v1-root", issuer=root, version1=True).chain(),
        "dps-v1-middle": Signer(tmp_path, "dps-v1-middle", issuer=middle, version1=True).chain(middle),
        "dps-v1-alone": alone.chain(),
    }
    for name, chain in chains.items():
        hub_devices.append(name)
        result = register(env, ca, name, chain)
        assert result.status == "assigned", name
        talks_at_its_hub(result, ca, chain)
    late = Signer(tmp_path, "dps-v1-late", issuer=root, version1=True, days=-1)
    is_refused(env, ca, registry, "dps-v1-late", late.chain())
