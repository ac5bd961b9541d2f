// azure-iothub: bulk calls, configurations, jobs and digital twins.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import iothub from 'azure-iothub';
import iotDevice from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import { cleanup, env, freshDevice, registry, waitFor } from './platform.mjs';

const jobs = iothub.JobClient.fromConnectionString(env.IOTHUB_CONNECTION_STRING);

async function fleet(t, count = 3) {
  const ids = Array.from({ length: count }, (_, n) => `node-fleet-${t.name.replace(/\W/g, '')}-${process.pid}-${n}`);
  const { responseBody } = await registry.addDevices(ids.map((deviceId) => ({ deviceId })));
  assert.deepEqual([responseBody.isSuccessful, responseBody.errors], [true, []]);
  cleanup(t, () => registry.removeDevices(ids.map((deviceId) => ({ deviceId })), true).catch(() => {}));
  return ids;
}

async function connect(t, connectionString, onMethod) {
  const client = iotDevice.Client.fromConnectionString(connectionString, mqtt.Mqtt);
  await client.open();
  client.onDeviceMethod('reboot', onMethod);
  client.onDeviceMethod('thermostat1*report', onMethod);
  cleanup(t, () => client.close());
  return client;
}

test('bulk add update and remove', async (t) => {
  const ids = await fleet(t);
  const all = (await Promise.all(ids.map((id) => registry.get(id)))).map((answer) => answer.responseBody);
  const disabled = all.map(({ deviceId }) => ({ deviceId, status: 'disabled' }));
  const updated = (await registry.updateDevices(disabled, true)).responseBody;
  assert.equal(updated.isSuccessful, true);
  assert.equal((await registry.get(ids[0])).responseBody.status, 'disabled');
  await assert.rejects(registry.addDevices([{ deviceId: ids[0] }]), (error) => /DeviceAlreadyExists/.test(error.responseBody));
  await registry.removeDevices(ids.map((deviceId) => ({ deviceId })), true);
  await assert.rejects(registry.get(ids[0]), (error) => error.name === 'DeviceNotFoundError');
});

test('configurations are added shown changed and removed', async (t) => {
  const [deviceId] = await fleet(t, 1);
  const id = `node-config-${process.pid}`;
  await registry.addConfiguration({
    id, priority: 3, targetCondition: `deviceId = '${deviceId}'`, schemaVersion: '1.0', labels: {},
    content: { deviceContent: { 'properties.desired.rate': 5 } },
  });
  cleanup(t, () => registry.removeConfiguration(id).catch(() => {}));
  await waitFor(async () => (await registry.getTwin(deviceId)).responseBody.properties.desired.rate === 5);
  const { responseBody } = await registry.getConfiguration(id);
  assert.deepEqual(responseBody.systemMetrics.results, { targetedCount: 1, appliedCount: 1 });
  assert.ok((await registry.getConfigurations()).responseBody.some((found) => found.id === id));
  await registry.updateConfiguration({ ...responseBody, targetCondition: "deviceId = 'nobody'" }, true);
  await waitFor(async () => (await registry.getTwin(deviceId)).responseBody.properties.desired.rate === undefined);
  await registry.removeConfiguration(id);
  await assert.rejects(registry.getConfiguration(id), (error) => error.response.statusCode === 404);
});

test('a job updates twins and is listed', async (t) => {
  const ids = await fleet(t);
  const jobId = `node-job-${process.pid}`;
  const list = ids.map((id) => `'${id}'`).join(',');
  await jobs.scheduleTwinUpdate(jobId, `deviceId IN [${list}]`, { etag: '*', tags: { job: jobId } }, new Date(), 60);
  const done = await waitFor(async () => {
    const { jobStatus } = await jobs.getJob(jobId);
    return jobStatus.status === 'completed' && jobStatus;
  });
  assert.equal(done.deviceJobStatistics.succeededCount, 3);
  assert.equal((await registry.getTwin(ids[2])).responseBody.tags.job, jobId);
  const query = jobs.createQuery('scheduleUpdateTwin', 'completed', 10);
  const { result } = await query.next();
  assert.ok(result.some((job) => job.jobId === jobId));
  const outcomes = await registry.createQuery(`SELECT * FROM devices.jobs WHERE jobId = '${jobId}'`).next();
  assert.deepEqual(outcomes.result.map((outcome) => outcome.status), ['completed', 'completed', 'completed']);
});

test('a job calls a method and another is cancelled', async (t) => {
  const { deviceId, connectionString } = await freshDevice(t);
  await connect(t, connectionString, (request, response) => response.send(200, { got: request.payload }));
  const jobId = `node-method-${process.pid}`;
  const method = { methodName: 'reboot', payload: { a: 1 }, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10 };
  await jobs.scheduleDeviceMethod(jobId, `deviceId = '${deviceId}'`, method, new Date(), 60);
  await waitFor(async () => (await jobs.getJob(jobId)).jobStatus.status === 'completed');
  const { result } = await registry.createQuery(`SELECT * FROM devices.jobs WHERE jobId = '${jobId}'`).next();
  assert.deepEqual(result[0].outcome.deviceMethodResponse, { status: 200, payload: { got: { a: 1 } } });
  const later = `node-later-${process.pid}`;
  await jobs.scheduleTwinUpdate(later, '*', { tags: { never: 1 } }, new Date(Date.now() + 3600e3), 60);
  const { jobStatus } = await jobs.cancelJob(later);
  assert.equal(jobStatus.status, 'cancelled');
});

test('digital twins are read patched and commanded', async (t) => {
  const { deviceId, connectionString } = await freshDevice(t);
  const twins = new iothub.DigitalTwinClient(new iothub.IoTHubTokenCredentials(env.IOTHUB_CONNECTION_STRING));
  await twins.updateDigitalTwin(deviceId, [{ op: 'add', path: '/thermostat1/target', value: 21 }]);
  const twin = await twins.getDigitalTwin(deviceId);
  assert.equal(twin.$dtId, deviceId);
  assert.equal(twin.thermostat1.$metadata.target.desiredValue, 21);
  await connect(t, connectionString, (request, response) => response.send(203, { did: request.methodName }));
  const root = await waitFor(() => twins.invokeCommand(deviceId, 'reboot', { delay: 1 }).catch(() => null));
  assert.equal(root.xMsCommandStatuscode, 203);
  assert.equal(JSON.parse(root._response.bodyAsText).did, 'reboot');
  const component = await twins.invokeComponentCommand(deviceId, 'thermostat1', 'report', 'now');
  assert.equal(JSON.parse(component._response.bodyAsText).did, 'thermostat1*report');
});
