// @azure/digital-twins-core: models, twins, relationships, queries and event routes of a small building.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DigitalTwinsClient } from '@azure/digital-twins-core';
import { env } from './platform.mjs';

const credential = { getToken: async () => ({ token: env.DIGITALTWINS_TOKEN, expiresOnTimestamp: Date.now() + 3600_000 }) };
const client = new DigitalTwinsClient(env.DIGITALTWINS_URL, credential);
const floor = 'dtmi:com:example:node:Floor;1';
const room = 'dtmi:com:example:node:Room;1';
const models = [
  {
    '@context': 'dtmi:dtdl:context;2', '@id': floor, '@type': 'Interface', displayName: 'Floor',
    contents: [{ '@type': 'Relationship', name: 'contains', target: room }, { '@type': 'Property', name: 'level', schema: 'integer' }],
  },
  {
    '@context': 'dtmi:dtdl:context;2', '@id': room, '@type': 'Interface',
    contents: [{ '@type': 'Property', name: 'temperature', schema: 'double' }, { '@type': 'Telemetry', name: 'noise', schema: 'double' }],
  },
];

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

test('a building is made, asked about, changed and taken down', async () => {
  const made = await client.createModels(models);
  assert.deepEqual(made.map(({ id }) => id).sort(), [floor, room]);
  assert.equal((await client.getModel(floor, true)).displayName.en, 'Floor');
  assert.deepEqual((await all(client.listModels([floor], true, 1))).map(({ id }) => id), [floor]);

  await client.upsertDigitalTwin('node-floor', JSON.stringify({ $metadata: { $model: floor }, level: 3 }));
  for (let n = 1; n <= 3; n += 1) {
    await client.upsertDigitalTwin(`node-room${n}`, JSON.stringify({ $metadata: { $model: room }, temperature: 20 + n }));
    await client.upsertRelationship('node-floor', `r${n}`, { $relationshipId: `r${n}`, $sourceId: 'node-floor', $targetId: `node-room${n}`, $relationshipName: 'contains' });
  }
  const { body, etag } = await client.getDigitalTwin('node-room1');
  assert.equal(body.temperature, 21);
  assert.ok(etag.startsWith('W/"'));
  await client.updateDigitalTwin('node-room1', [{ op: 'replace', path: '/temperature', value: 30.5 }], { ifMatch: etag });
  await assert.rejects(
    client.updateDigitalTwin('node-room1', [{ op: 'replace', path: '/temperature', value: 0 }], { ifMatch: etag }),
    (error) => error.statusCode === 412,
  );

  const hot = await all(client.queryTwins("SELECT R.$dtId FROM DIGITALTWINS F JOIN R RELATED F.contains WHERE F.$dtId = 'node-floor' AND R.temperature > 22.5"));
  assert.deepEqual(hot.map((row) => row.$dtId), ['node-room1', 'node-room3']);
  const pages = [];
  for await (const page of client.queryTwins(`SELECT * FROM DIGITALTWINS WHERE IS_OF_MODEL('${room}')`, 2).byPage()) pages.push(page.value.length);
  assert.deepEqual(pages, [2, 1]);
  assert.equal((await all(client.listRelationships('node-floor'))).length, 3);
  assert.deepEqual((await all(client.listIncomingRelationships('node-room2'))).map(({ sourceId }) => sourceId), ['node-floor']);
  await client.publishTelemetry('node-room1', { noise: 3 }, 'm1');

  await client.upsertEventRoute('node', 'events', "type = 'nothing'");
  assert.deepEqual((await all(client.listEventRoutes())).map(({ id }) => id), ['node']);
  await client.deleteEventRoute('node');

  await assert.rejects(client.deleteDigitalTwin('node-floor'), (error) => /RelationshipsNotDeleted/.test(error.message + JSON.stringify(error.details ?? '')));
  for (let n = 1; n <= 3; n += 1) {
    await client.deleteRelationship('node-floor', `r${n}`);
    await client.deleteDigitalTwin(`node-room${n}`);
  }
  await client.deleteDigitalTwin('node-floor');
  await client.decomissionModel(floor);
  for (const { '@id': id } of models) await client.deleteModel(id);
  await assert.rejects(client.getModel(floor), (error) => error.statusCode === 404);
});
