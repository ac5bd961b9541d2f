// azure-iot-device over MQTT and MQTT-WS, with azure-iothub on the other side.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import iotDevice from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import iothub from 'azure-iothub';
import { env, freshDevice, registry, waitFor } from './platform.mjs';

const { Client, Message } = iotDevice;

for (const [name, transport] of [['mqtt', mqtt.Mqtt], ['mqtt-ws', mqtt.MqttWs]]) {
  test(`${name} telemetry twin and methods`, async (t) => {
    const { deviceId, connectionString } = await freshDevice(t);
    const client = Client.fromConnectionString(connectionString, transport);
    t.after(() => client.close());
    await client.open();

    for (let n = 0; n < 10; n += 1) {
      const message = new Message(JSON.stringify({ temperature: n }));
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
      message.messageId = `m${n}`;
      message.properties.add('k', 'v & w');
      await client.sendEvent(message);
    }

    const twin = await client.getTwin();
    const changes = [];
    twin.on('properties.desired', (delta) => changes.push(delta));
    await new Promise((resolve, reject) => {
      twin.properties.reported.update({ firmware: '2.0' }, (error) => (error ? reject(error) : resolve()));
    });
    const seen = (await registry.getTwin(deviceId)).responseBody;
    assert.equal(seen.properties.reported.firmware, '2.0');
    await registry.updateTwin(deviceId, { properties: { desired: { rate: 9 } } }, seen.etag);
    await waitFor(() => changes.some((change) => change.rate === 9));

    await new Promise((resolve) => {
      client.onDeviceMethod('reduceLoad', (request, response) => response.send(200, { to: request.payload.to }));
      setTimeout(resolve, 200);
    });
    const service = iothub.Client.fromConnectionString(env.IOTHUB_CONNECTION_STRING);
    const { result } = await service.invokeDeviceMethod(deviceId, {
      methodName: 'reduceLoad', payload: { to: 70 }, responseTimeoutInSeconds: 10, connectTimeoutInSeconds: 5,
    });
    assert.deepEqual([result.status, result.payload], [200, { to: 70 }]);
  });
}

test('a wrong key is an UnauthorizedError', async (t) => {
  const { deviceId } = await freshDevice(t);
  const wrong = `HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};SharedAccessKey=${Buffer.alloc(32, 1).toString('base64')}`;
  const client = Client.fromConnectionString(wrong, mqtt.Mqtt);
  await assert.rejects(client.open(), (error) => error.name === 'UnauthorizedError');
});
