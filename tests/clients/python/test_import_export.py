"""azure-iot-hub imports and exports every identity, to and from a container of the blob store."""

import json
import os
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.iot.hub import IoTHubConfigurationManager, IoTHubJobManager
from azure.iot.hub.models import Configuration, ConfigurationContent, Twin, TwinProperties
from azure.iot.hub.protocol.models import JobProperties
from azure.storage.blob import BlobServiceClient, generate_container_sas
from msrest.exceptions import HttpOperationError

from conftest import wait_for

PREFIX = "ie-"
COUNT = int(os.environ.get("GANTRY_IMPORT_COUNT", "10000"))


@pytest.fixture
def container(env):
    service = BlobServiceClient.from_connection_string(env["AZURE_STORAGE_CONNECTION_STRING"])
    client = service.create_container(f"ie-{uuid.uuid4().hex[:20]}")
    yield client
    client.delete_container()


def signed(container, permission="rwdlc"):
    key = container.credential.account_key
    expiry = datetime.now(timezone.utc) + timedelta(hours=1)
    sas = generate_container_sas(
        container.account_name, container.container_name, account_key=key, permission=permission, expiry=expiry
    )
    return f"{container.url}?{sas}"


@pytest.fixture
def jobs(env):
    return IoTHubJobManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])


def run(jobs, **properties):
    job = jobs.create_import_export_job(JobProperties(**properties))

    def ended():
        seen = jobs.get_import_export_job(job.job_id)
        return seen if seen.status in ("completed", "failed", "cancelled") else None

    return wait_for(ended)


def imported(jobs, container, lines, **more):
    container.upload_blob("devices.txt", "\r\n".join(json.dumps(line) for line in lines), overwrite=True)
    uri = signed(container)
    job = run(
        jobs,
        type="import",
        input_blob_container_uri=uri,
        output_blob_container_uri=uri,
        storage_authentication_type="keyBased",
        **more,
    )
    try:
        errors = container.download_blob("importErrors.log").readall().decode()
        container.delete_blob("importErrors.log")
    except ResourceNotFoundError:
        errors = ""
    return job, [json.loads(line) for line in errors.splitlines()]


def exported(jobs, container, exclude_keys=False, name="out.txt"):
    job = run(
        jobs,
        type="export",
        output_blob_container_uri=signed(container),
        output_blob_name=name,
        exclude_keys_in_export=exclude_keys,
    )
    assert (job.status, job.progress) == ("completed", 100), job.failure_reason
    lines = container.download_blob(name).readall().decode().splitlines()
    return [line for line in map(json.loads, lines) if line["id"].startswith(PREFIX)]


def delete(jobs, container, ids):
    job, errors = imported(jobs, container, [{"id": name, "importMode": "delete"} for name in ids])
    assert job.status == "completed" and errors == []


def test_every_identity_goes_out_and_back_in(jobs, container):
    names = [f"{PREFIX}{n:06}" for n in range(COUNT)]
    lines = [{"id": name, "importMode": "create", "tags": {"n": n}} for n, name in enumerate(names)]
    job, errors = imported(jobs, container, lines)
    assert (job.status, job.progress, errors) == ("completed", 100, [])
    before = exported(jobs, container)
    assert [line["id"] for line in before] == names
    delete(jobs, container, names)
    assert exported(jobs, container, name="none.txt") == []
    for line in before:
        line["importMode"] = "create"
    job, errors = imported(jobs, container, before)
    assert job.status == "completed" and errors == []
    after = exported(jobs, container)

    def what_lasts(lines):
        return [(line["id"], line["authentication"], line["tags"], line["status"]) for line in lines]

    assert what_lasts(after) == what_lasts(before)
    delete(jobs, container, names)


def test_modules_twins_and_keys_are_in_the_file(jobs, registry, container):
    name = f"{PREFIX}whole"
    registry.create_device_with_sas(name, "", "", "disabled", iot_edge=False)
    registry.create_module_with_sas(name, "m1", "", "", "")
    twin = Twin(tags={"hall": 7}, properties=TwinProperties(desired={"rate": 5}))
    registry.update_twin(name, twin, "*")
    device, module = exported(jobs, container)
    key = registry.get_device(name).authentication.symmetric_key.primary_key
    assert device["authentication"]["symmetricKey"]["primaryKey"] == key
    assert (device["status"], device["tags"]) == ("disabled", {"hall": 7})
    assert device["properties"]["desired"]["rate"] == 5 and device["properties"]["desired"]["$version"] == 2
    assert (module["id"], module["moduleId"]) == (name, "m1")
    hidden = exported(jobs, container, exclude_keys=True)
    assert [line["authentication"]["symmetricKey"]["primaryKey"] for line in hidden] == [None, None]

    registry.delete_device(name)
    job, errors = imported(jobs, container, [device, module])
    assert job.status == "completed" and errors == []
    assert registry.get_device(name).authentication.symmetric_key.primary_key == key
    assert registry.get_module(name, "m1").module_id == "m1"
    back = registry.get_twin(name)
    assert (back.tags, back.properties.desired["rate"]) == ({"hall": 7}, 5)
    registry.delete_device(name)


def test_every_mode_and_its_errors(jobs, registry, container):
    one, two = f"{PREFIX}one", f"{PREFIX}two"
    lines = [
        {"id": one, "importMode": "create"},
        {"id": one, "importMode": "create"},
        {"id": two, "importMode": "update"},
        {"id": two},
        {"id": two, "importMode": "updateTwin", "tags": {"a": 1}},
        {"id": two, "importMode": "updateIfMatchETag", "eTag": "bm90IGl0", "status": "disabled"},
        {"id": two, "importMode": "updateTwinIfMatchETag", "twinETag": "bm90IGl0", "tags": {"a": 2}},
        {"id": "no such id!", "importMode": "delete"},
        {"id": one, "importMode": "vanish"},
        {"id": f"{PREFIX}none", "moduleId": "m", "importMode": "create"},
    ]
    job, errors = imported(jobs, container, lines)
    assert job.status == "completed" and job.failure_reason == "7 of 10 lines failed; see importErrors.log"
    codes = sorted((error["deviceId"], error["errorCode"]) for error in errors if "deviceId" in error)
    assert codes == [
        (f"{PREFIX}none", "DeviceNotFound"),
        (one, "DeviceAlreadyExists"),
        (two, "DeviceNotFound"),
        (two, "PreconditionFailed"),
        (two, "PreconditionFailed"),
    ]
    assert [error["line"] for error in errors if "line" in error] == [8, 9]
    assert registry.get_twin(two).tags == {"a": 1} and registry.get_device(two).status == "enabled"
    delete(jobs, container, [one, two])


def test_configurations_go_with_them_when_asked(jobs, registry, container, env):
    configurations = IoTHubConfigurationManager.from_connection_string(env["IOTHUB_CONNECTION_STRING"])
    name = f"{PREFIX}conf"
    content = ConfigurationContent(device_content={"properties.desired.a": {"b": 1}})
    made = Configuration(id=name, content=content, target_condition="tags.hall='none'", priority=3, labels={"x": "y"})
    configurations.create_configuration(made)
    uri = signed(container)
    job = run(jobs, type="export", output_blob_container_uri=uri, include_configurations=True)
    assert job.status == "completed", job.failure_reason
    lines = container.download_blob("configurations.txt").readall().decode().splitlines()
    line = next(line for line in map(json.loads, lines) if line["id"] == name)
    assert (line["priority"], line["content"]["deviceContent"]) == (3, {"properties.desired.a": {"b": 1}})

    configurations.delete_configuration(name)
    line["priority"] = 7
    bad = {**line, "id": "No Such Name"}
    container.upload_blob("conf.txt", "\n".join(map(json.dumps, [line, bad])))
    container.upload_blob("devices.txt", b"", overwrite=True)
    job = run(
        jobs,
        type="import",
        input_blob_container_uri=uri,
        output_blob_container_uri=uri,
        include_configurations=True,
        configurations_blob_name="conf.txt",
    )
    assert (job.status, job.failure_reason) == ("completed", "1 of 2 lines failed; see importErrors.log")
    error = json.loads(container.download_blob("importErrors.log").readall())
    assert (error["file"], error["line"]) == ("configurations", 2)
    back = configurations.get_configuration(name)
    assert (back.priority, back.labels) == (7, {"x": "y"})
    configurations.delete_configuration(name)


def test_what_is_no_json_is_named_by_line(jobs, registry, container):
    container.upload_blob("mine.txt", b'{"id": 7}\nnonsense\n\n\xff\n' + b"x" * 600_000 + b"\n")
    uri = signed(container)
    job = run(
        jobs, type="import", input_blob_container_uri=uri, input_blob_name="mine.txt", output_blob_container_uri=uri
    )
    assert job.status == "completed" and job.failure_reason.startswith("4 of 5 lines")
    log = container.download_blob("importErrors.log").readall().decode().splitlines()
    assert [json.loads(line)["line"] for line in log] == [1, 2, 4, 5]


def test_jobs_that_cannot_work_are_refused(jobs, registry, container):
    good, ours = signed(container), container.url
    bad = [
        dict(type="export"),
        dict(type="export", output_blob_container_uri=ours),
        dict(type="export", output_blob_container_uri=signed(container, "rl")),
        dict(type="export", output_blob_container_uri=good.replace("sig=", "sig=AA")),
        dict(type="export", output_blob_container_uri="http://example.com/c?sig=x"),
        dict(type="import", output_blob_container_uri=good),
        dict(type="import", output_blob_container_uri=good, input_blob_container_uri=good, input_blob_name="none"),
        dict(type="export", output_blob_container_uri=good.replace(container.container_name, "not-there")),
    ]
    for properties in bad:
        with pytest.raises(HttpOperationError) as refused:
            jobs.create_import_export_job(JobProperties(**properties))
        assert refused.value.response.status_code == 400, properties
    with pytest.raises(HttpOperationError) as refused:
        jobs.get_import_export_job("none")
    assert refused.value.response.status_code == 404


def test_one_job_at_a_time_and_it_can_be_cancelled(jobs, registry, container):
    container.upload_blob("many.txt", "\n".join(json.dumps({"id": f"{PREFIX}{n}"}) for n in range(100_000)))
    uri = signed(container)
    importing = JobProperties(
        type="import", input_blob_container_uri=uri, input_blob_name="many.txt", output_blob_container_uri=uri
    )
    job = jobs.create_import_export_job(importing)
    with pytest.raises(HttpOperationError) as refused:
        jobs.create_import_export_job(importing)
    assert refused.value.response.headers["iothub-errorcode"] == "JobQuotaExceeded"
    listed = [j for j in jobs.get_import_export_jobs() if j.job_id == job.job_id]
    assert listed[0].status == "running" and "sig=" not in listed[0].input_blob_container_uri
    jobs.cancel_import_export_job(job.job_id)
    seen = lambda: jobs.get_import_export_job(job.job_id)
    assert wait_for(lambda: seen() if seen().status != "running" else None).status == "cancelled"
    delete(jobs, container, [line["id"] for line in exported(jobs, container)])
