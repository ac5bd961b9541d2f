#!/usr/bin/env bash
# Runs every client suite against one `gantry serve` on the standard ports of loopback.
# Usage: tests/clients/run.sh BINARY PYTHON
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$1 python=$2
folder=$(mktemp -d)
"$binary" serve --data "$folder/data" --config "$here/platform.toml" > "$folder/serve.out" 2> "$folder/serve.log" &
server=$!
trap 'kill "$server" 2> /dev/null || true; wait "$server" 2> /dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do
  curl -sf --cacert "$folder/data/tls/ca.pem" https://localhost/readyz > /dev/null 2>&1 && break
  kill -0 "$server" 2> /dev/null || { cat "$folder/serve.log"; exit 1; }
  sleep 0.1
done
export GANTRY_BIN=$binary GANTRY_ENV=$folder/data/connection.env NODE_EXTRA_CA_CERTS=$folder/data/tls/ca.pem
failed=0
(cd "$here/python" && "$python" -m pytest -q -W ignore) || failed=1
(cd "$here/node" && npm test) || failed=1
if [ "$failed" != 0 ]; then
  echo "--- last lines of the server's log"
  tail -n 60 "$folder/serve.log"
fi
exit "$failed"
