#!/usr/bin/env bash
# Package   azure-mgmt-iothub 4.0.0 and azure-mgmt-iothubprovisioningservices 2.1.0 (PyPI), Python 3.11.
# Behaviour Both have a certificate with a property `certificate`. The one for hubs sends the text it is given. The one
#           for provisioning takes bytes and sends them in base64 whatever they are, so that a PEM file, which is base64
#           itself, arrives in base64 twice: a server has to try both.
# Seen      hub: -----BEGIN CERTIFICATE-----
#           provisioning: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install -q --disable-pip-version-check azure-mgmt-iothub==4.0.0 azure-mgmt-iothubprovisioningservices==2.1.0
cat > seen.py <<'PY'
import json
import time

from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import HttpTransport
from azure.mgmt.iothub import IotHubClient
from azure.mgmt.iothub.models import CertificateDescription, CertificateProperties
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from azure.mgmt.iothubprovisioningservices import models as provisioning


class Seen(Exception):
    pass


class Transport(HttpTransport):
    """Shows what would be sent and sends nothing."""

    def send(self, request, **_):
        body = request.content if getattr(request, "content", None) else request.body
        raise Seen(json.loads(body)["properties"]["certificate"])

    def open(self):
        pass

    def close(self):
        pass

    def __exit__(self, *_):
        pass


class Credential:
    def get_token(self, *_, **__):
        return AccessToken("token", int(time.time()) + 3600)


PEM = "-----BEGIN CERTIFICATE-----"
ids = ("00000000-0000-0000-0000-000000000000", "group", "name")


def seen(name, call):
    try:
        call()
    except Seen as sent:
        print(f"{name}: {sent}")


hub = IotHubClient(Credential(), ids[0], transport=Transport())
made = CertificateDescription(properties=CertificateProperties(certificate=PEM))
seen("hub", lambda: hub.certificates.create_or_update(ids[1], ids[2], "c", made))
dps = IotDpsClient(Credential(), ids[0], transport=Transport())
made = provisioning.CertificateResponse(properties=provisioning.CertificateProperties(certificate=PEM.encode()))
seen("provisioning", lambda: dps.dps_certificate.create_or_update(ids[1], ids[2], "c", made))
PY
bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
hub: -----BEGIN CERTIFICATE-----
provisioning: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t
SEEN
