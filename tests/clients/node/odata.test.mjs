// Tables as an OData feed, read by @odata/client as it is published.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import odata from '@odata/client';
import { env, freshDevice } from './platform.mjs';

const client = odata.OData.New4({
  serviceEndpoint: env.ODATA_URL,
  credential: { username: 'token', password: env.KUSTO_TOKEN },
});

test('entities are found, counted and read by their key', async (t) => {
  const { deviceId } = await freshDevice(t);
  const devices = client.getEntitySet('Devices');
  const [found] = await devices.query(client.newFilter().property('DeviceId').eqString(deviceId));
  assert.equal(found.Status, 'enabled');
  assert.equal((await devices.retrieve(deviceId)).DeviceId, deviceId);
  assert.equal(await devices.count(client.newFilter().property('DeviceId').eqString(deviceId)), 1);
  const options = client.newOptions().select('DeviceId').orderby('DeviceId', 'desc').top(1);
  assert.deepEqual(Object.keys((await devices.query(options))[0]), ['DeviceId']);
});

test('what leads onward is expanded', async (t) => {
  const { deviceId } = await freshDevice(t);
  const [device] = await client.getEntitySet('Devices').query(
    client.newOptions().filter(client.newFilter().property('DeviceId').eqString(deviceId)).expand('Twins'),
  );
  assert.equal(device.Twins[0].DeviceId, deviceId);
});

test('errors carry their words', async () => {
  const nothing = client.getEntitySet('Devices').query(client.newFilter().property('nothing').eq(1));
  await assert.rejects(nothing, /there is no property `nothing`/);
  await assert.rejects(client.getEntitySet('Devices').create({ DeviceId: 'x' }), /read-only/);
});
