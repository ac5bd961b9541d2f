#!/usr/bin/env bash
# Package   azure-iot-device 2.14.0 (PyPI) with the paho-mqtt it asks for (1.6.1), Python 3.11.
# Behaviour Device ids may hold `#` and `+` (IoT Hub's registry takes them, and telemetry and twins of such devices work), but
#           a device with such an id cannot receive cloud-to-device messages: the SDK asks paho to subscribe to
#           devices/{id}/messages/devicebound/#, and paho refuses the filter before anything is sent, because a wildcard
#           must be a whole level of it. One would expect an id that the registry takes to work.
# Seen      devices/plain/messages/devicebound/#: sent
#           devices/a#b/messages/devicebound/#: ValueError Invalid subscription filter.
#           devices/a+b/messages/devicebound/#: ValueError Invalid subscription filter.
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check azure-iot-device==2.14.0
cat > "$folder/seen.py" <<'PY'
from azure.iot.device.iothub.pipeline import mqtt_topic_iothub
from paho.mqtt import client as paho

for device in ("plain", "a#b", "a+b"):
    topic = mqtt_topic_iothub.get_c2d_topic_for_subscribe(device)
    try:
        # Not connected, so a filter that is taken is answered with MQTT_ERR_NO_CONN.
        result, _ = paho.Client("x").subscribe(topic, qos=1)
        print(f"{topic}: {'sent' if result in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN) else result}")
    except ValueError as error:
        print(f"{topic}: ValueError {error}")
PY
seen=$("$folder/env/bin/python" "$folder/seen.py")
echo "$seen"
[ "$seen" = "devices/plain/messages/devicebound/#: sent
devices/a#b/messages/devicebound/#: ValueError Invalid subscription filter.
devices/a+b/messages/devicebound/#: ValueError Invalid subscription filter." ]
