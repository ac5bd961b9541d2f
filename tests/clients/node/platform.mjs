// The running platform, from its connection.env (GANTRY_ENV names the file).
// Only host names, credentials and the trusted CA (NODE_EXTRA_CA_CERTS) differ from Azure.
import { readFileSync } from 'node:fs';
import { createHmac } from 'node:crypto';
import iothub from 'azure-iothub';

const file = process.env.GANTRY_ENV;
if (!file) throw new Error('GANTRY_ENV must name the connection.env of a running gantry serve');
export const env = Object.fromEntries(
  readFileSync(file, 'utf8').split('\n').filter((line) => /^[A-Z_]+='/.test(line))
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 2, -1)]),
);
if (process.env.NODE_EXTRA_CA_CERTS !== env.GANTRY_CA_FILE) {
  throw new Error(`start node with NODE_EXTRA_CA_CERTS=${env.GANTRY_CA_FILE}`);
}

export const registry = iothub.Registry.fromConnectionString(env.IOTHUB_CONNECTION_STRING);

const cleanups = new WeakMap();

/// Cleans up after a test, the last thing first: clients are closed before their device is deleted, which would end
/// their connection while they leave.
export function cleanup(t, act) {
  if (!cleanups.has(t)) {
    cleanups.set(t, []);
    t.after(async () => { for (const act of cleanups.get(t).reverse()) await act(); });
  }
  cleanups.get(t).push(act);
}

/// A fresh device; deleted when the test ends.
export async function freshDevice(t, more = '') {
  const deviceId = `node-${t.name.replace(/[^A-Za-z0-9]/g, '-').slice(0, 80)}-${process.pid}${more}`;
  const { responseBody } = await registry.create({ deviceId });
  cleanup(t, () => registry.delete(deviceId));
  const key = responseBody.authentication.symmetricKey.primaryKey;
  return { deviceId, connectionString: `HostName=${env.IOTHUB_HOSTNAME};DeviceId=${deviceId};SharedAccessKey=${key}` };
}

export function deriveKey(groupKey, registrationId) {
  return createHmac('sha256', Buffer.from(groupKey, 'base64')).update(registrationId).digest('base64');
}

/// Resolves when `condition` gives something true.
export async function waitFor(condition, seconds = 180) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error('condition did not come true in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
