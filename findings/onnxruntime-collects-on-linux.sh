#!/usr/bin/env bash
# Package   onnxruntime 1.32.0 with onnx 1.23.2 (PyPI), Python 3.11, Linux x86-64.
# Behaviour Making a session in the official wheel begins telemetry, on Linux too: a device identifier and a database of
#           events to be sent appear under the cache folder of the user, although the program asked for none of it.
#           disable_telemetry_events() comes too late for both. ORT_DISABLE_TELEMETRY=1, set before
#           the library is loaded, leaves nothing.
# Seen      as it is: Microsoft/DeveloperTools/.onnxruntime/deviceid Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db
#           disable_telemetry_events(): Microsoft/DeveloperTools/.onnxruntime/deviceid Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db
#           ORT_DISABLE_TELEMETRY=1: nothing
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install -q --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2
cat > seen.py <<'PY'
import sys

import onnxruntime
from onnx import TensorProto, helper

if "api" in sys.argv:
    onnxruntime.disable_telemetry_events()
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value("x")], [value("y")])
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnxruntime.InferenceSession(made.SerializeToString())
PY
# Without a network, so that nothing is sent.
apart=(unshare --net)
[ "$(id -u)" = 0 ] || apart=(unshare --map-root-user --net)
seen() {
  local words=$1; shift
  rm -rf cache && mkdir cache
  env XDG_CACHE_HOME="$folder/cache" HOME="$folder" "$@" > /dev/null
  found=$(cd cache && find . -type f ! -name '*-wal' ! -name '*-shm' -printf '%P\n' | sort | paste -sd' ')
  echo "$words: ${found:-nothing}"
}
{
  seen "as it is" "${apart[@]}" bin/python seen.py
  seen "disable_telemetry_events()" "${apart[@]}" bin/python seen.py api
  seen "ORT_DISABLE_TELEMETRY=1" ORT_DISABLE_TELEMETRY=1 "${apart[@]}" bin/python seen.py
} | tee seen.txt
diff seen.txt - <<'SEEN'
as it is: Microsoft/DeveloperTools/.onnxruntime/deviceid Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db
disable_telemetry_events(): Microsoft/DeveloperTools/.onnxruntime/deviceid Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db
ORT_DISABLE_TELEMETRY=1: nothing
SEEN
