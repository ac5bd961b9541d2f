// azure-iothub's registry: create, read, update, delete, list, query, and errors by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cleanup, freshDevice, registry } from './platform.mjs';

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

test('null takes a property out of a twin, and clears a section', async (t) => {
  const { deviceId } = await freshDevice(t);
  await registry.addModule({ deviceId, moduleId: 'm' });
  const values = (section) => Object.fromEntries(Object.entries(section).filter(([key]) => !key.startsWith('$')));
  for (const read of [() => registry.getTwin(deviceId), () => registry.getModuleTwin(deviceId, 'm')]) {
    const twin = (await read()).responseBody;
    await twin.update({ tags: { a: 1, b: 2 }, properties: { desired: { c: { d: 1, e: 2 } } } });
    assert.deepEqual(twin.tags, { a: 1, b: 2 });
    await twin.update({ tags: { a: null }, properties: { desired: { c: { d: null } } } });
    assert.deepEqual([twin.tags, values(twin.properties.desired)], [{ b: 2 }, { c: { e: 2 } }]);
    await twin.update({ tags: null });
    assert.deepEqual([twin.tags, values(twin.properties.desired)], [{}, { c: { e: 2 } }]);
    await twin.update({ properties: { desired: null } });
    assert.deepEqual(values((await read()).responseBody.properties.desired), {});
  }
});

test('queries page through everything', async (t) => {
  const ids = [];
  for (let n = 0; n < 5; n += 1) {
    const deviceId = `node-page-${process.pid}-${n}`;
    await registry.create({ deviceId });
    await registry.updateTwin(deviceId, { tags: { page: process.pid } }, '*');
    ids.push(deviceId);
  }
  cleanup(t, () => Promise.all(ids.map((id) => registry.delete(id))));
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
