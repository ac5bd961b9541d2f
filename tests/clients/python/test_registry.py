"""azure-iot-hub against the service API."""

import pytest
from azure.iot.hub.models import QuerySpecification, Twin, TwinProperties


def status(error):
    return error.value.response.status_code


def test_create_get_update_list_delete(registry):
    for name in ("crud-1", "crud-%+:=@;$'()!*#?,_"):
        try:
            registry.delete_device(name)
        except Exception:
            pass
        created = registry.create_device_with_sas(name, "", "", "enabled")
        assert len(created.authentication.symmetric_key.primary_key) >= 44
        fetched = registry.get_device(name)
        assert fetched.generation_id == created.generation_id and fetched.etag == created.etag
        updated = registry.update_device_with_sas(
            name, fetched.etag, fetched.authentication.symmetric_key.primary_key,
            fetched.authentication.symmetric_key.secondary_key, "disabled", status_reason="in repair",
        )
        assert (updated.status, updated.status_reason) == ("disabled", "in repair")
        assert updated.etag != created.etag
        assert name in [d.device_id for d in registry.get_devices(1000)]
        registry.delete_device(name)
        with pytest.raises(Exception) as missing:
            registry.get_device(name)
        assert status(missing) == 404
        assert missing.value.response.headers["iothub-errorcode"] == "DeviceNotFound"


def test_creating_twice_is_a_conflict(registry, device):
    name, _ = device
    with pytest.raises(Exception) as conflict:
        registry.create_device_with_sas(name, "", "", "enabled")
    assert status(conflict) == 409


def test_an_old_etag_is_refused(registry, device):
    name, _ = device
    fetched = registry.get_device(name)
    keys = fetched.authentication.symmetric_key
    registry.update_device_with_sas(name, fetched.etag, keys.primary_key, keys.secondary_key, "enabled")
    with pytest.raises(Exception) as stale:
        registry.update_device_with_sas(name, fetched.etag, keys.primary_key, keys.secondary_key, "enabled")
    assert status(stale) == 412


def test_a_new_generation_id_after_deletion(registry):
    name = "generation"
    first = registry.create_device_with_sas(name, "", "", "enabled").generation_id
    registry.delete_device(name)
    second = registry.create_device_with_sas(name, "", "", "enabled").generation_id
    registry.delete_device(name)
    assert first != second


def test_twin_patch_replace_and_etag(registry, device):
    name, _ = device
    twin = registry.get_twin(name)
    assert (twin.etag, twin.version) == ("AAAAAAAAAAE=", 2)
    patched = registry.update_twin(
        name, Twin(tags={"site": "north", "line": 4}, properties=TwinProperties(desired={"rate": 5, "old": 1})), twin.etag
    )
    assert patched.properties.desired["$metadata"]["rate"]["$lastUpdatedVersion"] == 2
    with pytest.raises(Exception) as stale:
        registry.update_twin(name, Twin(tags={"site": "south"}), twin.etag)
    assert status(stale) == 412
    replaced = registry.replace_twin(name, Twin(tags={"site": "west"}, properties=TwinProperties(desired={"rate": 6})), patched.etag)
    assert replaced.tags == {"site": "west"}
    assert "old" not in replaced.properties.desired and replaced.properties.desired["$version"] == 3


def test_queries_read_their_own_writes(registry):
    names = [f"query-{n}" for n in range(25)]
    for n, name in enumerate(names):
        try:
            registry.delete_device(name)
        except Exception:
            pass
        registry.create_device_with_sas(name, "", "", "enabled")
        registry.update_twin(name, Twin(tags={"suite": "query", "even": n % 2 == 0, "n": n}), "*")
    where = "SELECT * FROM devices WHERE tags.suite = 'query' AND tags.n >= 5"
    found, continuation = [], None
    while True:
        page = registry.query_iot_hub(QuerySpecification(query=where), continuation, 7)
        found += [item.device_id for item in page.items]
        continuation = page.continuation_token
        if not continuation:
            break
        assert len(page.items) == 7
    assert sorted(found) == sorted(names[5:])
    for name in names:
        registry.delete_device(name)
    assert registry.query_iot_hub(QuerySpecification(query=where)).items == []


def test_a_bad_query_says_what_is_wrong(registry):
    with pytest.raises(Exception) as bad:
        registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE tags.a = "))
    assert status(bad) == 400
    assert "ErrorCode:ArgumentInvalid;expected a value" in bad.value.response.text


def test_modules(registry, device):
    name, _ = device
    created = registry.create_module_with_sas(name, "pump", "", "", "")
    assert registry.get_module(name, "pump").generation_id == created.generation_id
    assert [m.module_id for m in registry.get_modules(name)] == ["pump"]
    twin = Twin(tags={"place": "roof"}, properties=TwinProperties(desired={"speed": 3}))
    registry.update_module_twin(name, "pump", twin, "*")
    twin = registry.get_module_twin(name, "pump")
    assert (twin.properties.desired["speed"], twin.tags) == (3, {"place": "roof"})
    found = registry.query_iot_hub(QuerySpecification(query=f"SELECT * FROM devices.modules WHERE deviceId = '{name}' AND tags.place = 'roof'"))
    assert [row.module_id for row in found.items] == ["pump"]
    # The whole twin may be written back as it was read.
    registry.replace_module_twin(name, "pump", twin, "*")
    assert registry.get_module_twin(name, "pump").tags == {"place": "roof"}
    registry.delete_module(name, "pump")
    assert registry.get_modules(name) == []


def test_statistics(registry, device):
    assert registry.get_device_registry_statistics().total_device_count >= 1
    assert registry.get_service_statistics().connected_device_count >= 0


def test_a_policy_without_the_right_is_refused(env):
    from azure.iot.hub import IoTHubRegistryManager

    # The `service` policy connects services but may not read the registry.
    parts = dict(part.split("=", 1) for part in env["EVENTHUB_CONNECTION_STRING"].split(";"))
    manager = IoTHubRegistryManager.from_connection_string(
        f"HostName={env['IOTHUB_HOSTNAME']};SharedAccessKeyName=service;SharedAccessKey={parts['SharedAccessKey']}"
    )
    with pytest.raises(Exception) as refused:
        manager.get_devices()
    assert status(refused) == 401
    assert manager.query_iot_hub(QuerySpecification(query="SELECT * FROM devices")) is not None
