// Questions asked by azure-kusto-data for Node as it is published.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, ClientRequestProperties, KustoConnectionStringBuilder } from 'azure-kusto-data';
import iotDevice from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import { env, freshDevice } from './platform.mjs';

const client = new Client(KustoConnectionStringBuilder.withAccessToken(env.KUSTO_URL, env.KUSTO_TOKEN));
const ask = async (text, properties) => {
  const answer = await client.executeQuery(env.KUSTO_DATABASE, text, properties);
  return JSON.parse(JSON.stringify(answer.primaryResults[0].toJSON())).data;
};

test('telemetry can be asked about', async (t) => {
  const { deviceId, connectionString } = await freshDevice(t);
  const device = iotDevice.Client.fromConnectionString(connectionString, mqtt.Mqtt);
  await device.open();
  for (const v of [1, 2, 3.5]) await device.sendEvent(new iotDevice.Message(JSON.stringify({ v })));
  await device.close();
  const rows = await ask(`Telemetry | where DeviceId == '${deviceId}' | summarize n = count(), total = sum(v)`);
  assert.deepEqual(rows, [{ n: 3, total: 6.5 }]);
});

test('parameters and types', async () => {
  const properties = new ClientRequestProperties();
  properties.setParameter('n', 4);
  const [row] = await ask('declare query_parameters(n:long); print n = n + 1, b = true, y = dynamic({"a":1}), s = ""', properties);
  assert.deepEqual(row, { n: 5, b: true, y: { a: 1 }, s: '' });
});

test('errors carry their code', async () => {
  // This client leaves the server's words in the answer.
  await assert.rejects(ask('Telemetry | where nope == 1'), (error) => /SEM0100/.test(error.response.data.error['@message']));
  const properties = new ClientRequestProperties();
  properties.setOption('truncationmaxrecords', 2);
  await assert.rejects(ask('range x from 1 to 10 step 1', properties), /E_QUERY_RESULT_SET_TOO_LARGE/);
});

test('commands', async () => {
  const answer = await client.executeMgmt(env.KUSTO_DATABASE, '.show tables');
  const names = [...answer.primaryResults[0].rows()].map((row) => row.getValueAt(0));
  assert.ok(names.includes('Telemetry'));
});
