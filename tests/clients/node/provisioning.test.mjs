// azure-iot-provisioning-service writes an enrollment group, a device registers over MQTT, MQTT-WS and HTTPS.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import provisioning from 'azure-iot-provisioning-device';
import dpsHttp from 'azure-iot-provisioning-device-http';
import dpsMqtt from 'azure-iot-provisioning-device-mqtt';
import service from 'azure-iot-provisioning-service';
import security from 'azure-iot-security-symmetric-key';
import { cleanup, deriveKey, env, registry } from './platform.mjs';

const key = Buffer.alloc(48, 3).toString('base64');
const enrollments = service.ProvisioningServiceClient.fromConnectionString(env.PROVISIONING_CONNECTION_STRING);

test('a group device registers over MQTT, WebSocket and HTTPS', async (t) => {
  const group = {
    enrollmentGroupId: 'node-motors',
    attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: key } },
    initialTwin: { tags: { by: 'node' }, properties: { desired: { rate: 3 } } },
  };
  const stored = (await enrollments.createOrUpdateEnrollmentGroup(group)).responseBody;
  cleanup(t, () => enrollments.deleteEnrollmentGroup(stored.enrollmentGroupId));
  for (const [name, Transport] of [['tcp', dpsMqtt.Mqtt], ['ws', dpsMqtt.MqttWs], ['https', dpsHttp.Http]]) {
    const registrationId = `node-motor-${name}`;
    const client = provisioning.ProvisioningDeviceClient.create(
      env.PROVISIONING_HOST, env.PROVISIONING_IDSCOPE, new Transport(),
      new security.SymmetricKeySecurityClient(registrationId, deriveKey(key, registrationId)),
    );
    const result = await client.register();
    assert.equal(result.assignedHub, env.IOTHUB_HOSTNAME);
    assert.equal(result.deviceId, registrationId);
    assert.equal((await registry.getTwin(registrationId)).responseBody.tags.by, 'node');
    await registry.delete(registrationId);
  }
});
