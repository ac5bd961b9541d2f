#!/usr/bin/env bash
# Runs every client suite, each against a `gantry serve` of its own on the standard ports.
# Usage: tests/clients/run.sh BINARY PYTHON INGEST_PYTHON
#
# Every file is a suite. They wait more than they work, so some run beside each other, each in a network of its own where
# the system lets us make one; elsewhere one after the other on loopback.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export GANTRY_BIN=$1 PYTHON=$2 INGEST_PYTHON=$3
export PYTEST_ADDOPTS="-q -W ignore -p no:cacheprovider"
shared=$(mktemp -d)
trap 'rm -rf "$shared"' EXIT

# suite NAME FOLDER COMMAND...: starts a platform, runs the command in the folder, stops the platform.
suite() {
  local name=$1 from=$2 data=$shared/$1/data log=$shared/$1/serve.log
  shift 2
  mkdir "$shared/$name"
  ip link set lo up 2> /dev/null || true
  "$GANTRY_BIN" serve --data "$data" --config "$here/platform.toml" > "$shared/$name/serve.out" 2> "$log" &
  local server=$! status=0
  for _ in $(seq 300); do
    curl -sf --cacert "$data/tls/ca.pem" https://localhost/readyz > /dev/null 2>&1 && break
    kill -0 "$server" 2> /dev/null || { cat "$log"; return 1; }
    sleep 0.1
  done
  export GANTRY_ENV=$data/connection.env NODE_EXTRA_CA_CERTS=$data/tls/ca.pem
  (cd "$here/$from" && "$@") || status=1
  kill "$server" 2> /dev/null && wait "$server" 2> /dev/null || true
  if [ "$status" != 0 ]; then
    echo "--- last lines of the server's log"
    tail -n 60 "$log"
  fi
  return "$status"
}
export -f suite
export here shared

isolate=(unshare --net)
[ "$(id -u)" = 0 ] || isolate=(unshare --map-root-user --net)
"${isolate[@]}" true 2> /dev/null || isolate=()

at_once=4
[ ${#isolate[@]} != 0 ] || at_once=1

# run FILE: its suite, with what is said kept until all are done.
run() {
  local file=$1 name; name=$(basename "$file")
  case $name in
    test_kusto_ingest.py) suite "$name" python "$INGEST_PYTHON" -m pytest --durations=3 "$name" ;;
    *.py) suite "$name" python "$PYTHON" -m pytest --durations=3 "$name" ;;
    *.mjs) suite "$name" node node --test --test-timeout=400000 "$name" ;;
  esac > "$shared/$name.out" 2>&1
}
export -f run

# The largest first, so that none is left alone at the end.
mapfile -t files < <(ls -S "$here"/python/test_*.py "$here"/node/*.test.mjs)
failed=0
printf '%s\0' "${files[@]}" | xargs -0 -P "$at_once" -I{} ${isolate[@]+"${isolate[@]}"} bash -euc 'run {}' || failed=1
for file in "${files[@]}"; do
  echo "--- $(basename "$file")"
  cat "$shared/$(basename "$file").out"
done
exit "$failed"
