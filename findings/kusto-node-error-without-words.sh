#!/usr/bin/env bash
# Package   azure-kusto-data 7.0.4 (npm), Node 20.
# Behaviour A service refuses a query with 400 and the documented error body, whose `@message` says what is wrong and where.
#           The client rejects with an error whose message is the HTTP library's own, "Request failed with status code
#           400": nothing of the body is in it. The words are in `error.response.data`. One would expect them in the
#           message, as the Python client of the same service has them (azure-kusto-data 6.0.4: KustoApiError).
# Seen      AxiosError: Request failed with status code 400
#           the words are in the answer: true
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund azure-kusto-data@7.0.4
cat > seen.cjs <<'JS'
const http = require('http');
const { Client } = require('azure-kusto-data');
const words = "Semantic error: SEM0100: 'where' operator: Failed to resolve scalar expression named 'nope'";
const service = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    if (!request.url.endsWith('/query')) return response.writeHead(404).end();
    const error = {
      code: 'General_BadRequest', message: 'Request is invalid and cannot be executed.',
      '@type': 'Kusto.Data.Exceptions.KustoBadRequestException', '@message': words, '@permanent': true,
    };
    response.writeHead(400, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error }));
  });
}).listen(0, '127.0.0.1', async () => {
  const client = new Client(`http://127.0.0.1:${service.address().port}`);
  try {
    await client.executeQuery('db', 'T | where nope == 1');
  } catch (error) {
    console.log(`${error.name}: ${error.message}`);
    console.log('the words are in the answer:', error.response.data.error['@message'] === words);
  }
  service.close();
  process.exit();
});
JS
node seen.cjs | tee seen.txt
diff seen.txt - <<'SEEN'
AxiosError: Request failed with status code 400
the words are in the answer: true
SEEN
