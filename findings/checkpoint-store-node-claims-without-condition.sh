#!/usr/bin/env bash
# Package   @azure/eventhubs-checkpointstore-blob 2.0.0 (npm), with @azure/storage-blob 12.29.1, Node 20.
# Behaviour A claim of a partition that nobody owns yet carries no condition: neither the first request (Set Blob
#           Metadata) nor the one after 404 BlobNotFound (Put Blob) has If-None-Match. Event processors that start at
#           the same instant are all told that they own the partition, until a later claim, which has If-Match, decides.
#           One would expect `If-None-Match: *`, as the Python package of the same purpose sends.
# Seen      metadata: if-none-match absent, if-match absent
#           upload: if-none-match absent, if-match absent
#           owners of partition 0: a, b
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund @azure/eventhubs-checkpointstore-blob@2.0.0 @azure/storage-blob@12.29.1 > /dev/null
cat > seen.mjs <<'JS'
import { createServer } from 'node:http';
import { BlobCheckpointStore } from '@azure/eventhubs-checkpointstore-blob';
import { ContainerClient } from '@azure/storage-blob';

// A blob service with one container: it forgets nothing and obeys every condition.
const blobs = new Map();
const asked = new Map();
let number = 0;
const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const kind = url.searchParams.get('comp') === 'metadata' ? 'metadata' : 'upload';
  const header = (name) => request.headers[name] ?? 'absent';
  asked.set(kind, `${kind}: if-none-match ${header('if-none-match')}, if-match ${header('if-match')}`);
  request.resume();
  const refuse = (status, code) => {
    response.writeHead(status, { 'x-ms-error-code': code, 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
  };
  const exists = blobs.has(url.pathname);
  if (exists && request.headers['if-none-match'] === '*') return refuse(412, 'ConditionNotMet');
  if (kind === 'metadata' && !exists) return refuse(404, 'BlobNotFound');
  number += 1;
  blobs.set(url.pathname, number);
  response.writeHead(kind === 'metadata' ? 200 : 201, { etag: `"${number}"`, 'last-modified': new Date().toUTCString() });
  response.end();
}).listen(0, '127.0.0.1', async () => {
  const claim = async (ownerId) => {
    const store = new BlobCheckpointStore(new ContainerClient(`http://127.0.0.1:${server.address().port}/account/container`));
    const named = { fullyQualifiedNamespace: 'n', eventHubName: 'h', consumerGroup: 'g', partitionId: '0' };
    return (await store.claimOwnership([{ ...named, ownerId }])).map((one) => one.ownerId);
  };
  const owners = (await Promise.all([claim('a'), claim('b')])).flat();
  console.log([asked.get('metadata'), asked.get('upload'), `owners of partition 0: ${owners.join(', ')}`].join('\n'));
  server.close();
});
JS
seen=$(node seen.mjs)
echo "$seen"
[ "$seen" = "metadata: if-none-match absent, if-match absent
upload: if-none-match absent, if-match absent
owners of partition 0: a, b" ]
