#!/usr/bin/env bash
# The page of the real binary in Chromium, with three motors replaying.
# Usage: tests/page.sh BINARY SCREENSHOT_FOLDER
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
binary=$1 shots=$2
folder=$(mktemp -d)
export GANTRY_DATA=$folder/data
cat > "$folder/gantry.toml" << 'TOML'
[streaming.jobs.averages]
query = """
SELECT IoTHub.ConnectionDeviceId AS device, System.Timestamp() AS at, AVG(temperature) AS average
INTO Averages FROM input GROUP BY IoTHub.ConnectionDeviceId, TumblingWindow(second, 2)
"""
TOML
"$binary" serve --config "$folder/gantry.toml" > "$folder/serve.out" 2> "$folder/serve.log" &
pids=($!)
stop() { for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done; wait 2> /dev/null || true; rm -rf "$folder"; }
trap stop EXIT
for _ in $(seq 300); do
  "$binary" doctor > /dev/null 2>&1 && break
  kill -0 "${pids[0]}" 2> /dev/null || { cat "$folder/serve.log"; exit 1; }
  sleep 0.1
done
GANTRY_GROUP_KEY=$("$binary" enrollment create motors)
export GANTRY_GROUP_KEY
for motor in failing:machine_temperature_system_failure healthy:motor-healthy shifted:motor-shifted; do
  "$binary" simulate --csv "$root/examples/motor/${motor#*:}.csv" --registration-id "motor-${motor%%:*}" --seconds 75 --stay 2> /dev/null &
  pids+=($!)
done
for _ in $(seq 300); do
  [ "$("$binary" --json maintenance | grep -o '"place"' | wc -l)" = 3 ] && break
  sleep 0.1
done
mkdir -p "$shots"
cd "$root/web" && node test/page.mjs "$shots" --url https://localhost --token "$(sed -n 's/.*#signin=//p' "$folder/serve.out")"
