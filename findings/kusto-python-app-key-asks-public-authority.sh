#!/usr/bin/env bash
# Package   azure-kusto-data 6.0.4 with msal 1.39.0 (PyPI), Python 3.11.
# Behaviour A cluster says at /v1/rest/auth/metadata which login endpoint its principals are at; the client takes it for the
#           application key of `with_aad_application_key_authentication`. Before it asks that endpoint for anything it asks
#           login.microsoftonline.com whether the endpoint is one of a known cloud, and nothing of the connection string
#           or the metadata turns that off. One would expect that a cluster which names its own login endpoint needs no
#           other host: where that host is not reached, no query is sent.
# Seen      asked of the cluster: /v1/rest/auth/metadata
#           first host that is not the cluster: login.microsoftonline.com:443
#           the login endpoint was asked: False
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install --quiet azure-kusto-data==6.0.4 msal==1.39.0
cat > seen.py <<'PY'
import http.server, json, os, threading

clusters, tunnels = [], []


class Cluster(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        clusters.append(self.path)
        told = {"AzureAD": {
            "LoginEndpoint": "https://login.plant.example", "LoginMfaRequired": False,
            "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58", "KustoClientRedirectUri": "http://localhost",
            "KustoServiceResourceId": "https://kusto.plant.example",
            "FirstPartyAuthorityUrl": "https://login.plant.example/f8cdef31-a31e-4b4a-93e4-5f571e91255a"}}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Proxy(http.server.BaseHTTPRequestHandler):
    """Where every tunnel to another machine would begin; it opens none."""

    def do_CONNECT(self):
        tunnels.append(self.path)
        self.send_error(502)

    def log_message(self, *_):
        pass


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


os.environ.update(HTTPS_PROXY=serve(Proxy), NO_PROXY="127.0.0.1")
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder

told = KustoConnectionStringBuilder.with_aad_application_key_authentication(
    serve(Cluster), "11111111-1111-1111-1111-111111111111", "key", "22222222-2222-2222-2222-222222222222")
try:
    KustoClient(told).execute_query("db", "print 1")
except Exception:
    pass
print("asked of the cluster:", *clusters)
print("first host that is not the cluster:", tunnels[0])
print("the login endpoint was asked:", "login.plant.example:443" in tunnels)
PY
env/bin/python seen.py | tee seen.txt
diff seen.txt - <<'SEEN'
asked of the cluster: /v1/rest/auth/metadata
first host that is not the cluster: login.microsoftonline.com:443
the login endpoint was asked: False
SEEN
