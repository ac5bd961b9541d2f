// @azure/event-hubs reads what a device sent; azure-iothub sends to the device over AMQP.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventHubConsumerClient, earliestEventPosition } from '@azure/event-hubs';
import WebSocket from 'ws';
import iotDevice from 'azure-iot-device';
import amqp from 'azure-iot-device-amqp';
import mqtt from 'azure-iot-device-mqtt';
import iothub from 'azure-iothub';
import { cleanup, env, freshDevice, registry, waitFor } from './platform.mjs';

const { Client, Message } = iotDevice;

for (const [name, options] of [['amqp', {}], ['amqp-ws', { webSocketOptions: { webSocket: WebSocket } }]]) {
  test(`events are read over ${name}`, async (t) => {
    const { deviceId, connectionString } = await freshDevice(t);
    const device = Client.fromConnectionString(connectionString, mqtt.Mqtt);
    await device.open();
    for (let n = 0; n < 20; n += 1) {
      const message = new Message(JSON.stringify({ n }));
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      await device.sendEvent(message);
    }
    await device.close();

    const consumer = new EventHubConsumerClient('$Default', env.EVENTHUB_CONNECTION_STRING, options);
    cleanup(t, () => consumer.close());
    assert.deepEqual(await consumer.getPartitionIds(), ['0', '1', '2', '3', '4', '5', '6', '7']);
    const got = [];
    const subscription = consumer.subscribe(
      {
        processEvents: async (events) => {
          for (const event of events) {
            if (event.systemProperties['iothub-connection-device-id'] === deviceId) got.push(event);
          }
        },
        processError: async (error) => { throw error; },
      },
      { startPosition: earliestEventPosition },
    );
    await waitFor(() => got.length >= 20);
    await subscription.close();
    assert.deepEqual(got.map((event) => event.body.n), Array.from({ length: 20 }, (_, n) => n));
  });
}

for (const transport of ['Amqp', 'AmqpWs']) {
  test(`a c2d message arrives, sent over ${transport}`, async (t) => {
    const { deviceId, connectionString } = await freshDevice(t);
    const device = Client.fromConnectionString(connectionString, mqtt.Mqtt);
    await device.open();
    cleanup(t, () => device.close());
    const got = [];
    device.on('message', (message) => { got.push(message); device.complete(message); });
    const service = iothub.Client.fromConnectionString(env.IOTHUB_CONNECTION_STRING, iothub[transport]);
    await service.open();
    cleanup(t, () => service.close());
    const message = new Message('slow down');
    message.messageId = 'c2d-1';
    message.properties.add('level', '2');
    await service.send(deviceId, message);
    await waitFor(() => got.length);
    assert.equal(got[0].getData().toString(), 'slow down');
    assert.equal(got[0].messageId, 'c2d-1');
    assert.equal(got[0].properties.getValue('level'), '2');
    await assert.rejects(service.send('no-such-device', message));
  });
}

// The SDK writes ids into AMQP addresses as they are, and percent-encodes them in recipients.
for (const id of ['a%2Fb', 'a%41b', '100%', "n@m.et#st!*'()"]) {
  test(`a device called ${id} talks over amqp and is talked to`, async (t) => {
    const deviceId = `${id}-${process.pid}`;
    const { responseBody } = await registry.create({ deviceId });
    cleanup(t, () => registry.delete(deviceId));
    const key = responseBody.authentication.symmetricKey.primaryKey;
    const connectionString = `HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};SharedAccessKey=${key}`;
    const device = Client.fromConnectionString(connectionString, amqp.Amqp);
    await device.open();
    cleanup(t, () => device.close());
    await device.sendEvent(new Message('{}'));
    assert.equal((await device.getTwin()).properties.desired.$version, 1);
    const got = [];
    device.on('message', (message) => { got.push(message); device.complete(message); });
    const service = iothub.Client.fromConnectionString(env.IOTHUB_CONNECTION_STRING, iothub.Amqp);
    await service.open();
    cleanup(t, () => service.close());
    await service.send(deviceId, new Message('hello'));
    await waitFor(() => got.length === 1);
    assert.equal(got[0].data.toString(), 'hello');
  });
}
