"""Tables as columns: the ADBC driver for Flight SQL as it is published, and Flight of pyarrow."""

import os
import subprocess
from datetime import datetime, timezone

import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error
from test_kusto import sent


def options(env, language=None, **more):
    """What a program sets: who it is and whom it trusts."""
    values = {
        "username": "anybody", "password": env["KUSTO_TOKEN"],
        DatabaseOptions.TLS_ROOT_CERTS.value: open(env["GANTRY_CA_FILE"]).read(),
    }
    if language:
        values[f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}x-query-language"] = language
    return values | more


@pytest.fixture(scope="module")
def kql(env):
    with flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=options(env, "kql"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def ask(kql):
    def table(text, parameters=None):
        with kql.cursor() as cursor:
            cursor.execute(text, parameters)
            return cursor.fetch_arrow_table()

    return table


def test_telemetry_arrives_as_columns(registry, env, ask):
    device = sent(registry, env, "flight", [f'{{"flightValue":{n}.5}}' for n in range(100)])
    table = ask(f"Telemetry | where DeviceId == '{device}' | project DeviceId, SequenceNumber, EnqueuedTime, flightValue")
    assert table.num_rows == 100
    assert table.schema.field("EnqueuedTime").type == pa.timestamp("ns", "UTC")
    assert table.schema.field("SequenceNumber").type == pa.int64()
    assert sorted(table.column("flightValue").to_pylist()) == [n + 0.5 for n in range(100)]


def test_every_type_arrives(ask):
    table = ask("""
        print b = true, i = int(7), l = 9223372036854775807, r = 1.5, d = decimal(1.10), s = "x",
              t = datetime(2024-01-02 03:04:05.1234567), span = 1d + 2h, g = guid(74be27de-1e4e-49d9-b579-fe0b331d3642),
              y = dynamic({"a":[1,null]}), none = int(null)
    """)
    types = {field.name: field.type for field in table.schema}
    assert [types[name] for name in "bilrds"] == [pa.bool_(), pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.string()]
    assert (types["span"], types["g"], types["y"]) == (pa.duration("ns"), pa.uuid(), pa.json_())
    # Without pandas nobody in Python holds the last digit of the instant.
    [row] = table.drop_columns("t").to_pylist()
    assert (row["b"], row["i"], row["l"], row["r"], row["d"], row["none"]) == (True, 7, 2**63 - 1, 1.5, "1.10", None)
    assert table.column("t").cast(pa.int64()).to_pylist() == [1704164645123456700]
    assert str(row["g"]) == "74be27de-1e4e-49d9-b579-fe0b331d3642"
    assert row["y"].replace(" ", "") == '{"a":[1,null]}'


def test_a_large_result_streams_and_may_be_left(kql):
    with kql.cursor() as cursor:
        cursor.execute("range x from 1 to 3000000 step 1 | extend text = strcat('row ', x)")
        reader = cursor.fetch_record_batch()
        rows = sum(batch.num_rows for batch in reader)
        assert rows == 3_000_000
    for _ in range(12):
        # More than may run at once: who leaves makes room.
        with kql.cursor() as cursor:
            cursor.execute("range x from 1 to 16000000 step 1")
            cursor.fetch_record_batch().read_next_batch()


def test_parameters_are_values(ask, kql):
    text = "declare query_parameters(d:string, n:long, t:datetime); print d, n + 1, t"
    when = datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    [row] = ask(text, ("it's \" quoted", 41, when)).to_pylist()
    assert list(row.values()) == ["it's \" quoted", 42, when]
    with kql.cursor() as cursor:
        cursor.adbc_prepare(text)
        cursor.execute(text, ("a", 1, when))
        assert list(cursor.fetchone())[:2] == ["a", 2]


def test_sql_is_asked_without_a_header(registry, env):
    device = sent(registry, env, "flightsql", [f'{{"flightSql":{n}}}' for n in range(10)])
    with flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=options(env), autocommit=True) as connection:
        def ask(text, parameters=None):
            with connection.cursor() as cursor:
                cursor.execute(text, parameters)
                return cursor.fetch_arrow_table()

        text = "SELECT deviceid, sum(flightsql) AS total, max(flightsql) FROM telemetry WHERE deviceid = $1 AND flightsql > $2 GROUP BY 1"
        table = ask(text, (device, 5))
        assert table.to_pylist() == [{"deviceid": device, "total": 30, "max": 9}]
        table = ask("""SELECT date '2024-02-29' AS d, time '03:04:05.5' AS c, timestamp '2024-02-29 03:04' AS l, timestamptz '2024-02-29 03:04+01' AS t,
            interval '2 hours' AS i, 1.10::numeric AS n, 7::int2 AS s, 1.5::float4 AS r, true AS b, null::text AS nothing, '[1]'::jsonb AS j, array[1, 2] AS a""")
        types = {field.name: field.type for field in table.schema}
        assert [types[name] for name in "dclt"] == [pa.date32(), pa.time64("ns"), pa.timestamp("ns"), pa.timestamp("ns", "UTC")]
        assert [types[name] for name in "insrb"] == [pa.duration("ns"), pa.string(), pa.int32(), pa.float64(), pa.bool_()]
        row = {name: table.column(name).cast(pa.string()).to_pylist()[0] for name in "dctnjal"} | {"nothing": table.column("nothing").to_pylist()[0]}
        assert row == {"d": "2024-02-29", "c": "03:04:05.500000000", "t": "2024-02-29 02:04:00.000000000Z", "n": "1.10", "j": "[1]", "a": "[1,2]",
                       "l": "2024-02-29 03:04:00.000000000", "nothing": None}
        # A text is read as what its place needs; two columns may have one name.
        assert ask("SELECT count(*) FROM telemetry WHERE enqueuedtime > $1 AND deviceid = $2", ("2024-01-01", device)).column(0).to_pylist() == [10]
        assert ask("SELECT 1 AS x, 2 AS x").schema.names == ["x", "x"]
        with connection.cursor() as cursor:
            parameters = cursor.adbc_prepare("SELECT $1::int8, $2::date")
            assert [field.type for field in parameters] == [pa.int64(), pa.date32()]
        for wrong, named in [("SELECT nothing FROM telemetry", "42703|nothing"), ("SELEC 1", "position=1:1"), ("DELETE FROM telemetry", ""), ("SELECT 1; SELECT 2", ""), ("SELECT 1 / 0", "division by zero")]:
            with pytest.raises(Error, match=named):
                ask(wrong)
        with pytest.raises(Error, match="2 values for 1 parameters"):
            ask("SELECT $1::int4", (1, 2))


def test_the_catalogue_is_told(kql):
    info = kql.adbc_get_info()
    assert info["vendor_name"] == "Gantry"
    assert kql.adbc_get_table_types() == ["TABLE"]
    objects = kql.adbc_get_objects(depth="columns", table_name_filter="Twins").read_all().to_pylist()
    [catalog] = objects
    assert catalog["catalog_name"] == "telemetry"
    [schema] = catalog["catalog_db_schemas"]
    [table] = schema["db_schema_tables"]
    assert (schema["db_schema_name"], table["table_name"], table["table_type"]) == ("public", "Twins", "TABLE")
    assert [column["column_name"] for column in table["table_columns"]][:2] == ["DeviceId", "ModuleId"]
    schema = kql.adbc_get_table_schema("Twins")
    assert schema.field("Version").type == pa.int64() and schema.field("Tags").type == pa.json_()


def test_commands_show(ask):
    assert "Telemetry" in ask(".show tables").column("TableName").to_pylist()


def test_what_is_wrong_says_so(ask, env):
    for text, named in [
        ("Nowhere | take 1", "SEM0100"),
        ("print 1 |", "SYN0002"),
        ("print datetime(9999-12-31)", "x-timestamp-unit"),
        (".drop table Twins", "not implemented"),
        ("print 1; print 2", "several results"),
    ]:
        with pytest.raises(Error, match=named):
            ask(text)
    far = options(env, "kql") | {f"{DatabaseOptions.RPC_CALL_HEADER_PREFIX.value}x-timestamp-unit": "us"}
    with flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=far, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("print t = datetime(9999-12-31)")
        assert cursor.fetch_arrow_table().schema.field("t").type == pa.timestamp("us", "UTC")
    with pytest.raises(Error, match="kql"):
        flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=options(env, "prql"), autocommit=True).cursor().execute("x")


def test_who_may(env):
    key = env["IOTHUB_CONNECTION_STRING"].split("SharedAccessKey=")[1]
    header = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {env['KUSTO_TOKEN']}"}
    token = {name: value for name, value in options(env, "kql").items() if name not in ("username", "password")} | header
    for credentials in [options(env, "kql", username="iothubowner", password=key), token]:
        with flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=credentials, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute("print 1")
                assert cursor.fetchone() == (1,)
    for wrong in [{"username": "service", "password": key}, {"password": "wrong"}]:
        with pytest.raises(Error, match="(?i)unauthenticated|unauthorized"):
            connection = flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=options(env, "kql", **wrong), autocommit=True)
            connection.cursor().execute("print 1")


def test_flight_itself(env):
    ca = open(env["GANTRY_CA_FILE"], "rb").read()
    client = flight.FlightClient(env["FLIGHTSQL_URL"], tls_root_certs=ca)
    header = client.authenticate_basic_token("iothubowner", env["IOTHUB_CONNECTION_STRING"].split("SharedAccessKey=")[1])
    called = flight.FlightCallOptions(headers=[header])
    assert {action.type for action in client.list_actions(called)} == {"CreatePreparedStatement", "ClosePreparedStatement"}
    with pytest.raises(pa.ArrowException, match="not implemented"):
        list(client.do_action(flight.Action("BeginTransaction", b""), called))
    with pytest.raises(pa.ArrowException, match="not implemented"):
        list(client.list_flights(options=called))
    with pytest.raises(flight.FlightUnauthenticatedError):
        list(client.list_actions())
    with pytest.raises(pa.ArrowException, match="no command"):
        client.get_flight_info(flight.FlightDescriptor.for_command(b"nonsense"), called)


def test_the_command_line_writes_columns(platform):
    text = "print n = 5, t = datetime(2024-01-02), s = 'x', r = real(nan), y = dynamic([1]), none = long(null)"
    command = [os.environ["GANTRY_BIN"], "--data", str(platform.folder / "data"), "query", "--format", "arrow", text]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    table = pa.ipc.open_stream(done.stdout).read_all()
    assert table.schema.field("t").type == pa.timestamp("ns", "UTC") and table.schema.field("y").type == pa.json_()
    [row] = table.to_pylist()
    assert (row["n"], row["s"], row["y"], row["none"]) == (5, "x", "[1]", None) and row["r"] != row["r"]
