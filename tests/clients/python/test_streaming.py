"""A streaming job of the platform's configuration, whose tables azure-kusto-data reads."""

import json
import os
import subprocess
import uuid

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, Message
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoServiceError

from conftest import wait_for


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
