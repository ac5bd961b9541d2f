// Data sent by azure-kusto-ingest for Node as it is published.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, KustoConnectionStringBuilder } from 'azure-kusto-data';
import { DataFormat, IngestClient, IngestionProperties, ManagedStreamingIngestClient, StreamDescriptor, StreamingIngestClient } from 'azure-kusto-ingest';
import { cleanup, env } from './platform.mjs';

const builder = () => KustoConnectionStringBuilder.withAccessToken(env.KUSTO_URL, env.KUSTO_TOKEN);
const client = new Client(builder());
const ask = async (text) => {
  const answer = await client.execute(env.KUSTO_DATABASE, text);
  return JSON.parse(JSON.stringify(answer.primaryResults[0].toJSON())).data;
};

async function freshTable(t) {
  const name = `N${randomUUID().slice(0, 8)}`;
  await ask(`.create table ${name} (id:long, name:string)`);
  cleanup(t, () => ask(`.drop table ${name} ifexists`));
  const properties = new IngestionProperties({ database: env.KUSTO_DATABASE, table: name, format: DataFormat.CSV });
  return { name, properties };
}

const count = async (name) => (await ask(`${name} | count`))[0].Count;

test('streaming ingestion', async (t) => {
  const { name, properties } = await freshTable(t);
  const streaming = new StreamingIngestClient(builder(), properties);
  await streaming.ingestFromStream(Readable.from(['1,a\n2,b\n']));
  assert.deepEqual(await ask(`${name} | order by id asc`), [{ id: 1, name: 'a' }, { id: 2, name: 'b' }]);
  streaming.close();
});

test('managed streaming ingestion, the same source twice', async (t) => {
  const { name, properties } = await freshTable(t);
  const managed = new ManagedStreamingIngestClient(builder(), builder(), properties);
  const id = randomUUID();
  // This client concatenates what the stream gives: it must be buffers.
  for (let attempt = 0; attempt < 2; attempt++) {
    await managed.ingestFromStream(new StreamDescriptor(Readable.from([Buffer.from('1,a\n')]), id));
  }
  assert.equal(await count(name), 1);
  managed.close();
});

test('queued ingestion', async (t) => {
  const { name, properties } = await freshTable(t);
  const queued = new IngestClient(builder(), properties);
  await queued.ingestFromStream(Readable.from(['1,a\n2,b\n3,c\n']));
  for (let tries = 0; tries < 600 && (await count(name)) < 3; tries++) await pause(50);
  assert.equal(await count(name), 3);
  queued.close();
});
