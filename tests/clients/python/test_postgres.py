"""The tables over the PostgreSQL wire protocol: psycopg, SQLAlchemy, asyncpg, ADBC and psql as they are published."""

import datetime
import decimal
import json
import os
import socket
import ssl
import subprocess
import threading
import uuid
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from test_kusto import sent

CASES = Path(__file__).parents[3] / "crates/analytics/tests/sql"


@pytest.fixture
def url(env):
    return env["POSTGRES_URL"]


@pytest.fixture
def connection(url):
    with psycopg.connect(url) as connection:
        yield connection


def test_what_a_device_sent_is_read_in_sql(registry, env, connection):
    device = sent(registry, env, "sql", [f'{{"temperature":{20 + n}.5,"count":{n},"state":"ok"}}' for n in range(10)])
    row = connection.execute(
        "SELECT count(*), max(temperature), sum(count), string_agg(DISTINCT state, ',') FROM telemetry WHERE deviceid = %s",
        (device,),
    ).fetchone()
    assert row == (10, 29.5, 45, "ok")
    row = connection.execute(
        'SELECT "EnqueuedTime", "Properties" ->> \'line\', (body ->> \'count\')::int FROM telemetry'
        " WHERE deviceid = %s ORDER BY sequencenumber DESC LIMIT 1",
        (device,),
    ).fetchone()
    assert row[1:] == ("7", 9)
    assert datetime.datetime.now(datetime.UTC) - row[0] < datetime.timedelta(hours=1)
    rows = connection.execute(
        "SELECT t.deviceid, count(*), avg(temperature) FROM telemetry t JOIN twins w ON w.deviceid = t.deviceid"
        " WHERE t.deviceid = %s GROUP BY t.deviceid",
        (device,),
    ).fetchall()
    assert rows == [(device, 10, 25.0)]


@pytest.mark.parametrize("binary", [False, True])
def test_every_type_comes_as_itself(connection, binary):
    query = """
        SELECT true, 1::int2, 2, 3000000000, 1.5::float8, 12.340::numeric, 'x', timestamptz '2024-02-29 12:00:00Z',
               date '2024-02-29', interval '1 day 2 hours', '0a0b0c0d-0000-4000-8000-000000000001'::uuid,
               '{"a": [1, null]}'::jsonb, array[1, null, 3], array['a', 'b c'], null::text, 26::oid, time '12:30'
    """
    row = connection.cursor(binary=binary).execute(query).fetchone()
    assert row == (
        True, 1, 2, 3000000000, 1.5, decimal.Decimal("12.340"), "x",
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), datetime.date(2024, 2, 29),
        datetime.timedelta(days=1, hours=2), uuid.UUID("0a0b0c0d-0000-4000-8000-000000000001"),
        {"a": [1, None]}, [1, None, 3], ["a", "b c"], None, 26, datetime.time(12, 30),
    )  # fmt: skip


def test_parameters_in_both_formats(connection):
    values = (7, 2.5, "é", True, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), None, [1, 2], decimal.Decimal("1.5"))
    for mark in ["%t", "%b"]:
        query = f"SELECT {mark}::int8, {mark}::float8, {mark}::text, {mark}::bool, {mark}::timestamptz, {mark}::text, {mark}::int8[], {mark}::numeric"
        assert connection.execute(query, values).fetchone() == values
    with connection.cursor() as cursor:
        for n in range(7):
            # After five times the driver prepares it.
            assert cursor.execute("SELECT %s::int8 + 1", (n,)).fetchone() == (n + 1,)


def test_errors_carry_state_and_place_and_a_transaction_ends_with_them(connection):
    with pytest.raises(psycopg.errors.UndefinedColumn) as raised:
        connection.execute("SELECT 1,\n nosuch FROM telemetry")
    assert raised.value.diag.statement_position == "12"
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.execute("SELECT 1")
    connection.rollback()
    for statement, error in [
        ("SELECT 1 / 0", psycopg.errors.DivisionByZero),
        ("SELECT * FROM nosuch", psycopg.errors.UndefinedTable),
        ("SELEC 1", psycopg.errors.SyntaxError),
        ("INSERT INTO telemetry VALUES (1)", psycopg.errors.ReadOnlySqlTransaction),
        ("SELECT sum(DISTINCT g) FROM generate_series(1, 2) g", psycopg.errors.FeatureNotSupported),
        ("SELECT (SELECT g FROM generate_series(1, 2) g)", psycopg.errors.CardinalityViolation),
    ]:
        with pytest.raises(error):
            connection.execute(statement)
        connection.rollback()


def test_rows_come_in_portions_and_as_copy(url):
    with psycopg.connect(url) as connection:
        with connection.cursor() as cursor:
            rows = list(cursor.stream("SELECT g, g::text FROM generate_series(1, 50000) g"))
            assert len(rows) == 50_000 and rows[-1] == (50_000, "50000")
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1, 'a,b', null) TO STDOUT (FORMAT csv, HEADER)") as copy:
            assert b"".join(copy).decode().splitlines()[1] == '1,"a,b",'
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT g, 'x'::text FROM generate_series(1, 3) g) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(1, "x"), (2, "x"), (3, "x")]


def test_a_statement_is_stopped_from_elsewhere(url):
    with psycopg.connect(url, autocommit=True) as connection:
        threading.Timer(0.5, connection.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(
                "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a % 7 = b % 11"
            )
        connection.execute("SET statement_timeout = '1s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a <> b")


def test_who_may_not_is_refused(url, env):
    for change in [{"password": "wrong"}, {"user": "nobody"}, {"password": env["KUSTO_TOKEN"][:-3]}]:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url, **change)
    psycopg.connect(url, password=env["KUSTO_TOKEN"]).close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url, dbname="other")
    with pytest.raises(psycopg.OperationalError, match="encrypted"):
        psycopg.connect(url, sslmode="disable")


def test_bad_bytes_end_their_connection_and_nothing_else(url, env):
    parts = psycopg.conninfo.conninfo_to_dict(url)
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    for sent_ in [b"\0\0\0\x08\0\0\0\0", b"\xff" * 64, b"\0\0\0\x04", b"GET / HTTP/1.1\r\n\r\n", b"\x7f\xff\xff\xff\0\3\0\0"]:
        for encrypted in [False, True]:
            with socket.create_connection((parts["host"], int(parts["port"]))) as peer:
                if encrypted:
                    peer.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
                    assert peer.recv(1) == b"S"
                    peer = context.wrap_socket(peer, server_hostname=parts["host"])
                peer.sendall(sent_)
                peer.settimeout(60)
                try:
                    while peer.recv(4096):
                        pass
                except (ConnectionError, ssl.SSLError):
                    pass
    psycopg.connect(url).close()


def test_sqlalchemy_reflects_and_asks(url, registry, env):
    device = sent(registry, env, "alchemy", ['{"v":1}', '{"v":2}'])
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    inspector = sqlalchemy.inspect(engine)
    assert "Telemetry" in inspector.get_table_names() and "public" in inspector.get_schema_names()
    columns = {column["name"]: column for column in inspector.get_columns("Telemetry")}
    assert isinstance(columns["EnqueuedTime"]["type"], sqlalchemy.types.DateTime)
    assert columns["DeviceId"]["default"] is None and columns["DeviceId"]["comment"] is None
    assert inspector.get_pk_constraint("Telemetry")["constrained_columns"] == []
    assert inspector.get_indexes("Telemetry") == [] and inspector.get_foreign_keys("Telemetry") == []
    table = sqlalchemy.Table("Telemetry", sqlalchemy.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        query = sqlalchemy.select(sqlalchemy.func.sum(table.c.v)).where(table.c.DeviceId == device)
        assert connection.execute(query).scalar() == 3
        assert connection.execute(text("SELECT current_database()")).scalar() == env["KUSTO_DATABASE"]


def test_pandas_reads_a_frame(url):
    import pandas
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        frame = pandas.read_sql(text("SELECT g AS n, g * 0.5::float8 AS half FROM generate_series(1, 4) g"), connection)
    assert frame["half"].sum() == 5.0


async def test_asyncpg_asks_in_binary(url, env):
    import asyncpg
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])
    connection = await asyncpg.connect(url.split("?")[0], ssl=context)
    try:
        row = await connection.fetchrow("SELECT $1::int8 AS n, $2::text AS s, now() AS t, '{\"a\":1}'::jsonb AS j", 5, "x")
        assert (row["n"], row["s"], json.loads(row["j"])) == (5, "x", {"a": 1})
        async with connection.transaction():
            assert [row["g"] async for row in connection.cursor("SELECT g FROM generate_series(1, 120) g")] == list(range(1, 121))
    finally:
        await connection.close()


def test_adbc_reads_arrow(url):
    from adbc_driver_postgresql import dbapi
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT g::int8 AS n, 'x'::text AS s, now() AS t FROM generate_series(1, 3) g")
        table = cursor.fetch_arrow_table()
        assert table.column("n").to_pylist() == [1, 2, 3] and table.column("s").to_pylist() == ["x"] * 3
        schemas = connection.adbc_get_objects(depth="tables", db_schema_filter="public").read_all().to_pylist()
        assert "Telemetry" in str(schemas)


def test_psql_describes_tables(url):
    def psql(*arguments):
        return subprocess.run(["psql", url, "-X", *arguments], capture_output=True, text=True, check=True).stdout

    assert "Telemetry" in psql("-c", r"\d")
    described = psql("-c", r'\d "Telemetry"')
    assert "EnqueuedTime" in described and "timestamp with time zone" in described
    for command in [r"\l", r"\dn", r"\dt+", r"\du", r"\dT", r"\df", r"\dv", r"\di", r"\d+ " + '"Twins"', r"\conninfo"]:
        psql("-c", command)
    assert psql("-At", "-c", "SELECT 1; SELECT 'a', null", "-P", "null=~") == "1\na|~\n"
    assert psql("-At", "-c", r"\copy (select 1, 'a') to stdout csv") == "1,a\n"


def test_statements_of_other_clients_are_answered(connection):
    connection.autocommit = True
    for line in (CASES / "introspection.jsonl").read_text().splitlines():
        statement = json.loads(line)["statement"]
        if statement.startswith("COPY") or "where n" in statement.lower():
            continue
        cursor = psycopg.ClientCursor(connection)
        statement = statement.replace("%", "%%")
        for n in (4, 3, 2, 1):
            statement = statement.replace(f"ANY(${n})", "ANY('{}'::text[])").replace(f"${n}", "'x'")
        cursor.execute(statement.replace("%%", "%"))
