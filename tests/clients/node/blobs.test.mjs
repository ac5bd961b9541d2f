// @azure/storage-blob against the blob store, and azure-iot-device uploading files.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { promisify } from 'node:util';
import {
  BlobSASPermissions, BlobServiceClient, BlockBlobClient, ContainerSASPermissions, StorageSharedKeyCredential,
} from '@azure/storage-blob';
import iotDevice from 'azure-iot-device';
import mqtt from 'azure-iot-device-mqtt';
import iothub from 'azure-iothub';
import { cleanup, env, freshDevice, registry, waitFor } from './platform.mjs';

const { Client } = iotDevice;
const service = BlobServiceClient.fromConnectionString(env.AZURE_STORAGE_CONNECTION_STRING);

async function freshContainer(t) {
  const container = service.getContainerClient(`node-${randomBytes(8).toString('hex')}`);
  await container.create({ metadata: { kind: 'test' } });
  cleanup(t, () => container.delete());
  return container;
}

test('a blob is written, read, listed and deleted', async (t) => {
  const container = await freshContainer(t);
  const blob = container.getBlockBlobClient('folder/ä b#?.txt');
  const body = randomBytes(200_000);
  await blob.upload(body, body.length, {
    metadata: { line: '7' }, blobHTTPHeaders: { blobContentType: 'text/plain' },
  });
  assert.deepEqual(await blob.downloadToBuffer(), body);
  assert.deepEqual(await blob.downloadToBuffer(100, 50), body.subarray(100, 150));
  const properties = await blob.getProperties();
  assert.equal(properties.contentType, 'text/plain');
  assert.deepEqual(properties.metadata, { line: '7' });
  const listed = [];
  for await (const item of container.listBlobsFlat({ includeMetadata: true })) listed.push(item);
  assert.deepEqual(listed.map((item) => [item.name, item.properties.contentLength, item.metadata.line]),
    [['folder/ä b#?.txt', 200_000, '7']]);
  const walked = [];
  for await (const item of container.listBlobsByHierarchy('/')) walked.push([item.kind, item.name]);
  assert.deepEqual(walked, [['prefix', 'folder/']]);
  await blob.delete();
  assert.equal(await blob.exists(), false);
  await assert.rejects(blob.download(), (error) => error.code === 'BlobNotFound' && error.statusCode === 404);
});

test('a stream goes up in blocks and comes down whole', async (t) => {
  const container = await freshContainer(t);
  const blob = container.getBlockBlobClient('stream');
  const pieces = Array.from({ length: 10 }, () => randomBytes(700_000));
  await blob.uploadStream(Readable.from(pieces), 1 << 20, 3);
  assert.deepEqual(await blob.downloadToBuffer(), Buffer.concat(pieces));
});

test('etags decide between writers', async (t) => {
  const container = await freshContainer(t);
  const blob = container.getBlockBlobClient('owned');
  const first = await blob.upload('a', 1, { conditions: { ifNoneMatch: '*' } });
  await assert.rejects(blob.upload('b', 1, { conditions: { ifNoneMatch: '*' } }), { code: 'BlobAlreadyExists' });
  await blob.setMetadata({ owner: 'b' }, { conditions: { ifMatch: first.etag } });
  await assert.rejects(blob.setMetadata({ owner: 'c' }, { conditions: { ifMatch: first.etag } }), { statusCode: 412 });
});

test('signatures of the node sdk are understood', async (t) => {
  const container = await freshContainer(t);
  const expiresOn = new Date(Date.now() + 300_000);
  for (const version of [undefined, '2018-11-09', '2015-04-05', '2020-12-06']) {
    const listing = await container.generateSasUrl({
      permissions: ContainerSASPermissions.parse('rcwl'), expiresOn, version,
    });
    const url = new URL(listing);
    url.pathname += `/by-${version}`;
    await new BlockBlobClient(url.toString()).upload('x', 1);
    const reading = await container.getBlockBlobClient(`by-${version}`).generateSasUrl({
      permissions: BlobSASPermissions.parse('r'), expiresOn, version,
    });
    assert.equal((await new BlockBlobClient(reading).downloadToBuffer()).toString(), 'x');
    await assert.rejects(new BlockBlobClient(reading).upload('y', 1), { code: 'AuthorizationPermissionMismatch' });
  }
  const key = new StorageSharedKeyCredential(service.accountName, randomBytes(64).toString('base64'));
  const stranger = new BlobServiceClient(service.url, key, { retryOptions: { maxTries: 1 } });
  await assert.rejects(stranger.getContainerClient('x-y-z').create(), { code: 'AuthenticationFailed', statusCode: 403 });
});

test('a device uploads a file and services hear of it', async (t) => {
  const { deviceId, connectionString } = await freshDevice(t);
  const hub = iothub.Client.fromConnectionString(env.IOTHUB_CONNECTION_STRING);
  await hub.open();
  cleanup(t, () => hub.close());
  const heard = [];
  const receiver = await promisify(hub.getFileNotificationReceiver.bind(hub))();
  receiver.on('message', (message) => {
    heard.push(JSON.parse(message.data.toString()));
    receiver.complete(message, () => {});
  });

  const device = Client.fromConnectionString(connectionString, mqtt.Mqtt);
  await device.open();
  cleanup(t, () => device.close());
  const file = join(mkdtempSync(join(tmpdir(), 'gantry-upload-')), 'data.bin');
  const body = randomBytes(300_000);
  writeFileSync(file, body);
  const { createReadStream } = await import('node:fs');
  await device.uploadToBlob('data 1.bin', createReadStream(file), statSync(file).size);
  const stored = service.getContainerClient('uploads').getBlockBlobClient(`${deviceId}/data 1.bin`);
  assert.deepEqual(await stored.downloadToBuffer(), body);
  await waitFor(() => heard.some((h) => h.deviceId === deviceId));
  const notification = heard.find((h) => h.deviceId === deviceId);
  assert.equal(notification.blobName, `${deviceId}/data 1.bin`);
  assert.equal(notification.blobSizeInBytes, 300_000);
  assert.equal(notification.blobUri, `https://localhost/uploads/${deviceId}/data%201.bin`);

  const info = await device.getBlobSharedAccessSignature('by-hand.txt');
  const url = `https://${info.hostName}/${info.containerName}/${info.blobName}${info.sasToken}`;
  await new BlockBlobClient(url).upload('by hand', 7);
  await device.notifyBlobUploadStatus(info.correlationId, true, 200, 'done');
  await assert.rejects(device.notifyBlobUploadStatus(info.correlationId, true, 200, 'done'));
});

test('every identity is exported to a container and imported from it', async (t) => {
  const container = await freshContainer(t);
  const { deviceId } = await freshDevice(t);
  const uri = await container.generateSasUrl({
    permissions: ContainerSASPermissions.parse('rcwdl'), expiresOn: new Date(Date.now() + 300_000),
  });
  // Some calls of the SDK resolve to the body, others to body and response.
  const body = (answer) => answer.responseBody ?? answer;
  const ended = (jobId) => waitFor(async () => {
    const job = body(await registry.getJob(jobId));
    return job.status !== 'running' && job;
  }, 60);
  const exporting = body(await registry.exportDevicesToBlob(uri, false));
  assert.equal((await ended(exporting.jobId)).status, 'completed');
  const text = (await container.getBlobClient('devices.txt').downloadToBuffer()).toString();
  const line = text.split('\r\n').filter(Boolean).map(JSON.parse).find((l) => l.id === deviceId && !l.moduleId);
  line.statusReason = 'imported';
  const update = JSON.stringify({ ...line, importMode: 'update' });
  await container.getBlockBlobClient('devices.txt').upload(update, update.length);
  const importing = body(await registry.importDevicesFromBlob(uri, uri));
  const done = await ended(importing.jobId);
  assert.deepEqual([done.status, done.progress, done.failureReason], ['completed', 100, undefined]);
  assert.equal((await registry.get(deviceId)).responseBody.statusReason, 'imported');
  const listed = body(await registry.listJobs());
  assert.ok([exporting, importing].every(({ jobId }) => listed.some((job) => job.jobId === jobId)));
  await registry.cancelJob(importing.jobId);
  await assert.rejects(registry.getJob('none'));
});
