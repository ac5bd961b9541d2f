#!/usr/bin/env bash
# Installs what is needed, starts the platform and three motors, and shows what happens.
#
#   SECONDS_TO_REPLAY=180   how long the 79 days of temperature take
#   KEEP=1                  leave the platform running at the end
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
replay=${SECONDS_TO_REPLAY:-180}
started=$(date +%s)

apt_install cc build-essential
apt_install curl curl

step "building the page"
scripts/web.sh

step "building gantry (profile demo)"
cargo build --profile demo --bin gantry
gantry=$CARGO_TARGET_DIR/demo/gantry

data=$CACHE/demo
rm -rf "$data"; mkdir -p "$data"
export GANTRY_DATA=$data/data
pids=()
stop() { for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done; wait 2> /dev/null || true; }
trap stop EXIT

step "starting the platform"
"$gantry" serve > "$data/serve.out" 2> "$data/serve.log" &
pids+=($!)
for _ in $(seq 200); do
  grep -q 'sign in' "$data/serve.out" 2> /dev/null && "$gantry" doctor > /dev/null 2>&1 && break
  kill -0 "${pids[0]}" 2> /dev/null || { cat "$data/serve.log"; exit 1; }
  sleep 0.1
done
cat "$data/serve.out"
echo
echo "Ready $(( $(date +%s) - started )) s after the command. Open the sign-in link to watch; your browser must trust the CA"
echo "above, or ask you once. Three motors now replay 79 days in $replay s."

GANTRY_GROUP_KEY=$("$gantry" enrollment create motors --initial-twin '{"tags":{"plant":"demo"},"properties":{"desired":{"load":100}}}')
export GANTRY_GROUP_KEY
# Someone is told (the page), and the motor is asked to reduce its load.
"$gantry" rule put reduce-load '{"when":{"kind":"urgency","urgencyMin":0.5},"severity":"critical",
  "actions":[{"kind":"method","name":"reduceLoad","payload":{"to":70}}]}' > /dev/null
"$gantry" --json monitor --anomalies > "$data/anomalies.jsonl" &
pids+=($!)
motors=()
simulate() {
  "$gantry" simulate --csv "examples/motor/$2" --registration-id "$1" --seconds "$replay" 2>> "$data/motors.log" &
  motors+=($!); pids+=($!)
}
simulate motor-failing machine_temperature_system_failure.csv
simulate motor-healthy motor-healthy.csv
simulate motor-shifted motor-shifted.csv

ends=$(( $(date +%s) + replay + 60 ))
while kill -0 "${motors[0]}" 2> /dev/null || kill -0 "${motors[1]}" 2> /dev/null || kill -0 "${motors[2]}" 2> /dev/null; do
  sleep $(( replay > 60 ? 20 : 5 ))
  printf '\n-- %s s before the end: the maintenance list\n' "$(( ends - 60 - $(date +%s) ))"
  "$gantry" maintenance
  [ "$(date +%s)" -lt "$ends" ] || { echo "the motors did not finish in time"; cat "$data/motors.log"; exit 1; }
done
for pid in "${motors[@]}"; do wait "$pid"; done

step "done: $(( $(date +%s) - started )) s in all"
"$gantry" maintenance
echo
"$gantry" alerts
echo
printf 'load reported by motor-failing, after the rule asked for 70: '
"$gantry" --json twin show motor-failing | python3 -c 'import json, sys; print(json.load(sys.stdin)["properties"]["reported"]["load"])'
echo
python3 scripts/demo_report.py examples/motor/labels.json "$data/anomalies.jsonl" <("$gantry" --json maintenance)

if [ "${KEEP:-}" = 1 ]; then
  echo "The platform keeps running; stop it with Ctrl-C."
  wait "${pids[0]}"
fi
