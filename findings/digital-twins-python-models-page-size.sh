#!/usr/bin/env bash
# Package   azure-digitaltwins-core 1.3.0 (PyPI) with azure-core 1.35.0 and requests 2.32.3, Python 3.11.
# Behaviour `list_models` documents the keyword `results_per_page`. With it the call never reaches the service: the keyword
#           is handed down under a name that no layer takes, until the HTTP library refuses it with a TypeError. One would
#           expect the header `max-items-per-page`, which the operation has (digitaltwins 2023-10-31, DigitalTwinModels_List).
#           The options of the generated layer do send it: `digital_twin_models_list_options`.
# Seen      all: ['dtmi:example:Motor;1'] max-items-per-page None
#           results_per_page: TypeError, names max_item_count: True, requests that arrived: 0
#           digital_twin_models_list_options: ['dtmi:example:Motor;1'] max-items-per-page 1
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet azure-digitaltwins-core==1.3.0 azure-core==1.35.0 requests==2.32.3
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost 2> openssl.txt
cat > seen.py <<'PY'
import http.server, json, ssl, threading, time
from azure.core.credentials import AccessToken
from azure.digitaltwins.core import DigitalTwinsClient
from azure.digitaltwins.core._generated.models import DigitalTwinModelsListOptions

arrived = []


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        arrived.append(self.headers.get("max-items-per-page"))
        body = json.dumps({"value": [{"id": "dtmi:example:Motor;1", "decommissioned": False}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Credential:
    def get_token(self, *_, **__):
        return AccessToken("token", int(time.time()) + 3600)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = DigitalTwinsClient(f"https://localhost:{server.server_port}", Credential(), connection_verify="cert.pem")

print("all:", [model.id for model in client.list_models()], "max-items-per-page", arrived.pop())
try:
    list(client.list_models(results_per_page=1))
except TypeError as error:
    named = "max_item_count" in str(error)
    print(f"results_per_page: TypeError, names max_item_count: {named}, requests that arrived: {len(arrived)}")
options = {"digital_twin_models_list_options": DigitalTwinModelsListOptions(max_items_per_page=1)}
print("digital_twin_models_list_options:", [model.id for model in client.list_models(**options)],
      "max-items-per-page", arrived.pop())
PY
env/bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
all: ['dtmi:example:Motor;1'] max-items-per-page None
results_per_page: TypeError, names max_item_count: True, requests that arrived: 0
digital_twin_models_list_options: ['dtmi:example:Motor;1'] max-items-per-page 1
SEEN
