"""azure-iot-hub: bulk registry calls, modules, configurations, jobs, digital twins."""

import uuid

import pytest
from azure.iot.hub import DigitalTwinClient, IoTHubConfigurationManager, IoTHubJobManager
from azure.iot.hub.models import (
    CloudToDeviceMethod, Configuration, ConfigurationContent, ConfigurationMetrics, ConfigurationQueriesTestInput,
    ExportImportDevice, AuthenticationMechanism, JobRequest, QuerySpecification, SymmetricKey, Twin, TwinProperties,
)
from azure.iot.device import IoTHubDeviceClient, MethodResponse

from conftest import wait_for


@pytest.fixture
def configurations(platform):
    return IoTHubConfigurationManager(platform.env["IOTHUB_CONNECTION_STRING"])


@pytest.fixture
def jobs(platform):
    return IoTHubJobManager(platform.env["IOTHUB_CONNECTION_STRING"])


@pytest.fixture
def twins(platform):
    return DigitalTwinClient.from_connection_string(platform.env["IOTHUB_CONNECTION_STRING"])


@pytest.fixture
def fleet(registry):
    """Three devices with one tag of their own."""
    mark = uuid.uuid4().hex[:12]
    names = [f"fleet-{mark}-{number}" for number in range(3)]
    result = registry.bulk_create_or_update_devices(
        [ExportImportDevice(id=name, import_mode="create", status="enabled", tags={"mark": mark}) for name in names]
    )
    assert result.is_successful and not result.errors
    yield mark, names
    registry.bulk_create_or_update_devices([ExportImportDevice(id=name, import_mode="delete") for name in names])


def query(registry, text, size=None):
    found, token = [], None
    while True:
        page = registry.query_iot_hub(QuerySpecification(query=text), token, size)
        found += page.items
        token = page.continuation_token
        if not token:
            return found


def test_bulk_calls_name_what_failed(registry, fleet):
    mark, names = fleet
    keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key="", secondary_key=""))
    # The SDK reads the list of a 400 like that of a 200.
    result = registry.bulk_create_or_update_devices([
        ExportImportDevice(id=names[0], import_mode="create", status="enabled", authentication=keys),
        ExportImportDevice(id=names[1], import_mode="update", status="disabled", status_reason="spare"),
    ])
    assert result.is_successful is False
    assert [(error.device_id, error.error_code) for error in result.errors] == [(names[0], "DeviceAlreadyExists")]
    assert registry.get_device(names[1]).status_reason == "spare"


def test_queries_of_tags_page_and_count(registry, fleet):
    mark, names = fleet
    found = query(registry, f"SELECT * FROM devices WHERE tags.mark = '{mark}'", 2)
    assert sorted(twin.device_id for twin in found) == names
    counted = query(registry, f"SELECT COUNT() AS n FROM devices WHERE tags.mark = '{mark}'")
    assert counted[0].additional_properties["n"] == 3
    # Reads its own writes.
    registry.update_twin(names[0], Twin(tags={"mark": "other"}), "*")
    assert len(query(registry, f"SELECT deviceId FROM devices WHERE tags.mark = '{mark}'")) == 2


def test_edge_devices_and_modules(registry):
    name = f"edge-{uuid.uuid4().hex[:12]}"
    registry.create_device_with_sas(name, "", "", "enabled", iot_edge=True)
    try:
        assert sorted(m.module_id for m in registry.get_modules(name)) == ["$edgeAgent", "$edgeHub"]
        scope = registry.get_device(name).device_scope
        assert scope.startswith(f"ms-azure-iot-edge://{name}-")
        registry.create_module_with_sas(name, "filter", "", "", "")
        assert len(registry.get_modules(name)) == 3
        registry.delete_module(name, "filter")
    finally:
        registry.delete_device(name)


def test_a_configuration_converges_and_is_counted(registry, configurations, fleet):
    mark, names = fleet
    id = f"config-{mark}"
    content = ConfigurationContent(device_content={"properties.desired.interval": {"seconds": 7}})
    metrics = ConfigurationMetrics(queries={"all": f"SELECT deviceId FROM devices WHERE tags.mark = '{mark}'"})
    made = configurations.create_configuration(Configuration(
        id=id, content=content, target_condition=f"tags.mark = '{mark}'", priority=10, metrics=metrics,
        labels={"team": "a"},
    ))
    try:
        assert made.id == id and made.etag
        applied = wait_for(lambda: (c := configurations.get_configuration(id)).system_metrics.results["appliedCount"] == 3 and c)
        assert applied.metrics.results == {"all": 3}
        for text in applied.system_metrics.queries.values():
            assert len(query(registry, text)) == 3
        assert registry.get_twin(names[0]).properties.desired["interval"] == {"seconds": 7}
        assert id in [c.id for c in configurations.get_configurations(100)]
        updated = configurations.update_configuration(
            Configuration(id=id, target_condition=f"deviceId = '{names[1]}'", priority=10), applied.etag
        )
        assert updated.target_condition == f"deviceId = '{names[1]}'"
        wait_for(lambda: "interval" not in registry.get_twin(names[0]).properties.desired)
        assert registry.get_twin(names[1]).properties.desired["interval"] == {"seconds": 7}
    finally:
        configurations.delete_configuration(id)
    wait_for(lambda: "interval" not in registry.get_twin(names[1]).properties.desired)
    tested = configurations.test_configuration_queries(
        ConfigurationQueriesTestInput(target_condition="tags.x =", custom_metric_queries={"bad": "SELECT"})
    )
    assert tested.target_condition_error and list(tested.custom_metric_query_errors) == ["bad"]


def test_content_is_applied_on_an_edge_device(registry, configurations):
    name = f"edge-{uuid.uuid4().hex[:12]}"
    registry.create_device_with_sas(name, "", "", "enabled", iot_edge=True)
    try:
        modules = {"$edgeAgent": {"properties.desired": {"modules": {"m": {"version": "1"}}}}}
        configurations.apply_configuration_on_edge_device(name, ConfigurationContent(modules_content=modules))
        desired = registry.get_module_twin(name, "$edgeAgent").properties.desired
        assert desired["modules"] == {"m": {"version": "1"}}
        assert registry.get_module(name, "m").managed_by == "IotEdge"
    finally:
        registry.delete_device(name)


def test_a_job_updates_twins(registry, jobs, fleet):
    mark, names = fleet
    id = f"job-{mark}"
    made = jobs.create_scheduled_job(id, JobRequest(
        job_id=id, type="scheduleUpdateTwin", query_condition=f"tags.mark = '{mark}'",
        update_twin=Twin(etag="*", properties=TwinProperties(desired={"rate": 9})), max_execution_time_in_seconds=60,
    ))
    assert made.job_id == id
    done = wait_for(lambda: (job := jobs.get_scheduled_job(id)).status == "completed" and job)
    assert (done.device_job_statistics.device_count, done.device_job_statistics.succeeded_count) == (3, 3)
    assert all(registry.get_twin(name).properties.desired["rate"] == 9 for name in names)
    outcomes = query(registry, f"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{id}'")
    assert sorted(o.additional_properties.get("deviceId", o.device_id) for o in outcomes) == names
    with pytest.raises(Exception) as ended:
        jobs.cancel_scheduled_job(id)
    assert ended.value.response.status_code == 405


def test_a_job_calls_methods(registry, jobs, platform, device):
    name, connection_string = device
    client = IoTHubDeviceClient.create_from_connection_string(connection_string)
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, {"did": request.name})
    )
    client.connect()
    id = f"call-{uuid.uuid4().hex[:12]}"
    try:
        jobs.create_scheduled_job(id, JobRequest(
            job_id=id, type="scheduleDeviceMethod", query_condition=f"deviceId = '{name}'",
            cloud_to_device_method=CloudToDeviceMethod(
                method_name="reboot", payload={"in": 1}, response_timeout_in_seconds=10, connect_timeout_in_seconds=10,
            ),
        ))
        done = wait_for(lambda: (job := jobs.get_scheduled_job(id)).status == "completed" and job)
        assert done.device_job_statistics.succeeded_count == 1
        outcome = query(registry, f"SELECT * FROM devices.jobs WHERE deviceId = '{name}' AND jobId = '{id}'")[0]
        answer = outcome.additional_properties["outcome"]["deviceMethodResponse"]
        assert answer == {"status": 200, "payload": {"did": "reboot"}}
    finally:
        client.shutdown()


def test_a_job_for_later_is_cancelled(jobs):
    id = f"later-{uuid.uuid4().hex[:12]}"
    made = jobs.create_scheduled_job(id, JobRequest(
        job_id=id, type="scheduleUpdateTwin", query_condition="*", update_twin=Twin(tags={"never": 1}),
        start_time="2090-01-01T00:00:00Z",
    ))
    assert made.status == "queued", "what the official suites expect of the answer"
    assert jobs.get_scheduled_job(id).status == "scheduled"
    assert jobs.cancel_scheduled_job(id).status == "cancelled"


def test_digital_twins(registry, twins, device):
    name, connection_string = device
    patch = [{"op": "add", "path": "/targetTemperature", "value": 42},
             {"op": "add", "path": "/thermostat1/targetTemperature", "value": 21}]
    twins.update_digital_twin(name, patch)
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, product_info="dtmi:com:example:TemperatureController;1"
    )
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 202, {"name": request.name, "got": request.payload})
    )
    client.connect()
    try:
        client.patch_twin_reported_properties(
            {"targetTemperature": {"value": 42, "ac": 200, "av": 2, "ad": "done"}, "thermostat1": {"__t": "c", "max": 50}}
        )
        twin = wait_for(lambda: (t := twins.get_digital_twin(name)).get("targetTemperature") == 42 and t)
        assert twin["$dtId"] == name and twin["$metadata"]["$model"] == "dtmi:com:example:TemperatureController;1"
        assert twin["$metadata"]["targetTemperature"]["ackCode"] == 200
        assert twin["thermostat1"]["max"] == 50
        answer = wait_for(lambda: try_command(lambda: twins.invoke_command(name, "reboot", {"delay": 1})))
        assert answer == {"name": "reboot", "got": {"delay": 1}}
        answer = twins.invoke_component_command(name, "thermostat1", "getMaxMinReport", "2026-01-01T00:00:00Z")
        assert answer == {"name": "thermostat1*getMaxMinReport", "got": "2026-01-01T00:00:00Z"}
    finally:
        client.shutdown()


def try_command(call):
    """The answer, or nothing while the device is not listening yet."""
    try:
        return call()
    except Exception as error:
        assert error.response.status_code == 404
        return None
