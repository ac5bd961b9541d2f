#!/usr/bin/env bash
# Runs every client suite, each against a `gantry serve` of its own on the standard ports.
# Usage: tests/clients/run.sh BINARY PYTHON
#
# The suites wait more than they work, so they run beside each other, each in a network of its own where the system lets
# us make one; elsewhere one after the other on loopback.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export GANTRY_BIN=$1 PYTHON=$2
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

files=("$here"/python/test_*.py)
names=(python-1 python-2 python-3 node)
command_of() {
  case $1 in
    node) echo "suite node node npm test" ;;
    *) echo "suite $1 python $PYTHON -m pytest $(for ((n = ${1#python-} - 1; n < ${#files[@]}; n += 3)); do basename "${files[n]}"; done | tr '\n' ' ')" ;;
  esac
}
pids=() failed=0
for name in "${names[@]}"; do
  if [ ${#isolate[@]} = 0 ]; then
    bash -euc "$(command_of "$name")" > "$shared/$name.out" 2>&1 || failed=1
  else
    "${isolate[@]}" bash -euc "$(command_of "$name")" > "$shared/$name.out" 2>&1 &
    pids+=($!)
  fi
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
for name in "${names[@]}"; do
  echo "--- $name"
  cat "$shared/$name.out"
done
exit "$failed"
