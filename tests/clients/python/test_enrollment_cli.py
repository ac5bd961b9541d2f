"""`gantry enrollment` and `gantry registration`, with devices that register by what they print."""

import json

import pytest
from azure.iot.device import ProvisioningDeviceClient, X509
from test_x509 import Signer, gantry


@pytest.fixture
def run(platform):
    """Runs the command line; returns what it prints, as JSON where it is asked for."""

    def run(*arguments):
        done = gantry(platform, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


@pytest.fixture
def clean(platform, registry):
    """Deletes enrollments and devices when the test ends, by arguments and names."""
    enrollments, devices = [], []
    yield enrollments, devices
    for arguments in enrollments:
        gantry(platform, "enrollment", "delete", *arguments)
    for name in devices:
        registry.delete_device(name)


def register(ca, block):
    told = dict(line.split("=", 1) for line in block.splitlines())
    return ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=told["PROVISIONING_HOST"], id_scope=told["PROVISIONING_IDSCOPE"],
        registration_id=told["PROVISIONING_REGISTRATION_ID"], symmetric_key=told["PROVISIONING_SYMMETRIC_KEY"],
        server_verification_cert=ca,
    ).register()


def test_a_device_of_a_group_registers_with_the_printed_block(run, clean, ca, env, registry):
    clean[0].append(["cli-group"])
    twin = '{"tags":{"hall":"north"},"properties":{"desired":{"load":70}}}'
    hub = env["IOTHUB_HOSTNAME"]
    key = run("enrollment", "create", "cli-group", "--allocation", "static", "--hub", hub, "--reprovision", "reset",
              "--initial-twin", twin).strip()
    assert run("--json", "enrollment", "keys", "cli-group")["symmetricKey"]["primaryKey"] == key
    shown = run("--json", "enrollment", "show", "cli-group")
    assert (shown["allocationPolicy"], shown["iotHubs"]) == ("static", [hub])
    assert shown["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": False}
    assert shown["attestation"] == {"type": "symmetricKey"}, "no keys unless they are asked for"

    block = run("enrollment", "device-key", "cli-group", "cli-device")
    assert key not in block
    result = register(ca, block)
    clean[1].append("cli-device")
    assert (result.status, result.registration_state.assigned_hub) == ("assigned", hub)
    assert registry.get_twin("cli-device").tags == {"hall": "north"}
    [row] = run("--json", "registration", "list", "cli-group")
    assert (row["registrationId"], row["status"], row["assignedHub"]) == ("cli-device", "assigned", hub)
    assert "cli-device" in run("registration", "list", "cli-group")
    assert run("--json", "registration", "show", "cli-device")["deviceId"] == "cli-device"
    run("registration", "delete", "cli-device")
    assert run("--json", "registration", "list", "cli-group") == []

    run("enrollment", "disable", "cli-group")
    with pytest.raises(Exception):
        register(ca, block)
    run("enrollment", "enable", "cli-group")
    assert register(ca, block).status == "assigned", "the keys outlive a change of status"
    run("enrollment", "delete", "cli-group")
    assert "cli-group" not in run("enrollment", "list")


def test_an_individual_enrollment_by_certificate_and_by_key(run, clean, ca, env, tmp_path):
    clean[0].extend([["cli-leaf", "--individual"], ["cli-key", "--individual"]])
    clean[1].extend(["cli-leaf-at-hub", "cli-key"])
    leaf = Signer(tmp_path, "cli-leaf")
    run("enrollment", "create", "cli-leaf", "--individual", "--certificate", leaf.file, "--device-id", "cli-leaf-at-hub")
    result = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=env["PROVISIONING_HOST"], registration_id="cli-leaf", id_scope=env["PROVISIONING_IDSCOPE"],
        x509=X509(cert_file=str(leaf.file), key_file=str(leaf.key)), server_verification_cert=ca,
    ).register()
    assert (result.status, result.registration_state.device_id) == ("assigned", "cli-leaf-at-hub")
    listed = {row["registrationId"]: row for row in run("--json", "enrollment", "list", "--individual")}
    assert listed["cli-leaf"]["registrationState"]["status"] == "assigned"

    run("enrollment", "create", "cli-key", "--individual")
    assert register(ca, run("enrollment", "device-key", "cli-key", "--individual")).status == "assigned"


def test_what_cannot_be_is_refused_in_words(platform, run, clean, tmp_path):
    clean[0].append(["cli-root"])
    root = Signer(tmp_path, "cli-root", ca=True)
    run("enrollment", "create", "cli-root", "--certificate", root.file)
    for arguments, words in [
        (["create", "cli-root", "--certificate", root.file], "exists already"),
        (["create", "cli-other", "--ca-reference", "nobody"], "`nobody` is not a verified certificate"),
        (["create", "cli-other", "--key", "a", "--ca-reference", "b"], "cannot be used with"),
        (["create", "cli-other", "--allocation", "custom"], "--webhook"),
        (["device-key", "cli-root", "x"], "have no key but x509"),
        (["device-key", "cli-root"], "registration id"),
        (["show", "cli-none"], "`cli-none` is unknown"),
    ]:
        refused = gantry(platform, "enrollment", *arguments)
        assert refused.returncode != 0 and words in refused.stderr, (arguments, refused.stderr)
