// Every transport with every attestation of azure-iot-provisioning-device that it supports; then the device connects.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import common from 'azure-iot-common';
import device from 'azure-iot-device';
import deviceMqtt from 'azure-iot-device-mqtt';
import provisioning from 'azure-iot-provisioning-device';
import dpsAmqp from 'azure-iot-provisioning-device-amqp';
import dpsHttp from 'azure-iot-provisioning-device-http';
import dpsMqtt from 'azure-iot-provisioning-device-mqtt';
import service from 'azure-iot-provisioning-service';
import symmetric from 'azure-iot-security-symmetric-key';
import x509 from 'azure-iot-security-x509';
import { cleanup, deriveKey, env, registry } from './platform.mjs';

const transports = {
  mqtt: dpsMqtt.Mqtt, 'mqtt-ws': dpsMqtt.MqttWs, amqp: dpsAmqp.Amqp, 'amqp-ws': dpsAmqp.AmqpWs, https: dpsHttp.Http,
};
const groupKey = Buffer.alloc(64, 9).toString('base64');
const enrollments = service.ProvisioningServiceClient.fromConnectionString(env.PROVISIONING_CONNECTION_STRING);

function client(transport, security, scope = env.PROVISIONING_IDSCOPE) {
  return provisioning.ProvisioningDeviceClient.create(env.PROVISIONING_HOST, scope, new transports[transport](), security);
}

/// A key and certificate with `name` as common name, signed by itself.
function certificate(t, name) {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-x509-'));
  cleanup(t, () => rmSync(folder, { recursive: true }));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '3',
    '-subj', `/CN=${name}`], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

async function enroll(t, registrationId, attestation) {
  const { responseBody } = await enrollments.createOrUpdateIndividualEnrollment({ registrationId, attestation });
  cleanup(t, () => enrollments.deleteIndividualEnrollment(responseBody.registrationId));
}

/// Why a registration id was refused, by the platform's security events.
function refusals(registrationId) {
  const listed = execFileSync(process.env.GANTRY_BIN, ['--data', dirname(process.env.GANTRY_ENV), '--json', 'security']);
  return JSON.parse(listed).filter((event) => event.claimed === registrationId).map((event) => event.reason);
}

/// The device connects to its hub and sends.
async function talks(hubClient) {
  try {
    await hubClient.open();
    await hubClient.sendEvent(new common.Message('here'));
  } finally {
    await hubClient.close();
  }
}

for (const transport of Object.keys(transports)) {
  test(`symmetric keys over ${transport}: of an individual enrollment and derived from a group's`, async (t) => {
    const alone = `node-key-alone-${transport}`;
    const key = Buffer.alloc(16, 4).toString('base64');
    await enroll(t, alone, { type: 'symmetricKey', symmetricKey: { primaryKey: key, secondaryKey: key } });
    const group = (await enrollments.createOrUpdateEnrollmentGroup({
      enrollmentGroupId: `node-keys-${transport}`,
      attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: groupKey, secondaryKey: groupKey } },
    })).responseBody;
    cleanup(t, () => enrollments.deleteEnrollmentGroup(group.enrollmentGroupId));
    const member = `node-key-member-${transport}`;
    await Promise.all([[alone, key], [member, deriveKey(groupKey, member)]].map(async ([id, own]) => {
      const dps = client(transport, new symmetric.SymmetricKeySecurityClient(id, own));
      dps.setProvisioningPayload({ model: 'pump' });
      const result = await dps.register();
      cleanup(t, () => registry.delete(id));
      assert.deepEqual([result.assignedHub, result.deviceId], [env.IOTHUB_HOSTNAME, id]);
      await talks(device.Client.fromConnectionString(
        `HostName=${result.assignedHub};DeviceId=${id};SharedAccessKey=${own}`, deviceMqtt.Mqtt));
    }));
    const wrong = { 'a wrong derived key': deriveKey(groupKey, 'another'), "the group's own key": groupKey };
    for (const [what, own] of Object.entries(wrong)) {
      const id = `node-key-wrong-${transport}`;
      await assert.rejects(client(transport, new symmetric.SymmetricKeySecurityClient(id, own)).register(), what);
      await assert.rejects(registry.get(id), 'nothing is half registered');
      await assert.rejects(enrollments.getDeviceRegistrationState(id), 'nothing is half registered');
    }
    const reasons = refusals(`node-key-wrong-${transport}`);
    assert.ok(reasons.length > 0 && reasons.every((reason) => reason === 'signature does not match'), reasons.join());
    const elsewhere = client(transport, new symmetric.SymmetricKeySecurityClient(alone, key), '0ne00000000');
    await assert.rejects(elsewhere.register(), 'an unknown scope');
  });

  test(`a certificate over ${transport}`, async (t) => {
    const id = `node-x509-${transport}`;
    const own = certificate(t, id);
    await enroll(t, id, { type: 'x509', x509: { clientCertificates: { primary: { certificate: own.cert } } } });
    const result = await client(transport, new x509.X509Security(id, own)).register();
    cleanup(t, () => registry.delete(id));
    assert.deepEqual([result.assignedHub, result.deviceId], [env.IOTHUB_HOSTNAME, id]);
    const state = (await enrollments.getDeviceRegistrationState(id)).responseBody;
    assert.equal(state.status, 'assigned');
    assert.equal(state.x509.certificateInfo.subjectName, `CN=${id}`);
    const hubClient = device.Client.fromConnectionString(`HostName=${result.assignedHub};DeviceId=${id};x509=true`, deviceMqtt.Mqtt);
    hubClient.setOptions(own);
    await talks(hubClient);
    const stranger = certificate(t, id);
    await assert.rejects(client(transport, new x509.X509Security(id, stranger)).register());
    const misnamed = `${id}-other`;
    await assert.rejects(client(transport, new x509.X509Security(misnamed, own)).register());
    assert.ok(refusals(misnamed)[0].includes(`not for \`${misnamed}\``));
    await assert.rejects(registry.get(misnamed), 'nothing is half registered');
  });
}
