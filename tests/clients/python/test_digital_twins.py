"""The digital-twin graph and the model repository, with the unmodified SDKs: a building of three levels.

`azure-digitaltwins-core` calls all 32 operations of the published document (those of jobs are in its generated part),
`azure-iot-modelsrepository` reads the models. Answers are checked against the published definitions: no member that they
do not have, and all that they require.
"""

import json
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.digitaltwins.core import DigitalTwinsClient
from azure.digitaltwins.core._generated.models import ImportJob, QueryTwinsOptions
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.modelsrepository import ModelsRepositoryClient
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from conftest import wait_for

VERSION = "2023-10-31"
CONTEXT = "dtmi:dtdl:context;3"


def model(name, contents=(), **more):
    return {"@context": CONTEXT, "@id": f"dtmi:com:example:{name};1", "@type": "Interface", "displayName": name,
            "contents": list(contents), **more}


def prop(name, schema):
    return {"@type": "Property", "name": name, "schema": schema, "writable": True}


CONTAINS = {"@type": "Relationship", "name": "contains",
            "properties": [{"@type": "Property", "name": "since", "schema": "integer"}]}
MODELS = [
    model("Space", [prop("name", "string"), prop("area", "double")]),
    model("Building", [CONTAINS, prop("tags", {"@type": "Array", "elementSchema": "string"})],
          extends="dtmi:com:example:Space;1"),
    model("Floor", [CONTAINS, prop("level", "integer")], extends="dtmi:com:example:Space;1"),
    model("Lamp", [prop("on", "boolean"), {"@type": "Telemetry", "name": "power", "schema": "double"}]),
    model("Room", [prop("temperature", "double"), prop("occupied", "boolean"),
                   {"@type": "Telemetry", "name": "noise", "schema": "double"},
                   {"@type": "Relationship", "name": "next"},
                   {"@type": "Component", "name": "lamp", "schema": "dtmi:com:example:Lamp;1"}],
          extends="dtmi:com:example:Space;1"),
]
BUILDING, FLOOR, ROOM = (f"dtmi:com:example:{name};1" for name in ("Building", "Floor", "Room"))


class Token:
    """A credential with the token of connection.env: what a directory gives elsewhere."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **_):
        assert scopes == ("https://digitaltwins.azure.net/.default",)
        return AccessToken(self.token, int(time.time()) + 3600)


def client_of(env, token=None):
    return DigitalTwinsClient(env["DIGITALTWINS_URL"], Token(token or env["DIGITALTWINS_TOKEN"]),
                              connection_verify=env["GANTRY_CA_FILE"], retry_total=0)


@pytest.fixture(scope="module")
def raw(env):
    """Calls without an SDK: status, body, headers."""
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])

    def call(method, path, body=None, token=env["DIGITALTWINS_TOKEN"], headers=(), version=VERSION, base=None):
        separator = "&" if "?" in path else "?"
        url = (base or env["DIGITALTWINS_URL"]) + path
        url += f"{separator}api-version={version}" if version else ""
        data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        request = urllib.request.Request(url, data, method=method)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        for name, value in dict(headers).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, context=context) as answer:
                status, text, found = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, text, found = error.code, error.read(), error.headers
        return status, json.loads(text) if text else None, found

    return call


@pytest.fixture(scope="module")
def graph(env):
    """The building: two floors with three rooms each."""
    client = client_of(env)
    client.create_models(MODELS)
    client.upsert_digital_twin("tower", {"$metadata": {"$model": BUILDING}, "name": "Tower", "tags": ["old", "tall"]})
    for floor in (1, 2):
        client.upsert_digital_twin(f"floor{floor}", {"$metadata": {"$model": FLOOR}, "level": floor})
        link(client, "tower", f"floor{floor}", since=2000 + floor)
        for room in (1, 2, 3):
            name = f"room{floor}{room}"
            client.upsert_digital_twin(name, {"$metadata": {"$model": ROOM}, "temperature": 10.0 * floor + room,
                                              "area": 20, "lamp": {"$metadata": {}, "on": room == 1}})
            link(client, f"floor{floor}", name, since=2010 + room)
    for here, there in (("room11", "room12"), ("room12", "room13"), ("room13", "room11")):
        link(client, here, there, "next")
    return client


def link(client, source, target, name="contains", **properties):
    body = {"$sourceId": source, "$targetId": target, "$relationshipName": name, **properties}
    return client.upsert_relationship(source, f"{name}-{target}", body)


def refused(code, status, call, *args, **rest):
    with pytest.raises(HttpResponseError) as caught:
        result = call(*args, **rest)
        if hasattr(result, "__iter__"):
            list(result)
    error = caught.value
    assert error.status_code == status, (error.status_code, error.message)
    body = json.loads(error.response.text())
    assert set(body) == {"error"} and set(body["error"]) <= {"code", "message", "details", "innererror"}
    assert body["error"]["code"] == code, body
    assert error.response.headers["x-ms-error-code"] == code
    return body["error"]["message"]


def ids(client, text, **rest):
    return [row["$dtId"] for row in client.query_twins(text, **rest)]


# --- models


def test_models_are_added_shown_and_listed(graph):
    shown = graph.get_model(ROOM, include_model_definition=True)
    assert (shown.id, shown.display_name["en"], shown.decommissioned) == (ROOM, "Room", False)
    assert shown.model["@id"] == ROOM and isinstance(shown.upload_time, datetime)
    assert graph.get_model(ROOM).model is None
    all_ids = [one.id for one in graph.list_models()]
    assert all_ids == sorted(all_ids) and {one["@id"] for one in MODELS} <= set(all_ids)
    needed = {one.id for one in graph.list_models(dependencies_for=[ROOM])}
    assert needed == {ROOM, "dtmi:com:example:Space;1", "dtmi:com:example:Lamp;1"}
    with_definition = list(graph.list_models(dependencies_for=[ROOM], include_model_definition=True))
    assert all(one.model["@id"] == one.id for one in with_definition) and len(with_definition) == 3


def test_lists_come_in_pages(env, graph, raw):
    """The SDK cannot ask for the size of a page of models (1.3.0 hands its option to the transport)."""
    for path, key in (("/models", "id"), ("/models?includeModelDefinition=true", "id"),
                      (f"/models?dependenciesFor={urllib.parse.quote(ROOM)}&dependenciesFor={urllib.parse.quote(FLOOR)}", "id"),
                      ("/digitaltwins/floor1/relationships?relationshipName=contains", "$relationshipId"),
                      ("/digitaltwins/room11/incomingrelationships", "$sourceId")):
        everything = [one[key] for one in raw("GET", path, headers={"max-items-per-page": "1000"})[1]["value"]]
        status, page, _ = raw("GET", path, headers={"max-items-per-page": "1"})
        found = [one[key] for one in page["value"]]
        while "nextLink" in page:
            assert page["nextLink"].startswith(env["DIGITALTWINS_URL"])
            rest = page["nextLink"].removeprefix(env["DIGITALTWINS_URL"])
            status, page, _ = raw("GET", rest, headers={"max-items-per-page": "1"}, version=None)
            assert status == 200, page
            found += [one[key] for one in page["value"]]
        assert found == everything and len(found) >= 2, path


def test_models_are_decommissioned_and_deleted(graph):
    base, top = model("OldBase"), model("OldTop", extends="dtmi:com:example:OldBase;1")
    graph.create_models([top, base])
    assert "OldTop" in refused("ModelReferencesNotDeleted", 409, graph.delete_model, base["@id"])
    refused("ModelReferencesNotDecommissioned", 409, graph.decommission_model, base["@id"])
    graph.decommission_model(top["@id"])
    assert graph.get_model(top["@id"]).decommissioned
    body = {"$metadata": {"$model": top["@id"]}}
    refused("ModelDecommissioned", 400, graph.upsert_digital_twin, "old", body)
    graph.delete_model(top["@id"])
    graph.delete_model(base["@id"])
    with pytest.raises(ResourceNotFoundError):
        graph.get_model(base["@id"])


def test_models_that_are_none_are_refused_by_name(graph, raw):
    with pytest.raises(ResourceExistsError):
        graph.create_models([MODELS[0]])
    refused("ModelAlreadyExists", 409, graph.create_models, [MODELS[0]])
    assert "Missing" in refused("DTDLParserError", 400, graph.create_models,
                                [model("A", extends="dtmi:com:example:Missing;1")])
    cyclic = [model("A", extends="dtmi:com:example:B;1"), model("B", extends="dtmi:com:example:A;1")]
    refused("DTDLParserError", 400, graph.create_models, cyclic)
    refused("DTDLParserError", 400, graph.create_models, [model("A", [prop("x", "nonsense")])])
    refused("InvalidArgument", 400, graph.create_models, [{"@id": "A"}])
    refused("ModelVersionNotSupported", 400, graph.create_models, [{**model("A"), "@context": "dtmi:dtdl:context;9"}])
    refused("LimitExceeded", 400, graph.create_models, [model(f"M{number}") for number in range(251)])
    # None of several when one is wrong.
    refused("DTDLParserError", 400, graph.create_models, [model("Good"), model("Bad", [prop("x", "nonsense")])])
    refused("ModelNotFound", 404, graph.get_model, "dtmi:com:example:Good;1")
    refused("InvalidArgument", 400, graph.get_model, "Good")
    status, body, _ = raw("PATCH", f"/models/{urllib.parse.quote(ROOM)}", [{"op": "replace", "path": "/model", "value": 1}])
    assert (status, body["error"]["code"]) == (400, "JsonPatchInvalid")


# --- twins


def test_a_twin_has_an_etag_and_metadata(graph):
    twin = graph.get_digital_twin("room11")
    assert twin["$dtId"] == "room11" and re.fullmatch(r'W/"[0-9a-f-]{36}"', twin["$etag"])
    assert twin["$metadata"]["$model"] == ROOM
    datetime.fromisoformat(twin["$metadata"]["temperature"]["lastUpdateTime"][:19])
    assert twin["lamp"]["$metadata"]["on"]["lastUpdateTime"]
    # What was read can be written.
    again = graph.upsert_digital_twin("room11", twin)
    assert again["temperature"] == twin["temperature"] and again["$etag"] != twin["$etag"]


def test_patches_change_twins_and_components(graph):
    graph.update_digital_twin("room21", [{"op": "replace", "path": "/temperature", "value": 22.5},
                                         {"op": "add", "path": "/name", "value": "Lab"}])
    twin = graph.get_digital_twin("room21")
    assert (twin["temperature"], twin["name"]) == (22.5, "Lab")
    graph.update_digital_twin("room21", [{"op": "remove", "path": "/name"}, {"op": "replace", "path": "/temperature", "value": 21.0}])
    assert "name" not in graph.get_digital_twin("room21")
    graph.update_component("room21", "lamp", [{"op": "replace", "path": "/on", "value": False}])
    assert graph.get_component("room21", "lamp")["on"] is False
    graph.update_component("room21", "lamp", [{"op": "replace", "path": "/on", "value": True}])
    for bad in ([{"op": "replace", "path": "/none", "value": 1}], [{"op": "move", "from": "/a", "path": "/b"}],
                [{"op": "replace", "path": "/$dtId", "value": "x"}], [{"op": "remove", "path": "/name"}]):
        refused("JsonPatchInvalid", 400, graph.update_digital_twin, "room21", bad)
    for bad in ([{"op": "replace", "path": "/temperature", "value": "hot"}], [{"op": "add", "path": "/noise", "value": 1}],
                [{"op": "replace", "path": "/$metadata/$model", "value": FLOOR}]):
        refused("ValidationFailed", 400, graph.update_digital_twin, "room21", bad)
    huge = [{"op": "add", "path": "/name", "value": "x"}] * 1001
    assert refused("JsonPatchInvalid", 400, graph.update_digital_twin, "room21", huge[:1001]) if len(
        json.dumps(huge)) < 32768 else True
    refused("RequestBodyTooLarge", 413, graph.update_digital_twin, "room21",
            [{"op": "add", "path": "/name", "value": "x" * 40000}])
    refused("ComponentNotFound", 404, graph.get_component, "room21", "radiator")
    refused("ComponentNotFound", 404, graph.update_component, "room21", "temperature", [])


def test_twins_that_their_model_does_not_say_are_refused(graph):
    put = graph.upsert_digital_twin
    lamp = {"lamp": {"$metadata": {}}}
    for bad in ({}, {"$metadata": {"$model": "dtmi:com:example:None;1"}}, {"$metadata": {"$model": ROOM}},
                {"$metadata": {"$model": ROOM}, **lamp, "temperature": "hot"},
                {"$metadata": {"$model": ROOM}, **lamp, "unknown": 1},
                {"$metadata": {"$model": ROOM}, **lamp, "name": "x" * 4097}):
        refused("ValidationFailed", 400, put, "bad", bad)
    refused("InvalidArgument", 400, put, "b d", {"$metadata": {"$model": FLOOR}})
    refused("InvalidArgument", 400, put, "x" * 129, {"$metadata": {"$model": FLOOR}})
    refused("DigitalTwinNotFound", 404, graph.get_digital_twin, "nobody")
    refused("RelationshipsNotDeleted", 400, graph.delete_digital_twin, "room11")
    put("short-lived", {"$metadata": {"$model": FLOOR}})
    graph.delete_digital_twin("short-lived")
    refused("DigitalTwinNotFound", 404, graph.delete_digital_twin, "short-lived")


def test_etags_let_one_of_many_write(env, graph):
    twin = graph.upsert_digital_twin("raced", {"$metadata": {"$model": FLOOR}, "level": 0})
    outcomes = []

    def write(number):
        patch = [{"op": "replace", "path": "/level", "value": number}]
        try:
            client_of(env).update_digital_twin("raced", patch, etag=twin["$etag"],
                                               match_condition=MatchConditions.IfNotModified)
            outcomes.append(number)
        except ResourceModifiedError:
            pass

    writers = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    [writer.start() for writer in writers]
    [writer.join() for writer in writers]
    assert len(outcomes) == 1 and graph.get_digital_twin("raced")["level"] == outcomes[0]
    with pytest.raises(ResourceExistsError):
        graph.upsert_digital_twin("raced", {"$metadata": {"$model": FLOOR}},
                                  match_condition=MatchConditions.IfMissing)
    with pytest.raises(ResourceModifiedError):
        graph.delete_digital_twin("raced", etag=twin["$etag"], match_condition=MatchConditions.IfNotModified)
    graph.delete_digital_twin("raced")


# --- relationships


def test_relationships_are_made_changed_listed_and_deleted(graph):
    one = graph.get_relationship("tower", "contains-floor1")
    assert (one["$sourceId"], one["$targetId"], one["$relationshipName"], one["since"]) == ("tower", "floor1", "contains", 2001)
    graph.update_relationship("tower", "contains-floor1", [{"op": "replace", "path": "/since", "value": 1999}])
    assert graph.get_relationship("tower", "contains-floor1")["since"] == 1999
    graph.update_relationship("tower", "contains-floor1", [{"op": "replace", "path": "/since", "value": 2001}])
    leaving = list(graph.list_relationships("room11"))
    assert [one["$relationshipId"] for one in leaving] == ["next-room12"]
    named = list(graph.list_relationships("floor1", relationship_id="contains"))
    assert len(named) == 3
    coming = list(graph.list_incoming_relationships("room11"))
    assert [(one.source_id, one.relationship_name) for one in coming] == [("floor1", "contains"), ("room13", "next")]
    assert coming[0].relationship_link.endswith("floor1/relationships/contains-room11")
    link(graph, "room21", "room22", "next")
    graph.delete_relationship("room21", "next-room22")
    refused("RelationshipNotFound", 404, graph.get_relationship, "room21", "next-room22")


def test_relationships_that_are_none_are_refused(graph):
    def put(source, body):
        return graph.upsert_relationship, source, "bad", body

    for code, status, (call, *args) in (
        ("InvalidRelationship", 400, put("tower", {"$targetId": "floor1", "$relationshipName": "owns"})),
        ("InvalidRelationship", 400, put("tower", {"$relationshipName": "contains"})),
        ("TargetTwinNotFound", 404, put("tower", {"$targetId": "nobody", "$relationshipName": "contains"})),
        ("DigitalTwinNotFound", 404, put("nobody", {"$targetId": "floor1", "$relationshipName": "contains"})),
        ("OperationNotAllowed", 400, put("tower", {"$targetId": "tower", "$relationshipName": "contains"})),
        ("ValidationFailed", 400, put("tower", {"$targetId": "floor1", "$relationshipName": "contains", "since": "x"})),
    ):
        refused(code, status, call, *args)
    patch = [{"op": "replace", "path": "/$targetId", "value": "floor2"}]
    refused("JsonPatchInvalid", 400, graph.update_relationship, "tower", "contains-floor1", patch)


# --- queries


def test_queries_of_one_collection(graph):
    assert ids(graph, "SELECT * FROM DIGITALTWINS T WHERE T.$dtId = 'room11'") == ["room11"]
    assert ids(graph, f"SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('{FLOOR}')") == ["floor1", "floor2"]
    assert len(ids(graph, "SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:com:example:Space;1')")) == 9
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:com:example:Space;1', exact)") == []
    assert ids(graph, "SELECT * FROM DIGITALTWINS T WHERE T.temperature > 12 AND NOT T.temperature >= 21") == ["room13"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE ARRAY_CONTAINS(tags, 'old')") == ["tower"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE STARTSWITH($dtId, 'room1') AND lamp.on = true") == ["room11"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE $dtId IN ['room12', 'room11']") == ["room11", "room12"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE IS_DEFINED(level) AND IS_NUMBER(level) AND level != 1") == ["floor2"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE CONTAINS(name, 'owe') AND ENDSWITH(name, 'r')") == ["tower"]
    assert ids(graph, "SELECT * FROM DIGITALTWINS WHERE IS_OBJECT(lamp) AND IS_BOOL(lamp.on) AND temperature = 23") == ["room23"]
    assert list(graph.query_twins("SELECT COUNT() FROM DIGITALTWINS WHERE IS_OF_MODEL('%s')" % ROOM)) == [{"COUNT": 6}]
    assert len(ids(graph, "SELECT TOP (3) * FROM DIGITALTWINS")) == 3
    rows = list(graph.query_twins("SELECT T.temperature AS t, T.$dtId FROM DIGITALTWINS T WHERE T.$dtId = 'room12'"))
    assert rows == [{"t": 12.0, "$dtId": "room12"}]
    links = list(graph.query_twins("SELECT * FROM RELATIONSHIPS R WHERE R.since = 2002"))
    assert [one["$targetId"] for one in links] == ["floor2"]


def test_queries_that_walk(graph):
    walk = "SELECT R.$dtId FROM DIGITALTWINS B JOIN F RELATED B.contains JOIN R RELATED F.contains L WHERE B.$dtId = 'tower'"
    assert ids(graph, walk + " AND L.since = 2012") == ["room12", "room22"]
    rows = list(graph.query_twins("SELECT F, R FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE R.$dtId = 'room23'"))
    assert [(row["F"]["$dtId"], row["R"]["temperature"]) for row in rows] == [("floor2", 23.0)]
    match = "SELECT R.$dtId FROM DIGITALTWINS MATCH {} WHERE B.$dtId = 'tower'"
    rooms = [f"room{floor}{room}" for floor in (1, 2) for room in (1, 2, 3)]
    assert ids(graph, match.format("(B)-[:contains*2]->(R)")) == rooms
    assert ids(graph, match.format("(B)-[*1..2]->(R)")) == rooms
    assert ids(graph, match.format("(B)-[*..2]->(R)")) == ["floor1", "floor2"] + rooms
    assert ids(graph, match.format("(B)-[:contains]->(F)-[L:contains]->(R)") + " AND L.since > 2012 AND F.level = 2") == ["room23"]
    assert ids(graph, "SELECT F.$dtId FROM DIGITALTWINS MATCH (R)<-[:contains]-(F) WHERE R.$dtId = 'room21'") == ["floor2"]
    assert sorted(ids(graph, "SELECT X.$dtId FROM DIGITALTWINS MATCH (R)-[:contains|next]-(X) WHERE R.$dtId = 'room11'")) == [
        "floor1", "room12", "room13"]


def test_pages_are_all_rows_once(env, graph, raw):
    text = "SELECT * FROM DIGITALTWINS"
    everything = ids(graph, text)
    of = lambda size: {"query_twins_options": QueryTwinsOptions(max_items_per_page=size)}  # noqa: E731
    pages = [list(page) for page in graph.query_twins(text, **of(2)).by_page()]
    assert [row["$dtId"] for page in pages for row in page] == everything
    assert all(len(page) == 2 for page in pages[:-1])
    walk = "SELECT R.$dtId FROM DIGITALTWINS B JOIN F RELATED B.contains JOIN R RELATED F.contains WHERE B.$dtId = 'tower'"
    assert len([row for page in graph.query_twins(walk, **of(1)).by_page() for row in page]) == 6
    status, body, headers = raw("POST", "/query", {"query": text}, headers={"max-items-per-page": "1"})
    assert status == 200 and float(headers["query-charge"]) > 0 and set(body) == {"value", "continuationToken"}
    status, body, _ = raw("POST", "/query", {"continuationToken": body["continuationToken"]})
    assert status == 200 and [row["$dtId"] for row in body["value"]] == everything[1:]


def test_queries_that_are_none_are_refused_at_their_place(graph):
    for text, position in (("SELECT", 7), ("SELECT * FROM devices", 15), ("SELECT * FROM DIGITALTWINS WHERE a = ", 38),
                           ("SELECT * FROM DIGITALTWINS WHERE LOWER(a) = 'x'", 34)):
        assert f"at position {position}:" in refused("SqlQueryError", 400, graph.query_twins, text)
    for text in ("SELECT * FROM DIGITALTWINS WHERE " + "(" * 5000, "SELECT * FROM DIGITALTWINS WHERE " + "NOT " * 1500 + "a",
                 "SELECT * FROM DIGITALTWINS WHERE " + " AND ".join(["a = 1"] * 52), "x" * 8001,
                 "SELECT * FROM DIGITALTWINS MATCH (A)-[*11]->(B) WHERE A.$dtId = 'tower'"):
        refused("SqlQueryError", 400, graph.query_twins, text)


# --- events


def test_event_routes_and_telemetry(env, graph, raw):
    refused("EventRouteEndpointInvalid", 400, graph.upsert_event_route, "r1",
            event_route={"endpointName": "nowhere", "filter": "true"})
    refused("EventRouteFilterInvalid", 400, graph.upsert_event_route, "r1",
            event_route={"endpointName": "events", "filter": "type ="})
    refused("EventRouteNotFound", 404, graph.get_event_route, "r1")
    filters = "type = 'microsoft.iot.telemetry' OR $body.modelId = 'dtmi:com:example:Room;1'"
    graph.upsert_event_route("r1", {"endpointName": "events", "filter": filters})
    shown = graph.get_event_route("r1")
    assert (shown.id, shown.endpoint_name, shown.filter) == ("r1", "events", filters)
    assert [one.id for one in graph.list_event_routes()] == ["r1"]
    got, ready = [], threading.Event()
    consumer = EventHubConsumerClient.from_connection_string(env["EVENTHUB_CONNECTION_STRING"], "$Default",
                                                             connection_verify=env["GANTRY_CA_FILE"])

    def take(_, event):
        if event is not None and b"cloudEvents:type" in (event.properties or {}):
            got.append((event.properties[b"cloudEvents:type"].decode(), event.body_as_json(), event.properties))
        ready.set()

    worker = threading.Thread(target=consumer.receive, kwargs={"on_event": take, "starting_position": "-1", "max_wait_time": 1})
    worker.start()
    try:
        assert ready.wait(60)
        graph.publish_telemetry("room12", {"noise": 44.5}, message_id="m-1")
        graph.publish_component_telemetry("room12", "lamp", {"power": 3}, message_id="m-2")
        graph.update_digital_twin("room12", [{"op": "replace", "path": "/occupied", "value": True}] if "occupied" in
                                  graph.get_digital_twin("room12") else [{"op": "add", "path": "/occupied", "value": True}])
        graph.update_digital_twin("floor1", [{"op": "replace", "path": "/level", "value": 1}])
        wait_for(lambda: len(got) >= 3)
    finally:
        consumer.close()
        worker.join()
    by_id = {properties[b"cloudEvents:id"].decode(): (kind, body, properties) for kind, body, properties in got}
    kind, body, properties = by_id["m-1"]
    assert (kind, body) == ("microsoft.iot.telemetry", {"noise": 44.5})
    assert properties[b"cloudEvents:source"].decode().endswith("/digitaltwins/room12")
    assert properties[b"cloudEvents:dataschema"].decode() == ROOM
    assert by_id["m-2"][2][b"cloudEvents:dataschema"].decode() == "dtmi:com:example:Lamp;1"
    updates = [body for kind, body, _ in got if kind == "Microsoft.DigitalTwins.Twin.Update"]
    assert [update["modelId"] for update in updates] == [ROOM]
    assert updates[0]["patch"][0]["path"] == "/occupied"
    refused("DigitalTwinNotFound", 404, graph.publish_telemetry, "nobody", {})
    refused("ComponentNotFound", 404, graph.publish_component_telemetry, "room12", "radiator", {})
    refused("ValidationFailed", 400, graph.publish_telemetry, "room12", [1])
    status, body, _ = raw("POST", "/digitaltwins/room12/telemetry", {})
    assert (status, body["error"]["code"]) == (400, "InvalidArgument")
    graph.delete_event_route("r1")
    refused("EventRouteNotFound", 404, graph.delete_event_route, "r1")


# --- devices


def test_what_a_device_says_is_in_its_twin(env, graph):
    registry = IoTHubRegistryManager(env["IOTHUB_CONNECTION_STRING"])
    for device, twin in (("room13", "room13"), ("thermometer-7", "room22")):
        made = registry.create_device_with_sas(device, "", "", "enabled")
        if device != twin:
            registry.update_twin(device, {"tags": {"digitalTwin": twin}})
        key = made.authentication.symmetric_key.primary_key
        text = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId={device};SharedAccessKey={key}"
        ca = Path(env["GANTRY_CA_FILE"]).read_text()
        client = IoTHubDeviceClient.create_from_connection_string(text, server_verification_cert=ca)
        client.connect()
        message = Message(json.dumps({"temperature": 31.25, "humidity": 3, "lamp": {"on": True}}),
                          content_encoding="utf-8", content_type="application/json")
        client.send_message(message)
        wait_for(lambda: graph.get_digital_twin(twin)["temperature"] == 31.25)
        found = graph.get_digital_twin(twin)
        assert found["lamp"]["on"] is True and "humidity" not in found
        assert found["$metadata"]["temperature"]["sourceTime"]
        client.patch_twin_reported_properties({"occupied": True, "firmware": "1.2"})
        wait_for(lambda: graph.get_digital_twin(twin).get("occupied") is True)
        client.shutdown()
        registry.delete_device(device)


# --- jobs


@pytest.fixture(scope="module")
def files(env):
    """A container, and addresses of its files with a signature."""
    service = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"],
                                                       connection_verify=env["GANTRY_CA_FILE"])
    container = service.create_container(f"imports-{uuid.uuid4().hex[:8]}")
    sas = generate_container_sas(service.account_name, container.container_name, account_key=service.credential.account_key,
                                 permission=ContainerSasPermissions(read=True, write=True, create=True),
                                 expiry=datetime.now(timezone.utc) + timedelta(hours=1))
    return container, lambda name: f"{container.url}/{name}?{sas}"


def lines(*all_lines):
    return "\n".join(json.dumps(line) for line in all_lines) + "\n"


def test_imports_read_files_of_the_blob_store(env, graph, files, raw):
    container, address = files
    jobs = graph._client.import_jobs
    good = lines({"Section": "Header"}, {"fileVersion": "1.0.0", "author": "a", "organization": "o"},
                 {"Section": "Models"}, model("Shed", [{"@type": "Relationship", "name": "beside"}]),
                 {"Section": "Twins"}, *({"$dtId": f"shed{n}", "$metadata": {"$model": "dtmi:com:example:Shed;1"}} for n in range(1200)),
                 {"Section": "Relationships"},
                 *({"$dtId": "shed0", "$relationshipId": f"b{n}", "$targetId": f"shed{n}", "$relationshipName": "beside"} for n in range(1, 900)))
    container.upload_blob("good.ndjson", good)
    made = jobs.add("good", ImportJob(input_blob_uri=address("good.ndjson"), output_blob_uri=address("good.log")))
    assert made.id == "good" and "sig=" not in made.input_blob_uri and made.input_blob_uri.endswith("good.ndjson")
    wait_for(lambda: jobs.get_by_id("good").status in ("succeeded", "failed"))
    job = jobs.get_by_id("good")
    assert job.status == "succeeded", job.error
    assert job.finished_date_time and job.purge_date_time > job.finished_date_time
    assert list(graph.query_twins("SELECT COUNT() FROM DIGITALTWINS WHERE IS_OF_MODEL('dtmi:com:example:Shed;1')")) == [{"COUNT": 1200}]
    assert len(list(graph.list_relationships("shed0"))) == 899
    log = [json.loads(line) for line in container.download_blob("good.log").readall().splitlines()]
    assert log[0]["details"]["status"] == "Started" and log[-1]["details"]["status"] == "succeeded"
    # Lines that cannot be written are told, the others are written.
    bad = lines({"Section": "Twins"}, {"$dtId": "shedX", "$metadata": {"$model": "dtmi:com:example:Shed;1"}},
                {"$dtId": "shedY", "$metadata": {"$model": "dtmi:com:example:None;1"}}) + "no json\n"
    container.upload_blob("bad.ndjson", bad)
    jobs.add("bad", ImportJob(input_blob_uri=address("bad.ndjson"), output_blob_uri=address("bad.log")))
    wait_for(lambda: jobs.get_by_id("bad").status in ("succeeded", "failed"))
    assert jobs.get_by_id("bad").status == "failed" and graph.get_digital_twin("shedX")
    told = container.download_blob("bad.log").readall().decode()
    assert '"line":3' in told and "ValidationFailed" in told and '"line":4' in told
    assert {job.id for job in jobs.list()} == {"good", "bad"}
    for input_uri, why in ((address("none.ndjson"), "inputBlobUri"), ("https://elsewhere.example.com/c/f?sig=x", "blob store"),
                           (f"{container.url}/good.ndjson", "signature"), (f"{container.url}/good.ndjson?sig=AAAA&se=2099-01-01&sp=rl&sv=2020-10-02&sr=c", "refused"),
                           ("no address", "URL")):
        body = {"inputBlobUri": input_uri, "outputBlobUri": address("x.log")}
        status, answer, _ = raw("PUT", "/jobs/imports/other", body)
        assert (status, answer["error"]["code"]) == (400, "ValidationFailed") and why in answer["error"]["message"], answer
        assert "sig=" not in answer["error"]["message"]
    status, answer, _ = raw("PUT", "/jobs/imports/good", {"inputBlobUri": address("good.ndjson"), "outputBlobUri": address("x.log")})
    assert (status, answer["error"]["code"]) == (400, "ValidationFailed")
    refused("ValidationFailed", 400, jobs.cancel, "good")
    refused("ImportJobNotFound", 404, jobs.cancel, "none")
    jobs.delete("bad")
    refused("ImportJobNotFound", 404, jobs.get_by_id, "bad")


def test_an_import_can_be_cancelled(graph, files):
    container, address = files
    jobs = graph._client.import_jobs
    body = lines({"Section": "Twins"}, *({"$dtId": f"c{n}", "$metadata": {"$model": FLOOR}} for n in range(60000)))
    container.upload_blob("long.ndjson", body)
    jobs.add("long", ImportJob(input_blob_uri=address("long.ndjson"), output_blob_uri=address("long.log")))
    refused("JobLimitReached", 400, jobs.add, "second",
            ImportJob(input_blob_uri=address("long.ndjson"), output_blob_uri=address("second.log")))
    refused("ValidationFailed", 400, jobs.delete, "long")
    assert jobs.cancel("long").status == "cancelling"
    wait_for(lambda: jobs.get_by_id("long").status == "cancelled")
    assert list(graph.query_twins("SELECT COUNT() FROM DIGITALTWINS"))[0]["COUNT"] < 60000


# --- the published document

DEFINITIONS = {
    "model": ({"id"}, {"displayName", "description", "id", "uploadTime", "decommissioned", "model"}),
    "page": ({"value"}, {"value", "nextLink"}),
    "query": ({"value"}, {"value", "continuationToken"}),
    "incoming": (set(), {"$relationshipId", "$sourceId", "$relationshipName", "$relationshipLink"}),
    "route": ({"endpointName", "filter"}, {"id", "endpointName", "filter"}),
    "import": ({"inputBlobUri", "outputBlobUri"},
               {"id", "inputBlobUri", "outputBlobUri", "status", "createdDateTime", "lastActionDateTime", "finishedDateTime",
                "purgeDateTime", "error"}),
    "deletion": (set(), {"id", "status", "createdDateTime", "finishedDateTime", "purgeDateTime", "error"}),
    "error": ({"error"}, {"error"}),
}


def is_a(name, value):
    required, known = DEFINITIONS[name]
    assert isinstance(value, dict) and required <= set(value) <= known, (name, value)
    for member, one in value.items():
        if member.endswith(("Time", "DateTime")):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", one), (member, one)
    return value


def test_answers_are_those_of_the_published_document(graph, raw):
    def ok(method, path, *rest, status=200, **more):
        found, body, headers = raw(method, path, *rest, **more)
        assert found == status, (method, path, found, body)
        return body, headers

    body, _ = ok("GET", "/models?includeModelDefinition=true")
    [is_a("model", one) for one in is_a("page", body)["value"]]
    is_a("model", ok("GET", f"/models/{urllib.parse.quote(ROOM)}")[0])
    is_a("query", ok("POST", "/query", {"query": "SELECT * FROM DIGITALTWINS"})[0])
    body, headers = ok("GET", "/digitaltwins/room11")
    assert headers["ETag"] == body["$etag"]
    body, headers = ok("GET", "/digitaltwins/room11/components/lamp")
    assert set(body) == {"on", "$metadata"} and headers["ETag"].startswith("W/")
    _, headers = ok("PATCH", "/digitaltwins/room11", [{"op": "replace", "path": "/temperature", "value": 11.0}], status=204)
    assert headers["ETag"].startswith("W/")
    body, headers = ok("GET", "/digitaltwins/tower/relationships/contains-floor1")
    assert headers["ETag"] == body["$etag"]
    is_a("page", ok("GET", "/digitaltwins/tower/relationships")[0])
    [is_a("incoming", one) for one in is_a("page", ok("GET", "/digitaltwins/room11/incomingrelationships")[0])["value"]]
    is_a("page", ok("GET", "/eventroutes")[0])
    body, _ = ok("GET", "/jobs/imports")
    [is_a("import", one) for one in is_a("page", body)["value"]]
    body, _ = ok("GET", "/jobs/deletions")
    [is_a("deletion", one) for one in is_a("page", body)["value"]]
    body, headers = ok("GET", "/digitaltwins/nobody", status=404)
    assert is_a("error", body)["error"]["code"] == headers["x-ms-error-code"] == "DigitalTwinNotFound"


OPERATIONS = [
    ("POST", "/models"), ("GET", "/models"), ("GET", "/models/x"), ("PATCH", "/models/x"), ("DELETE", "/models/x"),
    ("POST", "/query"), ("GET", "/digitaltwins/x"), ("PUT", "/digitaltwins/x"), ("DELETE", "/digitaltwins/x"),
    ("PATCH", "/digitaltwins/x"), ("GET", "/digitaltwins/x/relationships/y"), ("PUT", "/digitaltwins/x/relationships/y"),
    ("DELETE", "/digitaltwins/x/relationships/y"), ("PATCH", "/digitaltwins/x/relationships/y"),
    ("GET", "/digitaltwins/x/relationships"), ("GET", "/digitaltwins/x/incomingrelationships"),
    ("POST", "/digitaltwins/x/telemetry"), ("POST", "/digitaltwins/x/components/y/telemetry"),
    ("GET", "/digitaltwins/x/components/y"), ("PATCH", "/digitaltwins/x/components/y"), ("GET", "/eventroutes"),
    ("GET", "/eventroutes/x"), ("PUT", "/eventroutes/x"), ("DELETE", "/eventroutes/x"), ("GET", "/jobs/imports"),
    ("PUT", "/jobs/imports/x"), ("GET", "/jobs/imports/x"), ("DELETE", "/jobs/imports/x"), ("POST", "/jobs/imports/x/cancel"),
    ("POST", "/jobs/deletions"), ("GET", "/jobs/deletions"), ("GET", "/jobs/deletions/x"),
]


def test_every_operation_asks_who_calls_and_for_a_version(env, raw):
    assert len(OPERATIONS) == 32
    token = env["DIGITALTWINS_TOKEN"]
    forged = re.sub(r"sig=[^&]*", "sig=" + "A" * 43 + "%3D", token)
    expired = re.sub(r"se=\d+", "se=1000000000", token)
    for method, path in OPERATIONS:
        for bad in (None, "x", forged, expired, token[:-5], env["IOTCENTRAL_API_TOKEN"]):
            status, body, _ = raw(method, path, {} if method in ("POST", "PUT", "PATCH") else None, token=bad)
            assert (status, body["error"]["code"]) == (401, "AuthenticationFailed"), (method, path, bad, body)
        for version, code in ((None, "MissingApiVersion"), ("2019-01-01", "InvalidApiVersion")):
            status, body, _ = raw(method, path, version=version)
            assert (status, body["error"]["code"]) == (400, code), (method, path)


def test_what_is_not_understood_is_refused(raw):
    for method, path, body in (
        ("GET", "/models?color=red", None), ("GET", "/models?includeModelDefinition=maybe", None),
        ("POST", "/models", {}), ("POST", "/models", []), ("POST", "/models", b"{"), ("POST", "/query", {}),
        ("POST", "/query", {"query": 1}), ("POST", "/query", {"query": "x", "limit": 1}),
        ("PUT", "/digitaltwins/x", []), ("PUT", "/digitaltwins/x", b'{"a":1,"a":2}'),
    ):
        status, answer, _ = raw(method, path, body)
        assert (status, answer["error"]["code"]) == (400, "InvalidArgument"), (path, body, answer)
    for headers in ({"max-items-per-page": "0"}, {"max-items-per-page": "many"}):
        status, answer, _ = raw("POST", "/query", {"query": "SELECT * FROM DIGITALTWINS"}, headers=headers)
        assert (status, answer["error"]["code"]) == (400, "InvalidArgument")
    status, answer, _ = raw("PUT", "/digitaltwins/x", {}, headers={"If-None-Match": '"abc"'})
    assert (status, answer["error"]["code"]) == (400, "InvalidArgument")
    for token in ("x", "e30", "A" * 200000):
        status, answer, _ = raw("POST", "/query", {"continuationToken": token})
        assert status in (400, 413) and answer["error"]["code"] in ("BadRequest", "RequestBodyTooLarge"), token[:9]
    status, answer, _ = raw("GET", "/models?continuationToken=%25")
    assert (status, answer["error"]["code"]) == (400, "BadRequest")


# --- the model repository


def test_the_repository_is_read_by_its_client(env, graph):
    location = env["GANTRY_URL"] + "/"
    client = ModelsRepositoryClient(repository_location=location, connection_verify=env["GANTRY_CA_FILE"])
    # It does not hand its transport the CA: the environment does.
    alone = client.get_models([ROOM], dependency_resolution="disabled")
    assert set(alone) == {ROOM}
    needed = {ROOM, "dtmi:com:example:Space;1", "dtmi:com:example:Lamp;1"}
    for how in ("enabled", "tryFromExpanded"):
        assert set(client.get_models(ROOM, dependency_resolution=how)) == needed
    with pytest.raises(ResourceNotFoundError):
        client.get_models("dtmi:com:example:Nothing;1")


def test_the_repository_has_nothing_else(raw, env):
    base = env["GANTRY_URL"]
    status, body, _ = raw("GET", "/metadata.json", token=None, version=None, base=base)
    assert status == 200 and body["features"]["expanded"] is True
    for path in ("/dtmi/../state.db", "/dtmi/%2e%2e/state.db", "/dtmi/..%2f..%2fetc%2fpasswd", "/dtmi/com/example/room-1.txt"):
        status, _, _ = raw("GET", path, token=None, version=None, base=base)
        assert status == 404, path


def test_a_device_with_an_unknown_model_gets_a_template(env, graph, raw):
    registry = IoTHubRegistryManager(env["IOTHUB_CONNECTION_STRING"])
    made = registry.create_device_with_sas("announcer", "", "", "enabled")
    key = made.authentication.symmetric_key.primary_key
    text = f"HostName={env['IOTHUB_HOSTNAME']};DeviceId=announcer;SharedAccessKey={key}"
    ca = Path(env["GANTRY_CA_FILE"]).read_text()
    client = IoTHubDeviceClient.create_from_connection_string(text, server_verification_cert=ca,
                                                              product_info="dtmi:com:example:Lamp;1")
    client.connect()
    context = ssl.create_default_context(cafile=env["GANTRY_CA_FILE"])

    def central(path):
        request = urllib.request.Request(f"{env['IOTCENTRAL_URL']}/api/{path}?api-version=2022-07-31")
        request.add_header("Authorization", env["IOTCENTRAL_API_TOKEN"])
        with urllib.request.urlopen(request, context=context) as answer:
            return json.loads(answer.read())

    def template():
        found = [one for one in central("deviceTemplates")["value"] if one["capabilityModel"]["@id"] == "dtmi:com:example:Lamp;1"]
        return found and found[0]

    wait_for(template)
    wait_for(lambda: central("devices/announcer").get("template") == template()["@id"])
    assert template()["displayName"] == "Lamp"
    client.shutdown()
    registry.delete_device("announcer")


# --- the end


def test_a_deletion_leaves_nothing(graph, raw):
    """Last in the file: it deletes the building."""
    status, _, _ = raw("POST", "/jobs/deletions?timeoutInMinutes=0")
    assert status == 400
    status, body, headers = raw("POST", "/jobs/deletions", headers={"operation-id": "all"})
    assert status == 202 and is_a("deletion", body)["id"] == "all"
    path = headers["Operation-Location"].split("/graph", 1)[1].split("?")[0]
    wait_for(lambda: raw("GET", path)[1]["status"] in ("succeeded", "failed"))
    assert raw("GET", path)[1]["status"] == "succeeded"
    assert list(graph.query_twins("SELECT COUNT() FROM DIGITALTWINS")) == [{"COUNT": 0}]
    assert list(graph.list_models()) == []
    status, answer, _ = raw("POST", "/jobs/deletions", headers={"operation-id": "all"})
    assert (status, answer["error"]["code"]) == (400, "ValidationFailed")
    refused("DeleteJobNotFound", 404, graph._client.delete_jobs.get_by_id, "none")
    assert [job.id for job in graph._client.delete_jobs.list()] == ["all"]
