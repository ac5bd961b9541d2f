// Bodies and versions that the provisioning service does not take: over every transport of azure-iot-provisioning-device
// where its API can send them, and over rhea, the AMQP client below it, where it cannot.
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import provisioning from 'azure-iot-provisioning-device';
import dpsAmqp from 'azure-iot-provisioning-device-amqp';
import dpsHttp from 'azure-iot-provisioning-device-http';
import dpsMqtt from 'azure-iot-provisioning-device-mqtt';
import service from 'azure-iot-provisioning-service';
import security from 'azure-iot-security-symmetric-key';
import rhea from 'rhea';
import { cleanup, env, registry } from './platform.mjs';

const enrollments = service.ProvisioningServiceClient.fromConnectionString(env.PROVISIONING_CONNECTION_STRING);
const scope = env.PROVISIONING_IDSCOPE;

async function enroll(t) {
  const registrationId = `node-body-${randomUUID().slice(0, 8)}`;
  const key = Buffer.from(randomUUID()).toString('base64');
  const symmetricKey = { primaryKey: key, secondaryKey: key };
  await enrollments.createOrUpdateIndividualEnrollment({ registrationId, attestation: { type: 'symmetricKey', symmetricKey } });
  cleanup(t, () => enrollments.deleteIndividualEnrollment(registrationId));
  return { registrationId, key };
}

test('a payload is an object over every transport', async (t) => {
  const { registrationId, key } = await enroll(t);
  const transports = [dpsMqtt.Mqtt, dpsMqtt.MqttWs, dpsAmqp.Amqp, dpsAmqp.AmqpWs, dpsHttp.Http];
  for (const Transport of transports) {
    const register = async (payload) => {
      const client = provisioning.ProvisioningDeviceClient.create(
        env.PROVISIONING_HOST, scope, new Transport(), new security.SymmetricKeySecurityClient(registrationId, key),
      );
      client.setProvisioningPayload(payload);
      return client.register();
    };
    for (const payload of ['text', 7, ['a'], true]) {
      await assert.rejects(register(payload), undefined, `${Transport.name} ${JSON.stringify(payload)}`);
    }
    assert.equal((await register({ model: 'x' })).assignedHub, env.IOTHUB_HOSTNAME, Transport.name);
  }
  await registry.delete(registrationId);
});

/// Sends one body to the service over AMQP; resolves to what it was told: `accepted`, or the error as JSON.
function ask({ registrationId, key }, body, version) {
  const resource = encodeURIComponent(`${scope}/registrations/${registrationId}`);
  const expiry = Math.ceil(Date.now() / 1000) + 600;
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(`${resource}\n${expiry}`).digest('base64');
  const password = `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=registration`;
  return new Promise((resolve, reject) => {
    const connection = rhea.create_container().connect({
      host: env.PROVISIONING_HOST, port: 5671, transport: 'tls', servername: env.PROVISIONING_HOST, reconnect: false,
      username: `${scope}/registrations/${registrationId}`, password,
    });
    const done = (told) => { connection.close(); resolve(told); };
    const properties = version === undefined ? {} : { 'com.microsoft:api-version': version };
    const address = `${scope}/registrations/${registrationId}`;
    const sender = connection.open_sender({ target: { address }, properties });
    connection.open_receiver({ source: { address } });
    sender.once('sendable', () => sender.send({
      application_properties: { 'iothub-to': '', 'iotdps-operation-type': 'iotdps-register' },
      correlation_id: randomUUID(),
      body: rhea.message.data_section(Buffer.from(body)),
    }));
    sender.on('accepted', () => done('accepted'));
    sender.on('rejected', ({ delivery }) => done(JSON.parse(delivery.remote_state.error.description)));
    sender.on('sender_error', () => done(JSON.parse(sender.error.description)));
    connection.on('connection_error', () => reject(connection.error));
    connection.on('disconnected', ({ error }) => error && reject(error));
  });
}

test('what is no JSON object is refused by number over AMQP', async (t) => {
  const device = await enroll(t);
  for (const body of ['{', '[]', '"text"', '{"payload":"text"}', '{"payload":[1]}', '{"registrationId":7}']) {
    const told = await ask(device, body, '2019-03-31');
    assert.equal(told.errorCode, 400012, body);
    assert.match(told.message, /^Deserialization error/);
  }
  for (const version of ['2099-01-01', 'latest', '']) {
    assert.equal((await ask(device, '{}', version)).errorCode, 400004, version);
  }
  for (const version of ['2019-03-31', '2021-10-01', undefined]) {
    assert.equal(await ask(device, '{"payload":{"a":1}}', version), 'accepted', version);
  }
  await registry.delete(device.registrationId);
});
