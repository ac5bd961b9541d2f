"""azure-iot-device with certificates: by thumbprint and under a verified authority."""

import os
import queue
import subprocess

import paho.mqtt.client as paho
import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, X509
from azure.iot.device.exceptions import CredentialError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from conftest import PATIENCE


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def gantry(platform, *arguments):
    command = [os.environ["GANTRY_BIN"], "--data", str(platform.folder / "data"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


class Signer:
    """A key and certificate; signs others."""

    def __init__(self, folder, name, issuer=None, ca=False, days=30, version1=False):
        self.key, self.file = folder / f"{name.replace('/', '-')}.key", folder / f"{name.replace('/', '-')}.pem"
        request = folder / "request.pem"
        # An escaped slash is part of the name of a module.
        subject = "/CN=" + name.replace("/", "\\/")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", request, "-subj", subject)
        extensions = folder / "extensions"
        extensions.write_text(f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}\n")
        signed_by = ["-CA", issuer.file, "-CAkey", issuer.key, "-CAcreateserial"] if issuer else ["-signkey", self.key]
        more = [] if version1 else ["-extfile", extensions]
        openssl("x509", "-req", "-in", request, "-out", self.file, "-days", days, *signed_by, *more)

    def thumbprint(self, algorithm):
        return openssl("x509", "-in", self.file, "-noout", f"-{algorithm}", "-fingerprint").strip().split("=")[1]

    def chain(self, *others):
        """A file with this certificate and others behind it."""
        whole = self.file.with_suffix(".chain.pem")
        whole.write_text("".join(made.file.read_text() for made in (self, *others)))
        return X509(cert_file=str(whole), key_file=str(self.key))


def client(env, ca, name, x509, websockets=False):
    device, _, module = name.partition("/")
    common = {"x509": x509, "hostname": env["IOTHUB_HOSTNAME"], "server_verification_cert": ca}
    common |= {"connection_retry": False, "auto_connect": False, "websockets": websockets}
    if module:
        return IoTHubModuleClient.create_from_x509_certificate(device_id=device, module_id=module, **common)
    return IoTHubDeviceClient.create_from_x509_certificate(device_id=device, **common)


def talks(made):
    """Connects, sends, reads the twin."""
    try:
        made.connect()
        made.send_message("hello")
        assert made.get_twin()["desired"]["$version"] == 1
    finally:
        made.shutdown()


def is_refused(made):
    try:
        with pytest.raises(CredentialError):
            made.connect()
    finally:
        made.shutdown()


@pytest.fixture
def names(registry):
    made = []
    yield made
    for name in made:
        registry.delete_device(name)


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "mqtt-ws"])
def test_either_thumbprint_lets_in_and_no_other(registry, env, ca, tmp_path, names, websockets):
    name = f"x509-thumb-{websockets}".lower()
    first, second = Signer(tmp_path, "first"), Signer(tmp_path, "second", version1=True)
    primary, secondary = (made.thumbprint("sha1").replace(":", "") for made in (first, second))
    registry.create_device_with_x509(name, primary, secondary, "enabled")
    names.append(name)
    talks(client(env, ca, name, first.chain(), websockets))
    talks(client(env, ca, name, second.chain(), websockets))
    is_refused(client(env, ca, name, Signer(tmp_path, name).chain(), websockets))


def test_mqtt_5_takes_the_certificate_it_is_told_of(registry, env, tmp_path, names):
    name, own, other = "x509-mqtt5", Signer(tmp_path, "own"), Signer(tmp_path, "other")
    registry.create_device_with_x509(name, own.thumbprint("sha256").replace(":", ""), "0" * 64, "enabled")
    names.append(name)
    reasons = []
    for signer in (own, other):
        made, answers = paho.Client(name, protocol=paho.MQTTv5), queue.Queue()
        made.tls_set(env["GANTRY_CA_FILE"], certfile=str(signer.file), keyfile=str(signer.key))
        made.on_connect = lambda client, _, flags, reason, properties: answers.put(reason)
        properties = Properties(PacketTypes.CONNECT)
        properties.AuthenticationMethod = "X509"
        properties.UserProperty = [("api-version", "2020-10-01-preview"), ("host", env["IOTHUB_HOSTNAME"])]
        made.connect(env["IOTHUB_HOSTNAME"], 8883, properties=properties)
        made.loop_start()
        reasons.append(answers.get(timeout=PATIENCE))
        if signer is own:
            info = made.publish("$iothub/telemetry", b"{}", qos=1)
            info.wait_for_publish(15)
            assert info.is_published()
        made.disconnect()
        made.loop_stop()
    # Not authorized, and no more than that.
    assert (reasons[0], reasons[1].value) == (0, 0x87)


def test_sha256_thumbprints_and_a_roll(registry, env, ca, tmp_path, names):
    name = "x509-roll"
    old, new = Signer(tmp_path, "old"), Signer(tmp_path, "new")
    thumbprints = [made.thumbprint("sha256").replace(":", "").lower() for made in (old, new)]
    registry.create_device_with_x509(name, thumbprints[0], thumbprints[0], "enabled")
    names.append(name)
    is_refused(client(env, ca, name, new.chain()))
    registry.update_device_with_x509(name, "*", thumbprints[0], thumbprints[1], "enabled")
    talks(client(env, ca, name, new.chain()))
    registry.update_device_with_x509(name, "*", thumbprints[1], thumbprints[1], "disabled")
    is_refused(client(env, ca, name, new.chain()))


def test_a_certificate_does_not_stand_in_for_a_key_nor_a_key_for_it(device, registry, env, ca, tmp_path, names):
    with_key, connection_string = device
    is_refused(client(env, ca, with_key, Signer(tmp_path, "some-name").chain()))
    name = "x509-only"
    registry.create_device_with_certificate_authority(name, "enabled")
    names.append(name)
    key = connection_string.split("SharedAccessKey=")[1]
    made = IoTHubDeviceClient.create_from_connection_string(
        f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}",
        server_verification_cert=ca, connection_retry=False,
    )
    is_refused(made)


def test_a_verified_authority_lets_in_its_devices(platform, registry, env, ca, tmp_path, names):
    root = Signer(tmp_path, "root", ca=True)
    middle = Signer(tmp_path, "middle", issuer=root, ca=True)
    name = "x509-ca"
    leaf = Signer(tmp_path, name, issuer=middle)
    registry.create_device_with_certificate_authority(name, "enabled")
    names.append(name)
    assert gantry(platform, "certificate", "add", "py-root", root.file).stdout == "py-root is not yet verified\n"
    is_refused(client(env, ca, name, leaf.chain(middle)))

    code = gantry(platform, "certificate", "code", "py-root").stdout.strip()
    wrong = gantry(platform, "certificate", "verify", "py-root", Signer(tmp_path, "guess", issuer=root).file)
    assert wrong.returncode != 0 and "guess" in wrong.stderr
    forged = gantry(platform, "certificate", "verify", "py-root", Signer(tmp_path, code, issuer=leaf).file)
    assert forged.returncode != 0
    # What the reference's guide does: `openssl x509 -req` without extensions, a version 1 certificate.
    proof = Signer(tmp_path, code, issuer=root, version1=True)
    assert gantry(platform, "certificate", "verify", "py-root", proof.file).stdout == "py-root is verified\n"

    talks(client(env, ca, name, leaf.chain(middle)))
    is_refused(client(env, ca, name, leaf.chain()))
    is_refused(client(env, ca, name, Signer(tmp_path, "another", issuer=middle).chain(middle)))
    stranger = Signer(tmp_path, "stranger", ca=True)
    is_refused(client(env, ca, name, Signer(tmp_path, name, issuer=stranger).chain(stranger)))

    assert gantry(platform, "certificate", "delete", "py-root").returncode == 0
    is_refused(client(env, ca, name, leaf.chain(middle)))


@pytest.mark.parametrize("old_root", [False, True], ids=["root", "root-of-version-1"])
def test_leaves_of_version_1_lead_to_a_verified_authority(platform, registry, env, ca, tmp_path, names, old_root):
    """`openssl x509 -req` makes them when it is given no extensions, and so do the official suites."""
    root = Signer(tmp_path, "old-root", ca=True, version1=old_root)
    assert gantry(platform, "certificate", "add", "py-old-root", root.file, "--verified").returncode == 0
    name = f"x509-v1-{old_root}".lower()
    registry.create_device_with_certificate_authority(name, "enabled")
    names.append(name)
    leaf = Signer(tmp_path, name, issuer=root, version1=True)
    talks(client(env, ca, name, leaf.chain()))
    talks(client(env, ca, name, leaf.chain(root)))
    middle = Signer(tmp_path, "old-middle", issuer=root, ca=True)
    talks(client(env, ca, name, Signer(tmp_path, name, issuer=middle, version1=True).chain(middle)))
    is_refused(client(env, ca, name, Signer(tmp_path, name, issuer=middle, version1=True).chain()))
    # As with any other: the name, the time, the signature, and who may sign.
    is_refused(client(env, ca, name, Signer(tmp_path, "another", issuer=root, version1=True).chain()))
    is_refused(client(env, ca, name, Signer(tmp_path, name, issuer=root, version1=True, days=-1).chain()))
    stranger = Signer(tmp_path, "old-root", ca=True, version1=old_root)
    is_refused(client(env, ca, name, Signer(tmp_path, name, issuer=stranger, version1=True).chain(stranger)))
    no_authority = Signer(tmp_path, "no-authority", issuer=root, version1=True)
    is_refused(client(env, ca, name, Signer(tmp_path, name, issuer=no_authority, version1=True).chain(no_authority)))
    assert gantry(platform, "certificate", "delete", "py-old-root").returncode == 0
    is_refused(client(env, ca, name, leaf.chain(root)))


def test_a_registered_intermediate_and_a_module(platform, registry, env, ca, tmp_path, names):
    root = Signer(tmp_path, "root", ca=True)
    middle = Signer(tmp_path, "plant", issuer=root, ca=True)
    assert gantry(platform, "certificate", "add", "py-plant", middle.file, "--verified").returncode == 0
    name = "x509-middle"
    registry.create_device_with_certificate_authority(name, "enabled")
    names.append(name)
    registry.create_module_with_certificate_authority(name, "vision", "")
    talks(client(env, ca, name, Signer(tmp_path, name, issuer=middle).chain()))
    talks(client(env, ca, f"{name}/vision", Signer(tmp_path, f"{name}/vision", issuer=middle).chain()))
    is_refused(client(env, ca, f"{name}/vision", Signer(tmp_path, "vision", issuer=middle).chain()))
    assert gantry(platform, "certificate", "delete", "py-plant").returncode == 0
