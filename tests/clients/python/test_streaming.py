"""Streaming jobs of the platform's configuration: azure-kusto-data reads their tables, azure-eventhub their events."""

import json
import os
import subprocess
import uuid

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub.models import Twin
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoServiceError

from conftest import wait_for
from test_events import read
from test_platform import call
from test_routing import route, routing, stream


@pytest.fixture(scope="module")
def ask(env):
    # requests reads the authorities it trusts from here.
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    builder = KustoConnectionStringBuilder.with_aad_user_token_authentication(env["KUSTO_URL"], env["KUSTO_TOKEN"])

    def rows(text):
        try:
            answer = client.execute_query(env["KUSTO_DATABASE"], text)
        except KustoServiceError as error:
            # The table is made with its first rows.
            assert "SEM0100" in str(error), error
            return []
        return [row.to_dict() for row in answer.primary_results[0]]

    with KustoClient(builder) as client:
        yield rows


def by_device(row):
    return row["device"], row["average"], row["n"]


def test_averages_of_five_devices_land_in_a_table(registry, env, ask):
    run = uuid.uuid4().hex[:8]
    devices = [f"streamed-{run}-{n}" for n in range(5)]
    for n, device in enumerate(devices):
        key = registry.create_device_with_sas(device, "", "", "enabled").authentication.symmetric_key.primary_key
        client = IoTHubDeviceClient.create_from_connection_string(
            f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={device};SharedAccessKey={key}",
            server_verification_cert=open(env["GANTRY_CA_FILE"]).read(),
        )
        client.connect()
        for value in range(4):
            body = f'{{"streamed":{20 + n + value / 4},"IoTHub":{{"ConnectionDeviceId":"forged"}}}}'
            client.send_message(Message(body, content_type="application/json", content_encoding="utf-8"))
        if n == 0:
            client.send_message(Message("no json"))
        client.shutdown()
    totals = f"""
        StreamedAverages | where device startswith 'streamed-{run}'
        | summarize n = sum(n), average = sum(average * n) / sum(n), windows = count(), distinct = count_distinct(till),
            odd = countif(till != bin(till, 2s)) by device
        | order by device asc
    """

    def all_there():
        rows = ask(totals)
        return rows if sum(row["n"] for row in rows) >= 20 else None

    rows = wait_for(all_there, 60)
    assert [(row["device"], row["n"], row["average"]) for row in rows] == [
        (device, 4, 20.375 + n) for n, device in enumerate(devices)
    ]
    # Every window has one row, and ends on a multiple of two seconds.
    assert all(row["windows"] == row["distinct"] and row["odd"] == 0 for row in rows)
    hot = f"StreamedRows | where device startswith 'streamed-{run}' | summarize n = count(), least = min(streamed)"
    assert wait_for(lambda: [row for row in ask(hot) if row["n"] >= 15], 60) == [{"n": 15, "least": 21.25}]
    # The same text over what is stored gives the same.
    text = """
        SELECT IoTHub.ConnectionDeviceId AS device, AVG(streamed) AS average, COUNT(*) AS n FROM input
        WHERE streamed IS NOT NULL GROUP BY IoTHub.ConnectionDeviceId, TumblingWindow(second, 2)
    """
    command = [os.environ["GANTRY_BIN"], "--data", os.path.dirname(os.environ["GANTRY_ENV"]), "query", "--format", "json"]
    stored = f"Telemetry | where DeviceId startswith 'streamed-{run}'"
    printed = subprocess.run([*command, "--stream", text, stored], check=True, capture_output=True, text=True).stdout
    again = [json.loads(line) for line in printed.splitlines()]
    streamed = ask(f"StreamedAverages | where device startswith 'streamed-{run}' | project device, average, n")
    assert sorted(map(by_device, again)) == sorted(map(by_device, streamed))
    # What is no record is not passed over in silence.
    told = 'gantry_streaming_dropped_total{job="averages",why="no record"}'
    metrics = lambda: requests.get(f"{env['GANTRY_URL']}/metrics", verify=env["GANTRY_CA_FILE"], timeout=20).text
    wait_for(lambda: told in metrics(), 60)
    # It is a table like any other.
    columns = ask("StreamedAverages | getschema | project ColumnName, ColumnType")
    assert [(row["ColumnName"], row["ColumnType"]) for row in columns] == [
        ("device", "string"), ("till", "datetime"), ("average", "real"), ("n", "long"),
    ]


def test_rows_are_events_that_a_route_and_a_rule_take(registry, device, env, ca, ask, call, routing):
    name, connection_string = device
    registry.update_twin(name, Twin(tags={"site": "lyon"}), "*")
    routing({
        "endpoints": {"eventHubs": [{"name": "hot-in-lyon"}]},
        "routes": [route("hot", "$body.site = 'lyon' AND output = 'StreamedHot'", "hot-in-lyon", "StreamingJobEvents")],
    })
    rule = {"when": {"kind": "row", "output": "StreamedHot"}, "severity": "critical", "actions": []}
    assert call("PUT", "/rules/hot-row", rule)[0] == 200
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)

    def alert():
        # Until the job has read of the twin.
        for value in (50, 95.5):
            client.send_message(Message(f'{{"hot":{value}}}', content_type="application/json", content_encoding="utf-8"))
        return next((alert for alert in call("GET", "/alerts")[1]["alerts"] if alert["ruleId"] == "hot-row"), None)

    opened = wait_for(alert, 60)
    client.shutdown()
    assert (opened["deviceId"], opened["kind"], opened["severity"]) == (name, "row", "critical")
    assert opened["title"] == f"StreamedHot of {name}"
    assert opened["reason"].endswith(f": device {name}, hot 95.5, site lyon")
    row = read(stream(env, "hot-in-lyon"), name, 1, starting_position="-1")[0]
    assert json.loads(row.body_as_str()) == {"device": name, "hot": 95.5, "site": "lyon"}
    assert row.properties == {b"job": b"hot", b"output": b"StreamedHot"}
    assert row.system_properties[b"iothub-message-source"] == b"streamingJobEvents"
    assert row.message_id.startswith("stream-hot-")
    # Nothing is a table that was to be events.
    assert ask("StreamedHot") == []
    jobs = {job["name"]: job for job in call("GET", "/streaming/jobs")[1]["value"]}
    assert jobs["averages"]["outputs"][0] == {"name": "StreamedAverages", "to": "table"}
    hot = jobs["hot"]
    assert (hot["outputs"], hot["reference"]) == ([{"name": "StreamedHot", "to": "events"}], ["sites"])
    assert (hot["state"], hot["failure"]) == ("running", None) and hot["rows"] >= 1 and hot["watermark"]
    assert call("DELETE", "/rules/hot-row")[0] == 204
