// azure-iot-security-tpm over a software TPM: a device proves that it has the TPM, gets a key for its hub into it, and
// connects with that key.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { dirname } from 'node:path';
import { test } from 'node:test';
import common from 'azure-iot-common';
import device from 'azure-iot-device';
import deviceMqtt from 'azure-iot-device-mqtt';
import provisioning from 'azure-iot-provisioning-device';
import dpsAmqp from 'azure-iot-provisioning-device-amqp';
import dpsHttp from 'azure-iot-provisioning-device-http';
import service from 'azure-iot-provisioning-service';
import security from 'azure-iot-security-tpm';
import { cleanup, env, registry, waitFor } from './platform.mjs';
import { softwareTpm } from './tpm.mjs';

const transports = { https: dpsHttp.Http, amqp: dpsAmqp.Amqp, 'amqp-ws': dpsAmqp.AmqpWs };
const enrollments = service.ProvisioningServiceClient.fromConnectionString(env.PROVISIONING_CONNECTION_STRING);

const call = (object, method, ...args) => new Promise((resolve, reject) => {
  object[method](...args, (error, value) => (error ? reject(error) : resolve(value)));
});

const client = (transport, tpm) => provisioning.ProvisioningDeviceClient.create(
  env.PROVISIONING_HOST, env.PROVISIONING_IDSCOPE, new transports[transport](), tpm);

/// A device with a TPM of its own: its registration id, security client and endorsement key.
async function tpmDevice(t, registrationId) {
  const tpm = new security.TpmSecurityClient(registrationId, await softwareTpm(t));
  return { registrationId, tpm, endorsementKey: await call(tpm, 'getEndorsementKey') };
}

async function enroll(t, { registrationId }, endorsementKey, storageRootKey) {
  const tpm = { endorsementKey: endorsementKey.toString('base64') };
  if (storageRootKey) tpm.storageRootKey = storageRootKey.toString('base64');
  const enrollment = { registrationId, attestation: { type: 'tpm', tpm } };
  const { responseBody } = await enrollments.createOrUpdateIndividualEnrollment(enrollment);
  cleanup(t, () => enrollments.deleteIndividualEnrollment(registrationId));
  return responseBody;
}

function refusals(registrationId) {
  const listed = execFileSync(process.env.GANTRY_BIN, ['--data', dirname(process.env.GANTRY_ENV), '--json', 'security']);
  return JSON.parse(listed).filter((event) => event.claimed === registrationId).map((event) => event.reason);
}

/// The platform refuses the device, and says why to its operator alone.
async function isRefused(transport, tpm, registrationId, reason) {
  const attempt = client(transport, tpm).register();
  // Over AMQP the client never comes back from a refused challenge.
  if (transport === 'https') await assert.rejects(attempt);
  else attempt.catch(() => {});
  await waitFor(() => refusals(registrationId).some((found) => found.includes(reason)));
  await isUnregistered(registrationId);
}

async function isUnregistered(registrationId) {
  await assert.rejects(registry.get(registrationId), 'nothing is half registered');
  await assert.rejects(enrollments.getDeviceRegistrationState(registrationId), 'nothing is half registered');
}

for (const transport of Object.keys(transports)) {
  test(`a TPM over ${transport}`, async (t) => {
    const own = await tpmDevice(t, `node-tpm-${transport}`);
    const stored = await enroll(t, own, own.endorsementKey, await call(own.tpm, 'getStorageRootKey'));
    assert.equal(stored.attestation.tpm.endorsementKey, own.endorsementKey.toString('base64'));
    cleanup(t, () => registry.delete(own.registrationId));
    for (let times = 0; times < 2; times += 1) {
      const result = await client(transport, own.tpm).register();
      const { assignedHub, deviceId } = result.registrationState;
      assert.deepEqual([assignedHub, deviceId], [env.IOTHUB_HOSTNAME, own.registrationId]);
      const provider = security.TpmAuthenticationProvider.fromTpmSecurityClient(deviceId, assignedHub, own.tpm);
      const hubClient = device.Client.fromAuthenticationProvider(provider, deviceMqtt.Mqtt);
      try {
        await hubClient.open();
        await hubClient.sendEvent(new common.Message('from a TPM'));
      } finally {
        await hubClient.close();
      }
    }
  });

  test(`a TPM that is not enrolled is refused over ${transport}`, async (t) => {
    const [own, other] = [await tpmDevice(t, `node-tpm-own-${transport}`), await tpmDevice(t)];
    await enroll(t, own, own.endorsementKey);
    const thief = await tpmDevice(t, own.registrationId);
    await isRefused(transport, thief.tpm, own.registrationId, 'endorsement key');
    // Without an enrollment there is no challenge; this registration id is made of the key.
    await isRefused(transport, other.tpm, await call(other.tpm, 'getRegistrationId'), 'TPM of');
  });
}

/// What `azure-iot-provisioning-device-http` sends, by hand.
async function put(registrationId, { authorization, ...body }) {
  const path = `${env.PROVISIONING_IDSCOPE}/registrations/${registrationId}/register?api-version=2021-06-01`;
  const response = await fetch(`https://${env.PROVISIONING_HOST}/${path}`, {
    method: 'PUT', headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
    body: JSON.stringify({ registrationId, ...body }),
  });
  return { status: response.status, location: response.headers.get('location'), body: await response.json() };
}

async function token(registrationId, sign) {
  const resource = encodeURIComponent(`${env.PROVISIONING_IDSCOPE}/registrations/${registrationId}`);
  const expiry = Math.floor(Date.now() / 1000) + 3600;
  const signature = encodeURIComponent((await sign(Buffer.from(`${resource}\n${expiry}`))).toString('base64'));
  return `SharedAccessSignature sr=${resource}&sig=${signature}&se=${expiry}&skn=registration`;
}

test('a challenge is answered by its own TPM, and once', async (t) => {
  const own = await tpmDevice(t, 'node-tpm-replay');
  const { registrationId } = own;
  await enroll(t, own, own.endorsementKey);
  const keys = {
    endorsementKey: own.endorsementKey.toString('base64'),
    storageRootKey: (await call(own.tpm, 'getStorageRootKey')).toString('base64'),
  };
  const challenge = async () => {
    const { status, body } = await put(registrationId, { tpm: keys });
    assert.deepEqual([status, body.errorCode, body.keyName], [401, 401002, 'registration']);
    return Buffer.from(body.authenticationKey, 'base64');
  };
  const first = await challenge();
  // Who only knows the public keys cannot sign.
  const guess = await token(registrationId, (text) => createHmac('sha256', first.subarray(0, 32)).update(text).digest());
  assert.equal((await put(registrationId, { authorization: guess, tpm: keys })).status, 401);
  await isUnregistered(registrationId);
  await call(own.tpm, 'activateIdentityKey', first);
  const authorization = await token(registrationId, (text) => call(own.tpm, 'signWithIdentity', text));
  const registered = await put(registrationId, { authorization, tpm: keys });
  cleanup(t, () => registry.delete(registrationId));
  assert.equal(registered.status, 202);
  const replayed = await put(registrationId, { authorization, tpm: keys });
  assert.deepEqual([replayed.status, replayed.body.errorCode, replayed.body.authenticationKey], [401, 401002, undefined]);
  assert.ok(refusals(registrationId).includes('the challenge was answered already'));
  // The proof still opens what it started.
  const asked = await fetch(`https://${env.PROVISIONING_HOST}${registered.location}?api-version=2021-06-01`, {
    headers: { authorization },
  });
  const state = (await asked.json()).registrationState;
  assert.deepEqual([asked.status, state.status, typeof state.tpm.authenticationKey], [200, 'assigned', 'string']);
  for (const tpm of [{}, { endorsementKey: 'AAAA', storageRootKey: 'AAAA' }, { endorsementKey: keys.endorsementKey }]) {
    assert.equal((await put(registrationId, { tpm })).status, 400, JSON.stringify(tpm));
  }
});
