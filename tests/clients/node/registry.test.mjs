// azure-iothub's registry: create, read, update, delete, list, query, and errors by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freshDevice, registry } from './platform.mjs';

test('create get update list and delete', async (t) => {
  const { deviceId } = await freshDevice(t);
  const device = (await registry.get(deviceId)).responseBody;
  assert.equal(device.status, 'enabled');
  const updated = (await registry.update({ ...device, status: 'disabled', statusReason: 'spare' })).responseBody;
  assert.equal(updated.status, 'disabled');
  assert.ok((await registry.list()).responseBody.some((d) => d.deviceId === deviceId));
});

test('errors have the classes of the reference', async (t) => {
  const { deviceId } = await freshDevice(t);
  await assert.rejects(registry.get('no-such-device'), (error) => error.name === 'DeviceNotFoundError');
  await assert.rejects(registry.create({ deviceId }), (error) => error.name === 'DeviceAlreadyExistsError');
});

test('queries page through everything', async (t) => {
  const ids = [];
  for (let n = 0; n < 5; n += 1) {
    const deviceId = `node-page-${process.pid}-${n}`;
    await registry.create({ deviceId });
    await registry.updateTwin(deviceId, { tags: { page: process.pid } }, '*');
    ids.push(deviceId);
  }
  t.after(() => Promise.all(ids.map((id) => registry.delete(id))));
  const query = registry.createQuery(`SELECT * FROM devices WHERE tags.page = ${process.pid}`, 2);
  const found = [];
  do {
    const { result } = await query.nextAsTwin(query.continuationToken);
    found.push(...result.map((twin) => twin.deviceId));
  } while (query.hasMoreResults);
  assert.deepEqual(found.sort(), ids.sort());
  const count = await registry.createQuery(`SELECT COUNT() AS n FROM devices WHERE tags.page = ${process.pid}`).next();
  assert.equal(count.result[0].n, 5);
});
