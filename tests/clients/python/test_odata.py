"""Tables as an OData feed: python-odata as it is published, and what Excel and Power Query send."""

import uuid
import xml.etree.ElementTree as ET

import adbc_driver_flightsql.dbapi as flightsql
import psycopg
import pytest
import requests
from odata import ODataService
from odata.exceptions import ODataError
from test_flight import options as flight_options
from test_kusto import sent


@pytest.fixture(scope="module")
def basic(env):
    """Any name and the token of connection.env, as a person types them into Excel."""
    return ("token", env["KUSTO_TOKEN"])


@pytest.fixture(scope="module")
def get(env, basic):
    session = requests.Session()
    session.auth, session.verify = basic, env["GANTRY_CA_FILE"]

    def get(path, status=200, **options):
        headers = options.pop("headers", {})
        url = path if path.startswith("https:") else env["ODATA_URL"] + path
        answer = session.get(url, params={f"${name}": value for name, value in options.items()}, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.headers["OData-Version"] == "4.0"
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else answer.text

    return get


@pytest.fixture(scope="module")
def devices(registry, env):
    """Two devices: one with 25 messages, one with 3."""
    many = sent(registry, env, "feed", [f'{{"feedValue":{n}.5,"feedText":"it\'s {n}"}}' for n in range(25)])
    few = sent(registry, env, "feed", [f'{{"feedValue":{n}}}' for n in range(3)])
    twin = registry.get_twin(many)
    twin.tags = {"site": "lyon"}
    registry.update_twin(many, twin, twin.etag)
    return many, few


def test_the_client_reflects_and_queries(env, basic, devices):
    many, _ = devices
    session = requests.Session()
    session.verify = env["GANTRY_CA_FILE"]
    service = ODataService(env["ODATA_URL"], reflect_entities=True, session=session, auth=basic, quiet_progress=True)
    assert {"Telemetry", "Devices", "Twins", "Alerts", "MaintenanceList"} <= set(service.entities)
    telemetry, device = service.entities["Telemetry"], service.entities["Devices"]

    query = service.query(telemetry).filter(telemetry.DeviceId == many)
    assert query.count() == 25
    newest = query.order_by(telemetry.SequenceNumber.desc()).limit(2).all()
    assert [row.feedText for row in newest] == ["it's 24", "it's 23"]
    assert newest[0].EnqueuedTime.tzinfo is not None
    [row] = query.filter(telemetry.feedText == "it's 7").all()
    assert row.feedText == "it's 7"
    assert len(query.filter(telemetry.feedText.startswith("it's 1")).all()) == 11

    one = service.query(device).get(many)
    assert one.DeviceId == many and '"lyon"' in one.Tags
    expanded = service.query(device).filter(device.DeviceId == many).expand(device.Telemetry).all()
    assert len(expanded[0].Telemetry) == 25
    with pytest.raises(ODataError, match="nothing"):
        service.query(device).raw({"$filter": "nothing eq 1"})


def test_the_service_tells_its_sets_and_types(get):
    document = get("")
    assert document["@odata.context"].endswith("/odata/$metadata")
    assert {"name": "Devices", "kind": "EntitySet", "url": "Devices"} in document["value"]
    power_query = (
        "application/json;odata.metadata=minimal;q=1.0,application/json;odata=minimalmetadata;q=0.9,"
        "application/atomsvc+xml;q=0.8,application/atom+xml;q=0.8,application/xml;q=0.7,text/plain;q=0.7"
    )
    xml = ET.fromstring(get("$metadata", headers={"Accept": power_query, "OData-MaxVersion": "4.0"}))
    edm = "{http://docs.oasis-open.org/odata/ns/edm}"
    types = {one.get("Name"): one for one in xml.iter(f"{edm}EntityType")}
    keys = [ref.get("Name") for ref in types["Telemetry"].iter(f"{edm}PropertyRef")]
    assert keys == ["Partition", "SequenceNumber"]
    kinds = {one.get("Name"): one.get("Type") for one in types["Telemetry"].iter(f"{edm}Property")}
    assert kinds["EnqueuedTime"] == "Edm.DateTimeOffset" and kinds["SequenceNumber"] == "Edm.Int64"
    assert get("$metadata", format="json")["$EntityContainer"] == "Gantry.Tables"


def test_values_have_the_forms_of_the_protocol(get, devices):
    many, _ = devices
    row = get("Telemetry", filter=f"DeviceId eq '{many}' and feedValue lt 1", select="EnqueuedTime,feedValue,feedText,Body")
    assert row["@odata.context"].endswith("$metadata#Telemetry(EnqueuedTime,feedValue,feedText,Body)")
    [row] = row["value"]
    assert row["EnqueuedTime"].endswith("Z") and row["feedValue"] == 0.5 and row["feedText"] == "it's 0"
    assert '"feedValue":0.5' in row["Body"].replace(" ", "")
    exact = get("Telemetry", top=1, headers={"Accept": "application/json;IEEE754Compatible=true;odata.metadata=none"})
    assert isinstance(exact["value"][0]["SequenceNumber"], str) and "@odata.context" not in exact
    full = get("Devices", filter=f"DeviceId eq '{many}'", headers={"Accept": "application/json;odata.metadata=full"})
    assert full["value"][0]["@odata.id"].endswith(f"/odata/Devices(DeviceId='{many}')")
    assert get(full["value"][0]["@odata.id"])["DeviceId"] == many


def test_conditions_of_every_kind(get, devices):
    many, few = devices
    mine = f"DeviceId in ('{many}','{few}')"

    def count(condition):
        return int(get("Telemetry/$count", filter=f"{mine} and ({condition})"))

    for condition, expected in [
        ("true", 28),
        ("feedText eq 'it''s 3'", 1),
        ("contains(feedText,'s 2') and feedValue ge 20", 5),
        ("endswith(feedText,'4') or startswith(feedText,'it''s 9')", 4),
        ("tolower(toupper(feedText)) eq 'it''s 5'", 1),
        ("length(feedText) eq 7", 15),
        ("length(feedText) eq 0", 3),
        ("indexof(feedText,'s') eq 3", 25),
        ("substring(feedText,5) eq '12'", 1),
        ("concat(trim(feedText),'!') eq 'it''s 1!'", 1),
        ("feedValue add 1 gt 25 or feedValue mul 2 eq 3", 2),
        ("feedValue div 2 le 0.25", 2),
        ("round(feedValue) eq 1", 2),
        ("floor(feedValue) eq 1 or ceiling(feedValue) eq 5", 3),
        ("feedValue mod 2 eq 0.5", 13),
        ("-feedValue lt -24", 1),
        ("not (feedValue gt 1)", 3),
        ("feedValue ne null", 28),
        ("feedValue eq null", 0),
        ("year(EnqueuedTime) gt 2000 and month(EnqueuedTime) le 12 and hour(EnqueuedTime) lt 24", 28),
        ("EnqueuedTime gt 2000-01-01T00:00:00Z and EnqueuedTime le now()", 28),
        ("date(EnqueuedTime) eq 1999-12-31", 0),
        ("EnqueuedTime lt 2000-01-01", 0),
        ("EnqueuedTime add duration'P1D' gt now()", 28),
        ("MessageSource gt 'A' and MessageSource lt 'Z'", 28),
        ("cast(feedValue,Edm.String) eq '2.5'", 1),
        ("feedValue in (0,1,2.5)", 3),
        ("SequenceNumber ge 0 and Partition lt 99", 28),
    ]:
        assert count(condition) == expected, condition
    assert int(get(f"Telemetry/$count?@d='{few}'&$filter=DeviceId eq @d")) == 3


def test_pages_are_of_the_rows_that_were_there(get, devices, registry, env):
    many, _ = devices
    page = get(
        "Telemetry", filter=f"startswith(DeviceId,'feed-') and feedValue ge 0", orderby="feedValue desc", count="true",
        select="DeviceId,feedValue,SequenceNumber,Partition", headers={"Prefer": "odata.maxpagesize=10"},
    )
    counted, rows = page["@odata.count"], page["value"]
    assert len(rows) == 10
    # What comes now is not part of it, though it would be sorted to the front and into the middle.
    sent(registry, env, "feed", ['{"feedValue":1000}', '{"feedValue":1}'])
    while "@odata.nextLink" in page:
        page = get(page["@odata.nextLink"], headers={"Prefer": "odata.maxpagesize=10"})
        assert page["@odata.count"] == counted
        rows += page["value"]
    values = [row["feedValue"] for row in rows]
    assert values == sorted(values, reverse=True) and len(rows) == counted >= 28 and 1000 not in values
    assert len({(row["Partition"], row["SequenceNumber"]) for row in rows}) == counted
    # $top holds over all pages.
    page = get("Telemetry", top=15, skip=2, filter=f"DeviceId eq '{many}'", headers={"Prefer": "odata.maxpagesize=10"})
    rest = get(page["@odata.nextLink"], headers={"Prefer": "odata.maxpagesize=10"})
    assert (len(page["value"]), len(rest["value"]), "@odata.nextLink" in rest) == (10, 5, False)
    get("Telemetry", 400, skiptoken="nonsense")


def test_entities_properties_and_what_they_lead_to(get, devices):
    many, few = devices
    assert get(f"Devices('{few}')")["DeviceId"] == few
    assert get(f"Devices/{few}")["DeviceId"] == few
    assert get(f"Twins(DeviceId='{few}',ModuleId='')")["ModuleId"] == ""
    assert get(f"Twins('{few}')/Status")["value"] == "enabled"
    assert get(f"Devices('{few}')/Status/$value") == "enabled"
    rows = get(f"Twins('{few}')/Telemetry", orderby="feedValue", select="feedValue")
    assert [row["feedValue"] for row in rows["value"]] == [0, 1, 2]
    assert get(f"Devices('{many}')/Telemetry/$count") == "25"
    one = get(f"Devices('{few}')/Telemetry", top=1)["value"][0]
    key = f"Telemetry(Partition={one['Partition']},SequenceNumber={one['SequenceNumber']})"
    assert get(key)["DeviceId"] == few and get(f"{key}/Devices")["DeviceId"] == few
    expanded = get(
        "Devices", filter=f"DeviceId eq '{many}'", select="DeviceId",
        expand="Telemetry($top=2;$orderby=feedValue desc;$select=feedValue;$count=true;$filter=feedValue lt 20)",
    )
    [row] = expanded["value"]
    assert row["Telemetry"] == [{"feedValue": 19.5}, {"feedValue": 18.5}] and row["Telemetry@odata.count"] == 20
    assert get(key, expand="Devices")["Devices"]["DeviceId"] == few
    for path, status in [
        ("Nothing", 404), ("Devices('nobody')", 404), ("Devices('nobody')/Telemetry", 404), ("Devices('x'", 400),
        ("Devices(5)", 400), ("Telemetry('x')", 400), ("Devices('x')/Nothing", 404), ("$batch", 501), ("$all", 501),
    ]:
        error = get(path, status)["error"]
        assert error["code"] and error["message"], path


def test_groups_and_sums(get, devices):
    many, few = devices
    answer = get(
        "Telemetry",
        apply=f"filter(DeviceId in ('{many}','{few}'))/groupby((DeviceId),aggregate($count as n,feedValue with max as top,"
        "feedValue with average as mean,feedValue with sum as total,feedText with countdistinct as texts))",
        orderby="n desc",
    )
    assert answer["value"] == [
        {"DeviceId": many, "n": 25, "top": 24.5, "mean": 12.5, "total": 312.5, "texts": 25},
        {"DeviceId": few, "n": 3, "top": 2.0, "mean": 1.0, "total": 3.0, "texts": 1},
    ]
    none = get("Telemetry", apply="filter(DeviceId eq 'nobody')/aggregate($count as n,feedValue with average as mean)")
    assert none["value"] == [{"n": 0, "mean": None}]


def test_what_is_not_understood_is_refused_by_name(get, env):
    for options, status, named in [
        ({"filter": "feedValue eq"}, 400, "position"),
        ({"filter": "nothing eq 1"}, 400, "nothing"),
        ({"filter": "DeviceId eq 5"}, 400, "Edm.String"),
        ({"filter": "DeviceId"}, 400, "Edm.Boolean"),
        ({"filter": "(" * 200 + "true" + ")" * 200}, 400, "levels"),
        ({"filter": "contains(DeviceId)"}, 400, "contains"),
        ({"filter": "substringof('a',DeviceId)"}, 400, "substringof"),
        ({"filter": "geo.distance(a,b) lt 1"}, 501, "geo.distance"),
        ({"filter": "Devices/Status eq 'enabled'"}, 501, "Devices/"),
        ({"fliter": "true"}, 400, "$fliter"),
        ({"search": "x"}, 501, "$search"),
        ({"compute": "x"}, 501, "$compute"),
        ({"top": "x"}, 400, "$top"),
        ({"select": "nothing"}, 400, "nothing"),
        ({"orderby": "nothing"}, 400, "nothing"),
        ({"expand": "Nothing"}, 400, "Nothing"),
        ({"expand": "Devices($expand=Twins)"}, 501, "$expand"),
        ({"apply": "aggregate(feedValue with median as m)"}, 501, "median"),
        ({"apply": "nothing()"}, 400, "nothing"),
        ({"format": "atom"}, 406, "json"),
    ]:
        answer = get("Telemetry", status, **options)
        assert named in answer["error"]["message"], (options, answer)
    answer = requests.post(
        env["ODATA_URL"] + "Devices", json={}, verify=env["GANTRY_CA_FILE"], auth=("token", env["KUSTO_TOKEN"])
    )
    assert answer.status_code == 405 and answer.json()["error"]["code"] == "MethodNotAllowed"


def test_who_may(env):
    url, ca = env["ODATA_URL"] + "Devices", env["GANTRY_CA_FILE"]
    key = env["IOTHUB_CONNECTION_STRING"].split("SharedAccessKey=")[1]
    for credentials in [{"auth": ("iothubowner", key)}, {"headers": {"Authorization": f"Bearer {env['KUSTO_TOKEN']}"}}]:
        assert requests.get(url, verify=ca, **credentials).status_code == 200
    for credentials in [
        {}, {"auth": ("iothubowner", "wrong")}, {"auth": ("service", key)}, {"auth": ("x", env["KUSTO_TOKEN"][:-3])},
        {"auth": (uuid.uuid4().hex, "")}, {"headers": {"Authorization": "Basic %%%"}},
    ]:
        refused = requests.get(url, verify=ca, **credentials)
        assert refused.status_code == 401 and refused.json()["error"]["code"] == "Unauthorized"
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_a_rule_over_rows_knows_who_asks_whatever_the_way(get, env, devices):
    many, _ = devices

    def command(text):
        body = {"db": env["KUSTO_DATABASE"], "csl": text}
        headers = {"Authorization": f"Bearer {env['KUSTO_TOKEN']}"}
        answer = requests.post(f"{env['KUSTO_URL']}/v1/rest/mgmt", json=body, headers=headers, verify=env["GANTRY_CA_FILE"])
        assert answer.status_code == 200, answer.text

    def by_sql(**credentials):
        with psycopg.connect(env["POSTGRES_URL"], **credentials) as connection:
            return connection.execute("select deviceid from devices").fetchall()

    def by_flight():
        settings = flight_options(env, "kql")
        with flightsql.connect(env["FLIGHTSQL_URL"], db_kwargs=settings, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute("Devices | project DeviceId")
                return cursor.fetchall()

    rule = f"Devices | where current_principal() == 'policy=service' and DeviceId == '{many}'"
    command(f'.alter table Devices policy row_level_security enable "{rule}"')
    try:
        assert [device["DeviceId"] for device in get("Devices")["value"]] == [many]
        assert by_sql() == by_flight() == [(many,)]
        # The name beside a token proves nothing.
        assert by_sql(user="admin", password=env["KUSTO_TOKEN"]) == [(many,)]
        command(f'.alter table Devices policy row_level_security enable "{rule.replace("service", "admin")}"')
        assert by_sql(user="admin", password=env["KUSTO_TOKEN"]) == []
    finally:
        command(".delete table Devices policy row_level_security")
    assert len(by_sql()) > 1
