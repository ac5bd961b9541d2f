"""One platform for the suite: `gantry serve` on the standard ports, in a folder of its own.

Only host names, credentials and the trusted CA differ from a program that talks to Azure.
GANTRY_BIN names the binary; GANTRY_ENV names the connection.env of a platform that runs already.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
import ssl
from pathlib import Path

import pytest


PATIENCE = 180
"""Seconds that anything which must come may take, however busy the machine is."""

CONFIG = Path(__file__).parent.parent / "platform.toml"


def read_env(path):
    values = {}
    for line in Path(path).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            values[name] = shlex.split(value)[0]
    return values


class Platform:
    """A running `gantry serve`."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, Path(folder)
        self.config, self.variables = CONFIG, {}
        self.process = None

    def start(self):
        log = open(self.folder / "serve.log", "a")
        command = [self.binary, "serve", "--data", str(self.folder / "data"), "--config", str(self.config)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.variables})
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.env = read_env(self.folder / "data/connection.env")
                context = ssl.create_default_context(cafile=self.env["GANTRY_CA_FILE"])
                urllib.request.urlopen(self.env["GANTRY_URL"] + "/readyz", context=context, timeout=2)
                return self
            except (OSError, KeyError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("gantry did not start:\n" + (self.folder / "serve.log").read_text())
                time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture(scope="session")
def platform():
    if os.environ.get("GANTRY_ENV"):
        running = Platform(None, Path(os.environ["GANTRY_ENV"]).parent.parent)
        running.env = read_env(os.environ["GANTRY_ENV"])
        prepare(running.env)
        yield running
        return
    folder = tempfile.mkdtemp(prefix="gantry-clients-")
    running = Platform(os.environ["GANTRY_BIN"], folder).start()
    prepare(running.env)
    yield running
    running.stop()
    shutil.rmtree(folder)


def prepare(env):
    """The CA where each client looks for it."""
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    os.environ["SSL_CERT_FILE"] = env["GANTRY_CA_FILE"]


@pytest.fixture(scope="session")
def env(platform):
    return platform.env


@pytest.fixture(scope="session")
def ca(env):
    return Path(env["GANTRY_CA_FILE"]).read_text()


@pytest.fixture(scope="session")
def registry(env):
    from azure.iot.hub import IoTHubRegistryManager

    return IoTHubRegistryManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])


@pytest.fixture
def device(registry, env, request):
    """A fresh device: its id and connection string."""
    name = "py-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[:100]
    try:
        registry.delete_device(name)
    except Exception:
        pass
    created = registry.create_device_with_sas(name, "", "", "enabled")
    key = created.authentication.symmetric_key.primary_key
    yield name, f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={name};SharedAccessKey={key}"
    registry.delete_device(name)


def wait_for(condition, seconds=PATIENCE):
    """Waits until the condition gives something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("condition did not come true in time")
        time.sleep(0.02)
