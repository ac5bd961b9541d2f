// Node devices with tokens of the token server, renewed in place (AMQP) or by connecting again (MQTT).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventHubConsumerClient, earliestEventPosition } from '@azure/event-hubs';
import iotCommon from 'azure-iot-common';
import iotDevice from 'azure-iot-device';
import amqp from 'azure-iot-device-amqp';
import mqtt from 'azure-iot-device-mqtt';
import { cleanup, env, registry, waitFor } from './platform.mjs';

const { Client, Message } = iotDevice;
const LIFE_SECS = 20;
const RENEW_MS = 10_000;
const SENDING_MS = 36_000;

/** What a device asks for; as in the article, with a key of its own. */
async function token(deviceId) {
  const resource = encodeURIComponent(`${env.IOTHUB_HOSTNAME}/devices/${deviceId}`);
  const url = `${env.GANTRY_URL}/sts/azure/token/operations?sr=${resource}&ttl=${LIFE_SECS}`;
  const answer = await fetch(url, { headers: { 'x-api-key': 'key-of-the-client-suites' } });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.text();
}

const expiry = (sas) => Number(/&se=(\d+)/.exec(sas)[1]) * 1000;

/** Sends numbers one after the other while tokens are renewed at half their life; resolves to how many. */
async function sendAndRenew(deviceId, transport) {
  const first = await token(deviceId);
  const client = Client.fromSharedAccessSignature(first, transport);
  await client.open();
  let [renewals, failure] = [0, undefined];
  const timer = setInterval(async () => {
    try {
      await client.updateSharedAccessSignature(await token(deviceId));
      renewals += 1;
    } catch (error) {
      failure ??= error;
    }
  }, RENEW_MS);
  const until = Date.now() + SENDING_MS;
  let count = 0;
  while (Date.now() < until) {
    await client.sendEvent(new Message(JSON.stringify({ n: count })));
    count += 1;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  clearInterval(timer);
  await client.close();
  assert.equal(failure, undefined);
  assert.ok(renewals >= 3 && Date.now() > expiry(first), `${renewals} renewals`);
  return count;
}

/**
 * A device that forgets to renew is cut off when its token ends, and comes back with another one. The registry says
 * when: over AMQP the SDK tells its user 45 s after the connection was closed.
 */
async function forgetAndReturn(deviceId, transport) {
  const isConnected = async () => (await registry.get(deviceId)).responseBody.connectionState === 'Connected';
  const sas = await token(deviceId);
  const client = Client.fromSharedAccessSignature(sas, transport);
  client.setRetryPolicy(new iotCommon.NoRetry());
  await client.open();
  await client.sendEvent(new Message(JSON.stringify({ n: 0 })));
  assert.ok(await isConnected());
  await waitFor(async () => !(await isConnected()), 40);
  const late = Date.now() - expiry(sas);
  assert.ok(late >= 0 && late < 5000, `cut off ${late} ms after the end of the token`);
  const again = Client.fromSharedAccessSignature(await token(deviceId), transport);
  await again.open();
  await again.sendEvent(new Message(JSON.stringify({ n: 1 })));
  await again.close();
  return 2;
}

test('no message is lost while tokens are renewed', async (t) => {
  const work = {
    mqtt: [sendAndRenew, mqtt.Mqtt],
    'mqtt-ws': [sendAndRenew, mqtt.MqttWs],
    amqp: [sendAndRenew, amqp.Amqp],
    'amqp-ws': [sendAndRenew, amqp.AmqpWs],
    'late-mqtt': [forgetAndReturn, mqtt.Mqtt],
    'late-amqp': [forgetAndReturn, amqp.Amqp],
  };
  const ids = Object.keys(work).map((name) => `token-node-${name}-${process.pid}`);
  for (const deviceId of ids) await registry.create({ deviceId });
  cleanup(t, () => Promise.all(ids.map((deviceId) => registry.delete(deviceId))));
  const sent = await Promise.all(Object.values(work).map(([run, transport], n) => run(ids[n], transport)));

  const got = Object.fromEntries(ids.map((deviceId) => [deviceId, []]));
  const consumer = new EventHubConsumerClient('$Default', env.EVENTHUB_CONNECTION_STRING);
  cleanup(t, () => consumer.close());
  const subscription = consumer.subscribe(
    {
      processEvents: async (events) => {
        for (const event of events) got[event.systemProperties['iothub-connection-device-id']]?.push(event.body.n);
      },
      processError: async (error) => { throw error; },
    },
    { startPosition: earliestEventPosition },
  );
  await waitFor(() => ids.every((deviceId, n) => new Set(got[deviceId]).size >= sent[n]));
  await subscription.close();
  ids.forEach((deviceId, n) => {
    const numbers = [...new Set(got[deviceId])].sort((a, b) => a - b);
    assert.deepEqual(numbers, Array.from({ length: sent[n] }, (_, number) => number), deviceId);
  });
});
