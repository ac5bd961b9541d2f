#!/usr/bin/env bash
# Package   azure-eventhub-checkpointstoreblob 1.2.0 and azure-eventhub-checkpointstoreblob-aio 1.2.0 (PyPI), Python 3.11.
# Behaviour claim_ownership returns a partition as claimed when no answer came at all: nobody listens on the port of the
#           blob service. The log says "The ownership is now lost", the result says the opposite, without an etag, and no
#           exception is raised. One would expect an exception, or a list without the partition. (Retries are switched
#           off here only to be quick.)
# Seen      sync: claimed 0, etag absent
#           aio: claimed 0, etag absent
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check azure-eventhub==5.15.1 azure-eventhub-checkpointstoreblob==1.2.0 \
  azure-eventhub-checkpointstoreblob-aio==1.2.0 azure-storage-blob==12.31.1 aiohttp==3.14.5
cat > "$folder/seen.py" <<'PY'
import asyncio
import logging
import socket

from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore as AsyncBlobCheckpointStore

logging.disable(logging.CRITICAL)
free = socket.socket()
free.bind(("127.0.0.1", 0))  # Bound and not listening: every connection is refused.
account = f"http://127.0.0.1:{free.getsockname()[1]}/account"
text = f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;BlobEndpoint={account}"
wanted = {"fully_qualified_namespace": "n", "eventhub_name": "h", "consumer_group": "g", "partition_id": "0", "owner_id": "a"}


def told(kind, claimed):
    for one in claimed:
        print(f"{kind}: claimed {one['partition_id']}, etag {one.get('etag') or 'absent'}")
    if not claimed:
        print(f"{kind}: nothing claimed")


told("sync", BlobCheckpointStore.from_connection_string(text, "container", retry_total=0).claim_ownership([dict(wanted)]))


async def run():
    async with AsyncBlobCheckpointStore.from_connection_string(text, "container", retry_total=0) as store:
        told("aio", await store.claim_ownership([dict(wanted)]))


asyncio.run(run())
PY
seen=$("$folder/env/bin/python" "$folder/seen.py")
echo "$seen"
[ "$seen" = "sync: claimed 0, etag absent
aio: claimed 0, etag absent" ]
