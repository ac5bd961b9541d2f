// The requests of Azure IoT Explorer 0.14 to 0.15 (its dataPlaneHelper and services, and its event hub handler): paths
// percent-encoded whole, one token for everything, and the stream found by the redirect of the hub. The Explorer is a
// window, so its requests are made here as it makes them; the AMQP clients are the ones it uses.
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { EventHubConsumerClient, earliestEventPosition } from '@azure/event-hubs';
import deviceSdk from 'azure-iot-device';
import deviceMqtt from 'azure-iot-device-mqtt';
import { Connection } from 'rhea-promise';
import { cleanup, env, waitFor } from './platform.mjs';

const owner = Object.fromEntries(env.IOTHUB_CONNECTION_STRING.split(';').map((part) => {
  const at = part.indexOf('=');
  return [part.slice(0, at), part.slice(at + 1)];
}));

function token(resource, policy = owner.SharedAccessKeyName, signingKey = owner.SharedAccessKey) {
  const encoded = encodeURIComponent(resource);
  const expiry = Math.ceil(Date.now() / 1000) + 300;
  const signature = createHmac('sha256', Buffer.from(signingKey, 'base64')).update(`${encoded}\n${expiry}`).digest('base64');
  return `SharedAccessSignature sr=${encoded}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=${policy}`;
}

/// One data-plane request: `resource` is what the token names.
function explorer(resource, version) {
  const authorization = token(resource);
  return async (method, path, body, headers = {}) => {
    const answer = await fetch(`https://${owner.HostName}/${encodeURIComponent(path)}?api-version=${version}`, {
      method,
      headers: { Accept: 'application/json', Authorization: authorization, 'Content-Type': 'application/json', ...headers },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null, headers: answer.headers };
  };
}

async function ok(asked) {
  const answer = await asked;
  assert.ok(answer.status >= 200 && answer.status < 300, `${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}

const generations = [
  ['0.14 and 0.15.0', (host) => `${host}/devices/query`, '2020-06-30-preview'],
  ['later ones', (host) => host, '2020-09-30'],
];

for (const [name, resource, version] of generations) {
  test(`every request of Azure IoT Explorer, ${name}`, async (t) => {
    const call = explorer(resource(owner.HostName), version);
    const deviceId = `explorer.a%2Fb:${randomUUID().slice(0, 8)}`;
    cleanup(t, () => call('DELETE', `devices/${deviceId}`, undefined, { 'If-Match': '*' }));

    // Devices.
    const identity = { deviceId, authentication: { type: 'sas', symmetricKey: { primaryKey: null, secondaryKey: null } },
      capabilities: { iotEdge: false }, status: 'enabled' };
    const made = await ok(call('PUT', `devices/${deviceId}`, identity));
    assert.equal(made.deviceId, deviceId);
    const got = await ok(call('GET', `devices/${deviceId}`));
    assert.deepEqual(got, made);
    const changed = await ok(call('PUT', `devices/${deviceId}`, { ...got, statusReason: 'kept' }, { 'If-Match': `"${got.etag}"` }));
    assert.equal(changed.statusReason, 'kept');
    const select = `SELECT deviceId as DeviceId, status as Status, authenticationType as AuthenticationType FROM devices WHERE deviceId = '${deviceId}'`;
    const listed = await call('POST', 'devices/query', { query: select }, { 'x-ms-max-item-count': '100' });
    assert.deepEqual((await ok(listed)).map((row) => row.DeviceId), [deviceId]);
    assert.equal((await call('GET', `devices/nobody-${deviceId}`)).status, 404);

    // Its twin.
    assert.equal((await ok(call('GET', `twins/${deviceId}`))).deviceId, deviceId);
    const patch = { deviceId, tags: { line: 7 }, properties: { desired: { rate: 3 } } };
    assert.equal((await ok(call('PATCH', `twins/${deviceId}`, patch))).properties.desired.rate, 3);
    assert.equal((await ok(call('GET', `digitaltwins/${deviceId}`))).$dtId, deviceId);

    // Modules and their twins.
    const module = { deviceId, moduleId: 'm#1', authentication: { type: 'sas', symmetricKey: { primaryKey: null, secondaryKey: null } } };
    await ok(call('PUT', `devices/${deviceId}/modules/m#1`, module));
    assert.equal((await ok(call('GET', `devices/${deviceId}/modules/m#1`))).moduleId, 'm#1');
    assert.deepEqual((await ok(call('GET', `devices/${deviceId}/modules`))).map((one) => one.moduleId), ['m#1']);
    const modules = `SELECT * FROM devices.modules WHERE deviceId in ['${deviceId}']`;
    assert.deepEqual((await ok(call('POST', 'devices/query', { query: modules }))).map((one) => one.moduleId), ['m#1']);
    assert.equal((await ok(call('GET', `twins/${deviceId}/modules/m#1`))).moduleId, 'm#1');
    const modulePatch = { properties: { desired: { rate: 4 } } };
    assert.equal((await ok(call('PATCH', `twins/${deviceId}/modules/m#1`, modulePatch))).properties.desired.rate, 4);
    const away = await call('POST', `twins/${deviceId}/modules/m#1/methods`, { methodName: 'm', connectTimeoutInSeconds: 0 });
    assert.deepEqual([away.status, JSON.parse(away.body.Message).errorCode], [404, 404103]);

    // A method and a cloud-to-device message, to a device that is there.
    const key = made.authentication.symmetricKey.primaryKey;
    const client = deviceSdk.Client.fromConnectionString(
      `HostName=${owner.HostName};DeviceId=${deviceId};SharedAccessKey=${key}`, deviceMqtt.Mqtt,
    );
    await client.open();
    const messages = [];
    client.on('message', (message) => client.complete(message, () => messages.push(message)));
    client.onDeviceMethod('stop', (request, response) => response.send(201, { asked: request.payload }));
    const method = { connectTimeoutInSeconds: 10, methodName: 'stop', payload: { now: true }, responseTimeoutInSeconds: 10 };
    const stopped = await waitFor(async () => {
      const answer = await call('POST', `twins/${deviceId}/methods`, method);
      return answer.status === 200 && answer.body;
    });
    assert.deepEqual(stopped, { status: 201, payload: { asked: { now: true } } });
    const more = { 'iothub-app-level': '5', 'Content-Encoding': 'utf-8' };
    // Here it encodes the id, and then the whole path again.
    assert.equal((await call('POST', `devices/${encodeURIComponent(deviceId)}/messages/deviceBound`, 'hello', more)).status, 204);
    const message = await waitFor(() => messages[0]);
    assert.equal(message.data.toString(), 'hello');
    assert.equal(message.properties.getValue('level'), '5');

    // Going again.
    await client.close();
    await ok(call('DELETE', `devices/${deviceId}/modules/m#1`, undefined, { 'If-Match': '*' }));
    const deleted = await ok(call('POST', 'devices', [{ etag: '*', id: deviceId, importMode: 'deleteIfMatchEtag' }]));
    assert.equal(deleted.isSuccessful, true);
    assert.equal((await call('GET', `devices/${deviceId}`)).status, 404);
  });
}

test('Azure IoT Explorer finds the event stream by the redirect of the hub', async (t) => {
  const { deviceId, key } = await fresh(t);
  const connection = new Connection({
    transport: 'tls', host: owner.HostName, hostname: owner.HostName, port: 5671, reconnect: false,
    username: `${owner.SharedAccessKeyName}@sas.root.${owner.HostName.split('.')[0]}`,
    password: token(`${owner.HostName}/messages/events`),
  });
  await connection.open();
  const source = { address: `amqps://${owner.HostName}/messages/events/$management` };
  // As the Explorer does it: the link first, and only then it looks for the redirect.
  const receiver = await connection.createReceiver({ source });
  const error = await new Promise((resolve) => receiver.on('receiver_error', (context) => resolve(context.receiver.error)));
  assert.equal(error.condition, 'amqp:link:redirect');
  const [, entity] = /:\d+\/(.*)\/\$management/i.exec(error.info.address);
  await connection.close();

  const consumer = new EventHubConsumerClient('$Default',
    `Endpoint=sb://${error.info.hostname}/;EntityPath=${entity};SharedAccessKeyName=${owner.SharedAccessKeyName};SharedAccessKey=${owner.SharedAccessKey}`);
  const seen = [];
  const subscription = consumer.subscribe({
    processEvents: async (events) => seen.push(...events.filter((event) => event.systemProperties['iothub-connection-device-id'] === deviceId)),
    processError: async (failure) => { throw failure; },
  }, { startPosition: earliestEventPosition });
  const client = deviceSdk.Client.fromConnectionString(
    `HostName=${owner.HostName};DeviceId=${deviceId};SharedAccessKey=${key}`, deviceMqtt.Mqtt,
  );
  await client.open();
  await client.sendEvent(new deviceSdk.Message('{"seen":true}'));
  await client.close();
  const event = await waitFor(() => seen[0]);
  assert.match(JSON.stringify(event.body), /seen/);
  await subscription.close();
  await consumer.close();
});

async function fresh(t) {
  const call = explorer(owner.HostName, '2020-09-30');
  const deviceId = `explorer-${randomUUID().slice(0, 8)}`;
  const made = await ok(call('PUT', `devices/${deviceId}`, { deviceId }));
  cleanup(t, () => call('DELETE', `devices/${deviceId}`, undefined, { 'If-Match': '*' }));
  return { deviceId, key: made.authentication.symmetricKey.primaryKey };
}
