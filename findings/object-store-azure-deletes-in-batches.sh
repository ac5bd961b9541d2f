#!/usr/bin/env bash
# Package   object_store 0.14.2 (crates.io) with its feature azure.
# Behaviour Deleting one blob is no DELETE of the blob: the client sends a batch (POST ?restype=container&comp=batch) with
#           one part in it, as it does for many. A server of the Blob service that has no batches, as several emulators
#           and proxies, takes every upload and every read of this client and keeps whatever it deletes.
# Seen      PUT /account/box/one
#           POST /account/box?comp=batch&restype=container
#           deleted
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
cat > serve.py <<'PY'
import http.server
import re
from urllib.parse import urlsplit, parse_qsl, urlencode


class Blobs(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        where = urlsplit(self.path)
        query = urlencode(sorted(parse_qsl(where.query)))
        with open("asked.txt", "a") as asked:
            print(self.command, where.path + (f"?{query}" if query else ""), file=asked)
        if self.command != "POST":
            return self.answer(201 if self.command == "PUT" else 202, b"", {})
        # Each part is answered with its number, as the service does.
        numbers = re.findall(r"(?i)content-id: *(\d+)", body)
        parts = [f"--batch\r\nContent-Type: application/http\r\nContent-ID: {n}\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n\r\n" for n in numbers]
        self.answer(202, ("".join(parts) + "--batch--\r\n").encode(), {"Content-Type": "multipart/mixed; boundary=batch"})

    do_PUT = do_POST = do_DELETE = handle_one

    def answer(self, status, body, more):
        self.send_response(status)
        for name, value in {"ETag": '"1"', "Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blobs)
open("port", "w").write(str(server.server_port))
server.serve_forever()
PY
python3 serve.py & server=$!
until [ -s port ]; do sleep 0.1; done
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.1.0"
edition = "2024"
[dependencies]
object_store = { version = "=0.14.2", features = ["azure"] }
tokio = { version = "1", features = ["rt", "macros"] }
TOML
cat > src/main.rs <<'RS'
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = format!("http://127.0.0.1:{}/account", std::env::args().nth(1).unwrap());
    let store = MicrosoftAzureBuilder::new()
        .with_account("account")
        .with_access_key("a2V5")
        .with_container_name("box")
        .with_endpoint(url)
        .with_allow_http(true)
        .build()
        .unwrap();
    let store: &dyn ObjectStore = &store;
    store.put(&Path::from("one"), "x".into()).await.unwrap();
    store.delete(&Path::from("one")).await.unwrap();
}
RS
cargo run --quiet -- "$(cat port)" && echo deleted >> asked.txt
cat asked.txt
diff asked.txt - <<'SEEN'
PUT /account/box/one
POST /account/box?comp=batch&restype=container
deleted
SEEN
