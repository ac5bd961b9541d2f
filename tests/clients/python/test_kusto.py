"""Questions about telemetry, asked by azure-kusto-data as it is published."""

import json
import os
import time
import uuid
from datetime import timedelta

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoApiError, KustoServiceError

from conftest import wait_for


@pytest.fixture(scope="module")
def kusto(env):
    # requests reads the authorities it trusts from here.
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    builder = KustoConnectionStringBuilder.with_aad_user_token_authentication(env["KUSTO_URL"], env["KUSTO_TOKEN"])
    with KustoClient(builder) as client:
        yield client


@pytest.fixture
def ask(kusto, env):
    def rows(text, properties=None):
        answer = kusto.execute_query(env["KUSTO_DATABASE"], text, properties)
        return [row.to_dict() for row in answer.primary_results[0]]

    return rows


def sent(registry, env, name, bodies):
    """A device that has sent these bodies."""
    device = f"{name}-{uuid.uuid4().hex[:8]}"
    key = registry.create_device_with_sas(device, "", "", "enabled").authentication.symmetric_key.primary_key
    client = IoTHubDeviceClient.create_from_connection_string(
        f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={device};SharedAccessKey={key}",
        server_verification_cert=open(env["GANTRY_CA_FILE"]).read(),
    )
    client.connect()
    for body in bodies:
        message = Message(body, content_type="application/json", content_encoding="utf-8")
        message.custom_properties["line"] = "7"
        client.send_message(message)
    client.shutdown()
    return device


def test_what_a_device_sent_is_there_as_soon_as_it_is_acknowledged(registry, env, ask):
    device = sent(registry, env, "kusto", [f'{{"temperature":{20 + n}.5,"count":{n},"state":"ok"}}' for n in range(10)])
    rows = ask(f"""
        Telemetry
        | where DeviceId == '{device}'
        | summarize n = count(), warmest = max(temperature), total = sum(count), states = make_set(state)
    """)
    assert rows == [{"n": 10, "warmest": 29.5, "total": 45, "states": ["ok"]}]
    rows = ask(f"Telemetry | where DeviceId == '{device}' | top 1 by SequenceNumber | project Properties.line, Body.count")
    assert rows == [{"Properties_line": "7", "Body_count": 9}]


def test_telemetry_joins_twins(registry, env, ask):
    device = sent(registry, env, "twinned", ['{"pressure":3}'])
    twin = registry.get_twin(device)
    twin.tags = {"site": "lyon"}
    registry.update_twin(device, twin, twin.etag)
    rows = ask(f"""
        Telemetry | where DeviceId == '{device}'
        | join kind=inner (Twins | where ModuleId == '' | project DeviceId, site = tostring(Tags.site)) on DeviceId
        | project pressure, site
    """)
    assert rows == [{"pressure": 3, "site": "lyon"}]


def test_parameters_are_values_and_not_text(registry, env, ask):
    device = sent(registry, env, "parameter", ['{"v":1}', '{"v":2}'])
    properties = ClientRequestProperties()
    properties.set_parameter("device", device)
    properties.set_parameter("least", 2)
    text = "declare query_parameters(device:string, least:long); Telemetry | where DeviceId == device and v >= least | project v"
    assert ask(text, properties) == [{"v": 2}]


def test_every_type_arrives_as_the_client_reads_it(ask):
    [row] = ask("""
        print b = true, i = int(7), l = 9007199254740993, r = 1.5, d = decimal(1.10), s = "x", t = datetime(2024-01-02 03:04:05.6),
              span = 1d + 2h, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642), y = dynamic({"a":[1,null]}), none = int(null), nan = real(nan)
    """)
    assert (row["b"], row["i"], row["l"], row["r"], str(row["d"]), row["s"]) == (True, 7, 9007199254740993, 1.5, "1.10", "x")
    assert row["t"].isoformat() == "2024-01-02T03:04:05.600000+00:00"
    assert row["span"].total_seconds() == 26 * 3600
    assert str(row["g"]) == "74be27de-1e4e-49d9-b579-fe0b331d3642"
    assert row["y"] == {"a": [1, None]} and row["none"] is None


def test_a_wrong_text_is_refused_with_its_code_and_place(kusto, env):
    for text, code, place in [
        ("print 1 |", "SYN0002", None),
        ("Telemetry | where nothing_of_that_name > 5", "SEM0100", "[line:position=1:19]"),
        ("Nowhere | take 1", "SEM0100", None),
    ]:
        with pytest.raises((KustoApiError, KustoServiceError)) as refused:
            kusto.execute_query(env["KUSTO_DATABASE"], text)
        assert code in str(refused.value), text
        assert place is None or place in str(refused.value)


def test_a_result_that_is_too_large_says_so_with_the_rows_before(kusto, env):
    properties = ClientRequestProperties()
    properties.set_option("truncationmaxrecords", 5)
    with pytest.raises(KustoServiceError) as partial:
        kusto.execute_query(env["KUSTO_DATABASE"], "range x from 1 to 100 step 1", properties)
    assert "E_QUERY_RESULT_SET_TOO_LARGE" in str(partial.value)


def test_an_answer_says_what_it_took(kusto, env):
    kusto.execute_mgmt(env["KUSTO_DATABASE"], ".set-or-replace Spent <| range n from 1 to 1000 step 1")
    answer = kusto.execute_query(env["KUSTO_DATABASE"], "Spent | where n % 2 == 0 | order by n desc | take 600")
    (payload,) = [
        json.loads(row["Payload"])
        for table in answer.tables if table.table_kind.value == "QueryCompletionInformation"
        for row in table if row["EventTypeName"] == "QueryResourceConsumption"
    ]
    assert payload["ExecutionTime"] > 0
    assert payload["input_dataset_statistics"]["rows"]["scanned"] == 1000
    assert payload["dataset_statistics"][0]["table_row_count"] == 500
    assert payload["resource_usage"]["memory"]["peak_per_node"] >= 500 * 8


def test_commands_tell_about_the_tables(kusto, env):
    database = env["KUSTO_DATABASE"]
    tables = {row["TableName"] for row in kusto.execute_mgmt(database, ".show tables").primary_results[0]}
    assert {"Telemetry", "DeviceEvents", "Twins", "MaintenanceList", "Alerts", "Signals", "SecurityEvents"} <= tables
    assert [row["DatabaseName"] for row in kusto.execute_mgmt(database, ".show databases").primary_results[0]] == [database]
    [counted] = kusto.execute_mgmt(database, ".show tables | where TableName startswith 'T' | count").primary_results[0]
    assert counted["Count"] == 2
    [schema] = kusto.execute_mgmt(database, ".show table Twins cslschema").primary_results[0]
    assert schema["Schema"].startswith("DeviceId:string,ModuleId:string")
    with pytest.raises((KustoApiError, KustoServiceError)) as refused:
        kusto.execute_mgmt(database, ".drop table Twins")
    assert "cannot be changed" in str(refused.value)


def test_nobody_gets_in_without_a_token(env):
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    for token in ["nonsense", env["KUSTO_TOKEN"][:-3]]:
        builder = KustoConnectionStringBuilder.with_aad_user_token_authentication(env["KUSTO_URL"], token)
        with KustoClient(builder) as client, pytest.raises((KustoApiError, KustoServiceError)) as refused:
            client.execute_query(env["KUSTO_DATABASE"], "print 1")
        assert "401" in str(refused.value) or "Unauthorized" in str(refused.value)


def test_a_query_that_runs_long_ends_in_time(kusto, env):
    properties = ClientRequestProperties()
    properties.set_option(ClientRequestProperties.request_timeout_option_name, timedelta(seconds=1))
    began = time.monotonic()
    with pytest.raises((KustoApiError, KustoServiceError)):
        kusto.execute_query(
            env["KUSTO_DATABASE"],
            "range a from 1 to 100000 step 1 | extend k = 1 | join kind=inner (range b from 1 to 100000 step 1 | extend k = 1) on k | count",
            properties,
        )
    assert time.monotonic() - began < 120


def test_the_longest_texts_are_answered_or_refused(ask):
    # As many operators as a text may have stand on each other; one more is refused, and nobody notices either.
    for operators in (50, 500, 590, 5_000):
        for piece in (" | where x > 0", " | extend x = x + 1"):
            try:
                assert ask("range x from 1 to 3 step 1" + piece * operators + " | count") == [{"Count": 3}]
            except (KustoApiError, KustoServiceError) as refused:
                assert operators > 500 and "SYN0002" in str(refused)
    assert ask("print 1") == [{"print_0": 1}]


def test_the_maintenance_list_is_a_table(registry, env, ask):
    device = sent(registry, env, "listed", ['{"temperature":21}'])
    wait_for(lambda: any(row["DeviceId"] == device for row in ask("MaintenanceList")))


def test_t_sql_is_answered_as_a_query(kusto, env):
    database = env["KUSTO_DATABASE"]
    statement = "SELECT TOP 1 PartitionId, COUNT(*) AS Parts FROM (SELECT 1 AS PartitionId) AS p GROUP BY PartitionId"
    table = kusto.execute_query(database, statement).primary_results[0]
    assert [column.column_name for column in table.columns] == ["PartitionId", "Parts"]
    assert [row.to_list() for row in table] == [[1, 1]]
    properties = ClientRequestProperties()
    properties.set_option("query_language", "sql")
    with_rows = "WITH n AS (SELECT 2 AS x) SELECT x + 1 AS y FROM n"
    assert kusto.execute(database, with_rows, properties).primary_results[0][0]["y"] == 3
    with pytest.raises(KustoServiceError, match="SEM0100.*nothing"):
        kusto.execute_query(database, "SELECT nothing FROM Telemetry")
