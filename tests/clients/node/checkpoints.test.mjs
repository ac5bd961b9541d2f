// @azure/event-hubs with its checkpoint store: three consumers share eight partitions, and one goes away.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { EventHubConsumerClient, earliestEventPosition } from '@azure/event-hubs';
import { BlobCheckpointStore } from '@azure/eventhubs-checkpointstore-blob';
import { BlobServiceClient } from '@azure/storage-blob';
import iotDevice from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import { cleanup, env, freshDevice, waitFor } from './platform.mjs';

const { Client, Message } = iotDevice;
// One time in four the client's balancing goes on after both of its close() have resolved, and its timers keep Node alive.
after(() => setTimeout(() => process.exit(), 1000).unref());

const GROUP = 'workers';
const DEVICES = 12;

async function fleet(t) {
  const clients = [];
  for (let n = 0; n < DEVICES; n += 1) {
    const { connectionString } = await freshDevice(t, `-${n}`);
    const client = Client.fromConnectionString(connectionString, mqtt.Mqtt);
    await client.open();
    cleanup(t, () => client.close());
    clients.push(client);
  }
  const mark = randomBytes(4).toString('hex');
  return async (label) => {
    const texts = clients.map((_, n) => `${mark}-${label}-${n}`);
    await Promise.all(clients.map((client, n) => client.sendEvent(new Message(texts[n]))));
    return texts;
  };
}

function consume(container, seen) {
  const client = new EventHubConsumerClient(GROUP, env.EVENTHUB_CONNECTION_STRING, new BlobCheckpointStore(container), {
    loadBalancingOptions: {
      strategy: 'balanced', updateIntervalInMs: 1000, partitionOwnershipExpirationIntervalInMs: 6000,
    },
  });
  const mine = new Set();
  const subscription = client.subscribe({
    processEvents: async (events, context) => {
      for (const event of events) {
        const text = Buffer.isBuffer(event.body) ? event.body.toString() : String(event.body);
        seen.add(text);
        mine.add(text);
      }
      if (events.length) await context.updateCheckpoint(events.at(-1));
    },
    processError: async () => {},
  }, { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 });
  return { mine, close: async () => { await subscription.close(); await client.close(); } };
}

/// Every partition has an owner, and everybody a fair share.
async function isBalanced(container, consumers) {
  const counts = new Map();
  for await (const blob of container.listBlobsFlat({ includeMetadata: true })) {
    if (!blob.name.includes('/ownership/') || !blob.metadata?.ownerid) continue;
    counts.set(blob.metadata.ownerid, (counts.get(blob.metadata.ownerid) ?? 0) + 1);
  }
  const shares = [...counts.values()];
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.length === consumers && total === 8 && Math.min(...shares) >= Math.floor(8 / consumers);
}

test('consumers share partitions and checkpoints resume', async (t) => {
  const service = BlobServiceClient.fromConnectionString(env.AZURE_STORAGE_CONNECTION_STRING);
  const container = service.getContainerClient(`cp-${randomBytes(8).toString('hex')}`);
  await container.create();
  cleanup(t, () => container.delete());
  const send = await fleet(t);
  const first = await send('a');
  const seen = new Set();
  const consumers = [consume(container, seen), consume(container, seen), consume(container, seen)];
  await waitFor(() => isBalanced(container, 3));
  await waitFor(() => first.every((text) => seen.has(text)));

  await consumers[0].close();
  await waitFor(() => isBalanced(container, 2));
  const second = await send('b');
  await waitFor(() => second.every((text) => seen.has(text)));
  assert.ok(second.every((text) => !consumers[0].mine.has(text)));
  await Promise.all([consumers[1].close(), consumers[2].close()]);

  const later = new Set();
  const third = await send('c');
  const resumed = consume(container, later);
  await waitFor(() => third.every((text) => later.has(text)));
  await resumed.close();
  assert.ok([...first, ...second].every((text) => !later.has(text)), 'what was checkpointed is not read again');
});

/**
 * Without an ETag this client claims without any condition, so every processor that starts at the same instant is told
 * that it owns every partition (findings/checkpoint-store-node-claims-without-condition.sh). Who owns it is decided by
 * the condition of the next claim.
 */
test('of processors that start at the same instant one keeps each partition', async (t) => {
  const service = BlobServiceClient.fromConnectionString(env.AZURE_STORAGE_CONNECTION_STRING);
  const { containerClient } = await service.createContainer(`same-${randomBytes(8).toString('hex')}`);
  cleanup(t, () => containerClient.delete());
  const partitions = [...Array(8).keys()].map(String);
  const owners = ['a', 'b', 'c'];
  /** What an owner gets of a claim of every partition. */
  const claim = async (consumerGroup, ownerId, known = []) => {
    const named = { fullyQualifiedNamespace: 'localhost', eventHubName: 'gantry', consumerGroup, ownerId };
    const etag = (partitionId) => known.find((one) => one.partitionId === partitionId)?.etag;
    const wanted = partitions.map((partitionId) => ({ ...named, partitionId, etag: etag(partitionId) }));
    return new BlobCheckpointStore(containerClient).claimOwnership(wanted);
  };
  const shared = (claims) => claims.flat().map((one) => one.partitionId).sort();
  for (let round = 0; round < 5; round += 1) {
    const group = `round-${round}`;
    const first = await Promise.all(owners.map((owner) => claim(group, owner)));
    const kept = await Promise.all(owners.map((owner, n) => claim(group, owner, first[n])));
    assert.deepEqual(shared(kept), partitions);
    const stolen = await Promise.all(owners.map((owner) => claim(group, owner, kept.flat())));
    assert.deepEqual(shared(stolen), partitions);
    assert.deepEqual(await claim(group, 'late', kept.flat()), []);
  }
});
