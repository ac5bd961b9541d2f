// One list of capabilities, every transport of azure-iot-device, azure-iothub and @azure/event-hubs on the other side.
//
// A case is a capability over a transport. Where the SDK itself does not offer one, the case is that it says so with
// its NotImplementedError: should a later SDK offer it, the case fails and is to be written.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EventHubConsumerClient, earliestEventPosition } from '@azure/event-hubs';
import common from 'azure-iot-common';
import iotDevice from 'azure-iot-device';
import amqp from 'azure-iot-device-amqp';
import http from 'azure-iot-device-http';
import mqtt from 'azure-iot-device-mqtt';
import iothub from 'azure-iothub';
import { cleanup, env, freshDevice, registry, waitFor } from './platform.mjs';

const { Client, Message, ModuleClient } = iotDevice;

const TRANSPORTS = {
  mqtt: mqtt.Mqtt, 'mqtt-ws': mqtt.MqttWs, amqp: amqp.Amqp, 'amqp-ws': amqp.AmqpWs, https: http.Http,
};
const MQTT = ['mqtt', 'mqtt-ws'];
const AMQP = ['amqp', 'amqp-ws'];
const HTTPS = ['https'];
const D2C_BYTES_MAX = 262144;

const service = iothub.Client.fromConnectionString(env.IOTHUB_CONNECTION_STRING, iothub.Amqp);
const consumer = new EventHubConsumerClient('$Default', env.EVENTHUB_CONNECTION_STRING);
const events = [];
const feedback = new Map();
const expectedFeedback = new Map();
let subscription;

before(async () => {
  subscription = consumer.subscribe({
    processEvents: async (batch) => { events.push(...batch); },
    processError: async (error) => { throw error; },
  }, { startPosition: earliestEventPosition });
  await service.open();
  const receiver = await new Promise((resolve, reject) => {
    service.getFeedbackReceiver((error, made) => (error ? reject(error) : resolve(made)));
  });
  receiver.on('errorReceived', (error) => { throw error; });
  receiver.on('message', (message) => {
    for (const record of JSON.parse(message.data)) feedback.set(record.originalMessageId, record);
    receiver.complete(message);
  });
});

after(async () => {
  await subscription.close();
  await consumer.close();
  await service.close();
});

const eventsOf = (deviceId) => events.filter((e) => e.systemProperties['iothub-connection-device-id'] === deviceId);

/// A message to the device; its outcome must be heard of as `statusCode`.
async function sendC2d(deviceId, statusCode) {
  const message = new Message('slow down');
  message.messageId = `${deviceId}-c2d`;
  message.ack = 'full';
  message.properties.add('level', '2');
  expectedFeedback.set(message.messageId, { statusCode, deviceId });
  await service.send(deviceId, message);
}

/// The next `count` messages of a client, which settles each with `settle(message, n)`.
async function receiveC2d(client, count, settle) {
  const got = [];
  client.on('message', (message) => { got.push(message); settle(message, got.length); });
  await waitFor(() => got.length >= count);
  return got;
}

/// A fresh self-signed certificate, made by openssl.
function certificate(t, commonName) {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-'));
  cleanup(t, () => rmSync(folder, { recursive: true }));
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', `/CN=${commonName.slice(0, 60)}`, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  const cert = readFileSync(certFile, 'utf8');
  const thumbprint = new X509Certificate(cert).fingerprint256.replaceAll(':', '');
  return { cert, key: readFileSync(keyFile, 'utf8'), thumbprint };
}

const report = (twin, patch) => new Promise((resolve, reject) => {
  twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
});

const invoke = (deviceId, moduleId) => {
  const call = {
    methodName: 'reduceLoad', payload: { to: 70 }, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 10,
  };
  const args = moduleId ? [deviceId, moduleId, call] : [deviceId, call];
  return service.invokeDeviceMethod(...args);
};

/// Calls a method with this body as it is: the service SDK sends null where no payload is given.
const invokeWith = (deviceId, body) => new Promise((resolve, reject) => {
  registry._restApiClient.executeApiCall('POST', `/twins/${deviceId}/methods?api-version=2021-04-12`,
    { 'Content-Type': 'application/json; charset=utf-8' }, { methodName: 'reduceLoad', connectTimeoutInSeconds: 10, ...body },
    (error, answer) => (error ? reject(error) : resolve(answer)));
});

/// Every capability. `lacks` are the transports whose SDK throws NotImplementedError from `attempt`.
const CAPABILITIES = [
  {
    name: 'telemetry arrives with its properties',
    async run({ client, deviceId }) {
      for (let n = 0; n < 10; n += 1) {
        const message = new Message(JSON.stringify({ n }));
        message.contentType = 'application/json';
        message.contentEncoding = 'utf-8';
        message.messageId = `m${n}`;
        message.correlationId = `c${n}`;
        message.properties.add('k', 'v & w');
        await client.sendEvent(message);
      }
      const got = await waitFor(() => eventsOf(deviceId).length >= 10 && eventsOf(deviceId));
      assert.deepEqual(got.map((event) => event.body.n), Array.from({ length: 10 }, (_, n) => n));
      assert.equal(got[3].messageId, 'm3');
      assert.equal(got[3].correlationId, 'c3');
      assert.equal(got[3].contentType, 'application/json');
      assert.deepEqual(got[3].properties, { k: 'v & w' });
    },
  },
  {
    name: 'a batch of telemetry arrives in order',
    lacks: [...MQTT, ...AMQP],
    attempt: (client) => client.sendEventBatch([new Message('a')]),
    async run({ client, deviceId }) {
      const batch = ['a', 'b', 'c'].map((body) => {
        const message = new Message(JSON.stringify({ body }));
        message.properties.add('k', body);
        return message;
      });
      await client.sendEventBatch(batch);
      const got = await waitFor(() => eventsOf(deviceId).length >= 3 && eventsOf(deviceId));
      assert.deepEqual(got.map((event) => event.properties.k), ['a', 'b', 'c']);
    },
  },
  {
    name: 'the largest message passes and one byte more does not',
    async run({ client, deviceId }) {
      client.setRetryPolicy(new common.NoRetry());
      await client.sendEvent(new Message(Buffer.alloc(D2C_BYTES_MAX, 'x')));
      await waitFor(() => eventsOf(deviceId).length === 1);
      client.on('error', () => {});
      await assert.rejects(client.sendEvent(new Message(Buffer.alloc(D2C_BYTES_MAX + 1, 'x'))));
      assert.equal(eventsOf(deviceId).length, 1);
    },
  },
  {
    name: 'a c2d message is completed',
    async run({ client, deviceId, name }) {
      await sendC2d(deviceId, 'Success');
      const [message] = await receiveC2d(client, 1, (it) => client.complete(it));
      assert.equal(message.getData().toString(), 'slow down');
      assert.equal(message.messageId, `${deviceId}-c2d`);
      // Over HTTPS the SDK leaves the prefix of the header on the name.
      assert.equal(message.properties.getValue(name === 'https' ? 'iothub-app-level' : 'level'), '2');
      await waitFor(async () => (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount === 0);
    },
  },
  {
    name: 'a c2d message is rejected',
    lacks: MQTT,
    attempt: (client) => client.reject(new Message('x')),
    async run({ client, deviceId }) {
      await sendC2d(deviceId, 'Rejected');
      await receiveC2d(client, 1, (it) => client.reject(it));
      await waitFor(async () => (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount === 0);
    },
  },
  {
    name: 'an abandoned c2d message comes ten times and no more',
    lacks: MQTT,
    attempt: (client) => client.abandon(new Message('x')),
    async run({ client, deviceId }) {
      await sendC2d(deviceId, 'DeliveryCountExceeded');
      const got = await receiveC2d(client, 10, (it) => client.abandon(it));
      await waitFor(async () => (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount === 0);
      assert.equal(got.length, 10);
    },
  },
  {
    name: 'a method is called and answered',
    lacks: HTTPS,
    attempt: (client) => client.onDeviceMethod('reduceLoad', () => {}),
    async run({ client, deviceId }) {
      client.onDeviceMethod('reduceLoad', (request, response) => response.send(201, { to: request.payload.to }));
      const { result } = await invoke(deviceId);
      assert.deepEqual([result.status, result.payload], [201, { to: 70 }]);
    },
  },
  {
    name: 'a method without payload is not one with null',
    lacks: HTTPS,
    attempt: (client) => client.onDeviceMethod('reduceLoad', () => {}),
    async run({ client, deviceId, name }) {
      const got = [];
      client.onDeviceMethod('reduceLoad', (request, response) => {
        got.push(request.payload);
        response.send(200, {});
      });
      const payloads = [null, {}, '', 0, false];
      for (const payload of payloads) assert.equal((await invokeWith(deviceId, { payload })).status, 200);
      await service.invokeDeviceMethod(deviceId, { methodName: 'reduceLoad' });
      assert.deepEqual(got.splice(0), [...payloads, null]);
      // Over MQTT the SDK parses an empty body like any other, and answers that it cannot, without asking the handler.
      const { status } = await invokeWith(deviceId, {});
      assert.deepEqual([status, got], MQTT.includes(name) ? [400, []] : [200, [undefined]]);
    },
  },
  {
    name: 'the twin is read and reported',
    lacks: HTTPS,
    attempt: (client) => client.getTwin(),
    async run({ client, deviceId }) {
      const twin = await client.getTwin();
      await report(twin, { firmware: '2.0', nested: { a: 1 } });
      await report(twin, { nested: null });
      const seen = (await registry.getTwin(deviceId)).responseBody;
      assert.equal(seen.properties.reported.firmware, '2.0');
      assert.equal(seen.properties.reported.nested, undefined);
      assert.equal(seen.properties.reported.$version, 3);
      assert.equal(seen.connectionState, 'Connected');
      await assert.rejects(report(twin, { 'bad key': 1 }), /bad key/);
    },
  },
  {
    name: 'changes of desired properties are pushed',
    lacks: HTTPS,
    attempt: (client) => client.getTwin(),
    async run({ client, deviceId }) {
      const twin = await client.getTwin();
      const changes = [];
      twin.on('properties.desired', (delta) => changes.push(delta));
      // The subscription is under way: repeat until a change is heard of.
      let rate = 0;
      await waitFor(async () => {
        rate += 1;
        await registry.updateTwin(deviceId, { properties: { desired: { rate } } }, '*');
        return changes.some((change) => change.rate > 0 && change.$version > 1);
      });
    },
  },
  {
    name: 'a module has telemetry, twin and methods of its own',
    lacks: HTTPS,
    module: true,
    attempt: (client) => client.sendOutputEvent('out', new Message('x')),
    async run({ client, deviceId, moduleId }) {
      await client.sendOutputEvent('out', new Message('{"of":"module"}'));
      const [event] = await waitFor(() => eventsOf(deviceId).length > 0 && eventsOf(deviceId));
      assert.equal(event.systemProperties['iothub-connection-module-id'], moduleId);
      const twin = await client.getTwin();
      await report(twin, { is: 'module' });
      const seen = (await registry.getModuleTwin(deviceId, moduleId)).responseBody;
      assert.equal(seen.properties.reported.is, 'module');
      assert.equal((await registry.getTwin(deviceId)).responseBody.properties.reported.is, undefined);
      client.onMethod('reduceLoad', (request, response) => response.send(200, request.payload));
      assert.deepEqual((await invoke(deviceId, moduleId)).result.payload, { to: 70 });
    },
  },
  {
    name: 'a renewed token outlives the first',
    own: true,
    async run({ t, transport, deviceId, key }) {
      const resource = encodeURIComponent(`${env.IOTHUB_HOSTNAME}/devices/${deviceId}`);
      const token = (seconds) => {
        const expiry = Math.floor(Date.now() / 1000) + seconds;
        const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(`${resource}\n${expiry}`);
        return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature.digest('base64'))}&se=${expiry}`;
      };
      const client = Client.fromSharedAccessSignature(token(4), transport);
      cleanup(t, () => client.close().catch(() => {}));
      const firstEnds = Date.now() + 4000;
      await client.open();
      await client.sendEvent(new Message('{"n":1}'));
      await client.updateSharedAccessSignature(token(3600));
      await waitFor(() => Date.now() > firstEnds + 500);
      await client.sendEvent(new Message('{"n":2}'));
      await waitFor(() => eventsOf(deviceId).length === 2);
    },
  },
  {
    name: 'a certificate opens what its thumbprint is registered for',
    own: true,
    async run({ t, name, transport, deviceId }) {
      const identity = certificate(t, deviceId);
      const { responseBody } = await registry.get(deviceId);
      responseBody.authentication = {
        type: 'selfSigned', x509Thumbprint: { primaryThumbprint: identity.thumbprint, secondaryThumbprint: null },
      };
      await registry.update(responseBody);
      const open = async (proof) => {
        const client = Client.fromConnectionString(`HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};x509=true`, transport);
        client.setRetryPolicy(new common.NoRetry());
        client.on('error', () => {});
        cleanup(t, () => client.close().catch(() => {}));
        const set = client.setOptions({ cert: proof.cert, key: proof.key });
        // Over HTTPS the SDK never resolves it.
        if (name !== 'https') await set;
        await client.open();
        await client.sendEvent(new Message('{"n":1}'));
      };
      await open(identity);
      await waitFor(() => eventsOf(deviceId).length === 1);
      await assert.rejects(open(certificate(t, deviceId)), 'another certificate');
    },
  },
  {
    name: 'a client that closed comes back',
    async run({ client, deviceId }) {
      await client.sendEvent(new Message('{"n":1}'));
      await client.close();
      await client.open();
      await client.sendEvent(new Message('{"n":2}'));
      await waitFor(() => eventsOf(deviceId).length === 2);
    },
  },
  {
    name: 'a wrong key is an UnauthorizedError',
    own: true,
    async run({ t, transport, deviceId }) {
      const key = Buffer.alloc(32, 1).toString('base64');
      const wrong = `HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};SharedAccessKey=${key}`;
      const client = Client.fromConnectionString(wrong, transport);
      cleanup(t, () => client.close().catch(() => {}));
      client.on('error', () => {});
      const attempt = async () => {
        await client.open();
        await client.sendEvent(new Message('x'));
      };
      await assert.rejects(attempt(), (error) => error.name === 'UnauthorizedError');
    },
  },
];

for (const capability of CAPABILITIES) {
  for (const [name, transport] of Object.entries(TRANSPORTS)) {
    test(`${name}: ${capability.name}`, async (t) => {
      const { deviceId, connectionString } = await freshDevice(t);
      const key = /SharedAccessKey=(.*)$/.exec(connectionString)[1];
      const context = { t, name, transport, deviceId, key };
      if (!capability.own) {
        let text = connectionString;
        if (capability.module) {
          context.moduleId = 'motor';
          await registry.addModule({ deviceId, moduleId: 'motor' });
          const made = (await registry.getModule(deviceId, 'motor')).responseBody;
          const moduleKey = made.authentication.symmetricKey.primaryKey;
          text = `HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};ModuleId=motor;SharedAccessKey=${moduleKey}`;
        }
        context.client = (capability.module ? ModuleClient : Client).fromConnectionString(text, transport);
        cleanup(t, () => context.client.close().catch(() => {}));
        await context.client.open();
      }
      if (capability.lacks?.includes(name)) {
        const isMissing = (error) => error instanceof common.errors.NotImplementedError;
        await assert.rejects(async () => capability.attempt(context.client), isMissing);
      } else {
        await capability.run(context);
      }
    });
  }
}

for (const name of [...MQTT, ...AMQP]) {
  for (const newer of [...MQTT, ...AMQP]) {
    test(`${newer} takes over from ${name}`, async (t) => {
      const { connectionString } = await freshDevice(t);
      const open = async (transport) => {
        const client = Client.fromConnectionString(connectionString, TRANSPORTS[transport]);
        client.setRetryPolicy(new common.NoRetry());
        client.on('error', () => {});
        cleanup(t, () => client.close().catch(() => {}));
        await client.open();
        await client.sendEvent(new Message('{}'));
        return client;
      };
      const first = await open(name);
      let lost = false;
      first.on('disconnect', () => { lost = true; });
      await open(newer);
      await waitFor(() => lost);
    });
  }
}

test('a model id is noted over MQTT', async (t) => {
  const { deviceId, connectionString } = await freshDevice(t);
  const client = Client.fromConnectionString(connectionString, mqtt.Mqtt);
  cleanup(t, () => client.close());
  await client.setOptions({ modelId: 'dtmi:gantry:motor;1' });
  await client.open();
  assert.equal((await registry.getTwin(deviceId)).responseBody.modelId, 'dtmi:gantry:motor;1');
});

test('services hear what became of every message', async (t) => {
  const { deviceId } = await freshDevice(t);
  for (let n = 0; n < 3; n += 1) {
    const message = new Message('x');
    message.messageId = `${deviceId}-${n}`;
    message.ack = 'negative';
    expectedFeedback.set(message.messageId, { statusCode: 'Purged', deviceId });
    await service.send(deviceId, message);
  }
  const { result } = await new Promise((resolve, reject) => {
    registry._restApiClient.executeApiCall('DELETE', `/devices/${deviceId}/commands?api-version=2021-04-12`, null, null,
      (error, answer) => (error ? reject(error) : resolve({ result: answer })));
  });
  assert.equal(result.totalMessagesPurged, 3);
  assert.ok(expectedFeedback.size > 10);
  await waitFor(() => [...expectedFeedback.keys()].every((id) => feedback.has(id)), 40);
  for (const [id, { statusCode, deviceId: of }] of expectedFeedback) {
    const record = feedback.get(id);
    assert.deepEqual([record.statusCode, record.deviceId], [statusCode, of], id);
    assert.ok(record.deviceGenerationId);
    assert.ok(Date.parse(record.enqueuedTimeUtc) > 0);
  }
});
