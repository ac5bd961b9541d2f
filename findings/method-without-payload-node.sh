#!/usr/bin/env bash
# Package   azure-iot-device 1.18.4 (npm), Node 20.
# Behaviour A direct method may be called without a payload; a hub then hands the device an empty body. The client makes the
#           request by parsing whatever body there is as JSON, an empty buffer too, catches what that throws together with
#           what the handler would throw, and answers 400 in the device's name: the handler is not called and nothing is
#           logged. One would expect the handler to be called with a payload that is undefined, as over AMQP, whose
#           transport hands over no body at all.
# Seen      a payload
#             the handler got {"to":70}
#             answered 200
#           an empty body
#             answered 400
#           no body
#             the handler got undefined
#             answered 200
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund azure-iot-device@1.18.4
cat > seen.cjs <<'JS'
const { EventEmitter } = require('events');
const { Client } = require('azure-iot-device');

// A transport that is connected and hands over what a hub sends; the rest is the package's own.
class Transport extends EventEmitter {
  connect(done) { done(null, {}); }
  setOptions(options, done) { done(); }
  enableMethods(done) { done(); }
  onDeviceMethod(name, take) { this.take = take; }
  sendMethodResponse(response, done) { console.log(`  answered ${response.status}`); done(); }
}

for (const [what, body] of [['a payload', Buffer.from('{"to":70}')], ['an empty body', Buffer.alloc(0)], ['no body', undefined]]) {
  console.log(what);
  const transport = new Transport();
  const client = new Client(transport);
  client.onDeviceMethod('reboot', (request, response) => {
    console.log(`  the handler got ${JSON.stringify(request.payload)}`);
    response.send(200, () => {});
  });
  transport.take({ requestId: '1', methods: { methodName: 'reboot' }, body });
}
JS
seen=$(node seen.cjs)
echo "$seen"
[ "$seen" = 'a payload
  the handler got {"to":70}
  answered 200
an empty body
  answered 400
no body
  the handler got undefined
  answered 200' ]
