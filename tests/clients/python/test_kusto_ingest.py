"""Tables that programs write into: commands by azure-kusto-data, data by azure-kusto-ingest, both as they are published."""

import io
import json
import os
import uuid
from datetime import datetime, timezone

import fastavro
import pandas
import pyarrow
import pytest
from azure.kusto.data import DataFormat, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoApiError, KustoServiceError
from azure.kusto.ingest import (
    ColumnMapping,
    FileDescriptor,
    IngestionMappingKind,
    IngestionProperties,
    KustoStreamingIngestClient,
    ManagedStreamingIngestClient,
    QueuedIngestClient,
    ReportLevel,
    StreamDescriptor,
)
from azure.kusto.ingest.status import KustoIngestStatusQueues
from pyarrow import parquet

from conftest import wait_for


@pytest.fixture(scope="module")
def builder(env):
    # requests reads the authorities it trusts from here.
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    return KustoConnectionStringBuilder.with_aad_user_token_authentication(env["KUSTO_URL"], env["KUSTO_TOKEN"])


@pytest.fixture(scope="module")
def kusto(builder):
    with KustoClient(builder) as client:
        yield client


@pytest.fixture
def run(kusto, env):
    def rows(text):
        execute = kusto.execute_mgmt if text.lstrip().startswith(".") else kusto.execute_query
        return [row.to_dict() for row in execute(env["KUSTO_DATABASE"], text).primary_results[0]]

    return rows


@pytest.fixture
def table(run):
    name = f"T{uuid.uuid4().hex[:8]}"
    run(f".create table {name} (id:long, name:string, at:datetime, tags:dynamic)")
    yield name
    run(f".drop table {name} ifexists")


def properties(env, table, form=DataFormat.CSV, **more):
    return IngestionProperties(database=env["KUSTO_DATABASE"], table=table, data_format=form, **more)


def count(run, table):
    return run(f"{table} | count")[0]["Count"]


def test_a_table_is_made_written_into_and_asked(run, table):
    run(f'.ingest inline into table {table} <| 1,"a, b",2024-01-02,"{{""k"":[1]}}"\n2,,,')
    rows = run(f"{table} | order by id asc | project id, name, at, k = tags.k[0]")
    assert rows[0]["name"] == "a, b" and rows[0]["at"].isoformat() == "2024-01-02T00:00:00+00:00" and rows[0]["k"] == 1
    assert rows[1] == {"id": 2, "name": "", "at": None, "k": None}
    [extent] = run(f".set-or-append {table} <| {table} | extend id = id + 10")
    assert extent["RowCount"] == 2 and count(run, table) == 4
    [shown] = run(f".show table {table} details")
    assert shown["TotalRowCount"] == 4 and shown["TotalExtents"] == 2


def test_views_functions_and_update_policies(run, table):
    try:
        run(f".create table {table}Big (id:long, name:string)")
        run(f".create function {table}F() {{ {table} | where id > 1 | project id, name }}")
        policy = json.dumps([{"IsEnabled": True, "Source": table, "Query": f"{table}F()", "IsTransactional": True}])
        run(f".alter table {table}Big policy update ```{policy}```")
        run(f".create materialized-view with (backfill=true) {table}V on table {table} {{ {table} | summarize n = count() by name }}")
        run(f".ingest inline into table {table} <| 1,x\n2,x\n3,y")
        assert count(run, f"{table}Big") == 2
        assert {row["name"]: row["n"] for row in run(f"{table}V")} == {"x": 2, "y": 1}
    finally:
        for what in (f"materialized-view {table}V", f"function {table}F", f"table {table}Big"):
            run(f".drop {what} ifexists")


def test_a_wrong_command_says_where(kusto, env, table):
    for text, code in [
        (f".create function Bad() {{\n {table} | where nothing > 1 }}", "[line:position=2:"),
        (f".append {table} <| print 1", "does not match"),
        (".drop table Nothing", "Entity ID 'Nothing' of kind 'Table' was not found"),
        (".create table Twins (a:long)", "Twins"),
        (".alter cluster policy caching hot = 1d", "not implemented"),
    ]:
        with pytest.raises((KustoApiError, KustoServiceError)) as refused:
            kusto.execute_mgmt(env["KUSTO_DATABASE"], text)
        assert code in str(refused.value), text


def test_streaming_ingestion_is_there_when_it_is_answered(builder, env, run, table):
    with KustoStreamingIngestClient(builder) as client:
        client.ingest_from_stream(io.StringIO("1,a\n2,b\n"), properties(env, table))
        assert count(run, table) == 2
        frame = pandas.DataFrame({"id": [3, 4], "name": ["c", "d"]})
        client.ingest_from_dataframe(frame, properties(env, table))
        assert [row["name"] for row in run(f"{table} | where id > 2 | order by id asc")] == ["c", "d"]
        with pytest.raises((KustoApiError, KustoServiceError)) as refused:
            client.ingest_from_stream(io.StringIO("1"), properties(env, "Nothing"))
        assert "Nothing" in str(refused.value)


def test_streaming_ingestion_reads_json_by_name_and_by_mapping(builder, env, run, table, tmp_path):
    mapping = [{"Column": "id", "Properties": {"Path": "$.deep.number"}}, {"Column": "tags", "Properties": {"Path": "$"}}]
    run(f".create table {table} ingestion json mapping 'M' '{json.dumps(mapping)}'")
    path = tmp_path / "data.json"
    path.write_text('{"id":1,"name":"n","unknown":true}\n{"id":2}\n')
    with KustoStreamingIngestClient(builder) as client:
        client.ingest_from_file(str(path), properties(env, table, DataFormat.JSON))
        assert [row["id"] for row in run(f"{table} | order by id asc")] == [1, 2]
        more = {"ingestion_mapping_reference": "M", "ingestion_mapping_kind": IngestionMappingKind.JSON}
        client.ingest_from_stream(io.StringIO('{"deep":{"number":7}}'), properties(env, table, DataFormat.JSON, **more))
        assert run(f"{table} | where id == 7 | project tags.deep.number") == [{"tags_deep_number": 7}]


def test_parquet_and_avro_of_other_writers_are_read(builder, env, run, table, tmp_path):
    frame = pyarrow.table({"id": [1, None], "name": ["a", "b"], "at": pandas.to_datetime(["2024-01-01T00:00:00.5", None])})
    path = tmp_path / "data.parquet"
    parquet.write_table(frame, path)
    with KustoStreamingIngestClient(builder) as client:
        client.ingest_from_file(FileDescriptor(str(path)), properties(env, table, DataFormat.PARQUET))
        schema = {
            "type": "record",
            "name": "row",
            "fields": [
                {"name": "id", "type": ["null", "long"]},
                {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "tags", "type": {"type": "map", "values": "double"}},
            ],
        }
        instant = datetime(2024, 1, 1, tzinfo=timezone.utc)
        for codec in ("null", "deflate"):
            path = tmp_path / f"{codec}.avro"
            with open(path, "wb") as out:
                fastavro.writer(out, schema, [{"id": 9, "at": instant, "tags": {"x": 1.5}}], codec=codec)
            client.ingest_from_file(FileDescriptor(str(path)), properties(env, table, DataFormat.AVRO))
    rows = run(f"{table} | where id == 9 | project at, x = todouble(tags.x)")
    assert rows == [{"at": instant, "x": 1.5}] * 2
    rows = run(f"{table} | where id != 9 | order by name asc | project id, at")
    assert rows[0]["id"] == 1 and rows[0]["at"].isoformat() == "2024-01-01T00:00:00.500000+00:00"
    assert rows[1] == {"id": None, "at": None}


def test_managed_streaming_ingestion(builder, env, run, table):
    with ManagedStreamingIngestClient(builder) as client:
        source = StreamDescriptor(io.BytesIO(b"1,a\n"), source_id=uuid.uuid4())
        client.ingest_from_stream(source, properties(env, table))
        assert count(run, table) == 1
        # The same source again: it is there already.
        again = StreamDescriptor(io.BytesIO(b"1,a\n"), source_id=source.source_id)
        client.ingest_from_stream(again, properties(env, table))
        assert count(run, table) == 1


def test_queued_ingestion_of_a_file_a_stream_and_a_frame(builder, env, run, table, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("id,name\n1,a\n2,b\n")
    with QueuedIngestClient(builder) as client:
        more = {"report_level": ReportLevel.FailuresAndSuccesses, "ignore_first_record": True}
        client.ingest_from_file(str(path), properties(env, table, **more))
        client.ingest_from_stream(io.StringIO('{"id":3}'), properties(env, table, DataFormat.JSON))
        client.ingest_from_dataframe(pandas.DataFrame({"id": [4]}), properties(env, table))
        wait_for(lambda: count(run, table) == 4)
        statuses = KustoIngestStatusQueues(client)
        wait_for(lambda: any(one.Table == table for one in statuses.success.pop(8)))


def test_queued_ingestion_that_fails_says_why(builder, env, run, table):
    with QueuedIngestClient(builder) as client:
        wrong = properties(env, table, DataFormat.JSON, report_level=ReportLevel.FailuresOnly)
        client.ingest_from_stream(io.StringIO("{oops"), wrong)
        statuses = KustoIngestStatusQueues(client)
        seen = []

        def failed():
            seen.extend(statuses.failure.pop(8))
            return [one for one in seen if one.Table == table]

        [one] = wait_for(failed)
        assert "no JSON object" in one.Details and one.FailureStatus == "Permanent"
    assert [row["Table"] for row in run(f".show ingestion failures | where Table == '{table}'")] == [table]


def test_what_is_tagged_comes_once(builder, env, run, table):
    with QueuedIngestClient(builder) as client:
        for _ in range(3):
            once = properties(env, table, ingest_by_tags=["day"], ingest_if_not_exists=["day"])
            client.ingest_from_stream(io.StringIO("1,a"), once)
        client.ingest_from_stream(io.StringIO("2,b"), properties(env, table))
        wait_for(lambda: run(f"{table} | where id == 2 | count")[0]["Count"] == 1)
    assert count(run, table) == 2
