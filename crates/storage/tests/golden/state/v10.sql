PRAGMA user_version = 10;

CREATE TABLE auto_devices_twin242e746167732e227369746522(value, device_id TEXT NOT NULL, module_id TEXT NOT NULL,
               PRIMARY KEY(value, device_id, module_id)) WITHOUT ROWID;
INSERT INTO auto_devices_twin242e746167732e227369746522 VALUES('Zürich', 'motor', '');

CREATE TABLE auto_indexes(name TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
INSERT INTO auto_indexes VALUES('auto_devices_twin242e746167732e227369746522');

CREATE TABLE blob_containers(
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, etag INTEGER NOT NULL, modified_at INTEGER NOT NULL,
  metadata TEXT NOT NULL);
INSERT INTO blob_containers VALUES(1, 'files', 1, 1767225600000, '[["owner","golden"]]');

CREATE TABLE blob_garbage(object TEXT NOT NULL PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO blob_garbage VALUES('00/00000000000000e0-0', 1767225600000);
INSERT INTO blob_garbage VALUES('04/00000000000000e0-4', 1767225600000);

CREATE TABLE blob_parts(
  container INTEGER NOT NULL, name TEXT NOT NULL, committed INTEGER NOT NULL, position INTEGER NOT NULL,
  block_id TEXT NOT NULL, object TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  put_at INTEGER NOT NULL, PRIMARY KEY(container, name, committed, position)) WITHOUT ROWID;
INSERT INTO blob_parts VALUES(1, 'motor/a.txt', 1, 0, '', '01/00000000000000e0-1', 0, 5, 1767225600000);
INSERT INTO blob_parts VALUES(1, 'parts', 0, 0, 'AAAD', '05/00000000000000e0-5', 0, 4, 1767225600000);
INSERT INTO blob_parts VALUES(1, 'parts', 1, 0, 'AAAA', '02/00000000000000e0-2', 0, 3, 1767225600000);
INSERT INTO blob_parts VALUES(1, 'parts', 1, 1, 'AAAB', '03/00000000000000e0-3', 3, 3, 1767225600000);

CREATE TABLE blob_sequence(last INTEGER NOT NULL);
INSERT INTO blob_sequence VALUES(4);

CREATE TABLE blobs(
  container INTEGER NOT NULL, name TEXT NOT NULL, etag INTEGER NOT NULL, length INTEGER NOT NULL,
  created_at INTEGER NOT NULL, modified_at INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY(container, name)) WITHOUT ROWID;
INSERT INTO blobs VALUES(1, 'motor/a.txt', 3, 5, 1767225600000, 1767225600000, '{"content_type":"text/plain","content_encoding":"gzip","content_md5":"XUFAKrxLKna5cZ2REBfFkg==","metadata":[["owner","golden"]]}');
INSERT INTO blobs VALUES(1, 'parts', 4, 6, 1767225600000, 1767225600000, '{}');

CREATE TABLE c2d(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, module_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, message TEXT NOT NULL, body BLOB NOT NULL, enqueued_at INTEGER NOT NULL DEFAULT 0);
INSERT INTO c2d VALUES(3, 'motor', '', 1767229200000, 0, '{"message_id":"third","correlation_id":"c","user_id":"u","content_type":"application/json","content_encoding":"utf-8","ack":"negative","properties":[["a","b"],["null",""],["empty",""]],"nulls":[1],"generation_id":"144680345676153346"}', X'7B226F6E223A747275657D00FF', 1767225600000);

CREATE TABLE collections(name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO collections VALUES('alerts', 1);
INSERT INTO collections VALUES('authorities', 2);
INSERT INTO collections VALUES('configurations', 1);
INSERT INTO collections VALUES('policies', 1);
INSERT INTO collections VALUES('routing', 2);
INSERT INTO collections VALUES('rules', 1);
INSERT INTO collections VALUES('security', 1);
INSERT INTO collections VALUES('settings', 1);
INSERT INTO collections VALUES('webhooks', 2);

CREATE TABLE departures(
  id TEXT NOT NULL, hub TEXT NOT NULL, device_id TEXT NOT NULL, PRIMARY KEY(id, hub, device_id)) WITHOUT ROWID;
INSERT INTO departures VALUES('motor-1', 'other', 'motor');

CREATE TABLE documents(
  collection TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID;
INSERT INTO documents VALUES('alerts', '00000000000000000000', '{"id":"00000000000000000000","ruleId":"refused-access","subject":"127.0.0.1","deviceId":null,"kind":"security","severity":"warning","state":"open","title":"access refused repeatedly: 127.0.0.1","reason":"6 refusals within a minute, the last of `intruder` from 127.0.0.1 at mqtt connect: signature does not match","openedAt":"2026-01-01T00:00:00.0000000Z","updatedAt":"2026-01-01T00:00:00.0000000Z","count":2,"actions":[]}');
INSERT INTO documents VALUES('authorities', 'root', '{"certificate":"MIIBkzCCATmgAwIBAgIUDZnWdm1XTMpS/IxPmkd2ALYyXhcwCgYIKoZIzj0EAwIwFjEUMBIGA1UEAwwLR29sZGVuIFJvb3QwIBcNMjYxMTI5MTIwNDA0WhgPMjEyNjExMDUxMjA0MDRaMBYxFDASBgNVBAMMC0dvbGRlbiBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJUM6zNJeHVMLVigKON1ctlVALrIiG3xtod2f0XlJi6bnjSU3ZHAwK1m0Q3uq5WLFqVRJTasZb0maxNtIZJH3P6NjMGEwHQYDVR0OBBYEFKemr8SeUk/0FXmwkaaarpU7aaZIMB8GA1UdIwQYMBaAFKemr8SeUk/0FXmwkaaarpU7aaZIMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49BAMCA0gAMEUCIQDA6PCUtUQiPPnKXR5yR6SGjsNSWZfa2bH3CwSIijPY2gIgOl7lQ+uAWp1yDuO0l3G1phkYz1rsmOaF79eGUMVX48c=","isVerified":false,"code":"1C1C1C1C1C1C1C1C1D1D1D1D1D1D1D1D","createdAt":1767225600000,"updatedAt":1767225600000,"etag":1953184666628070171}');
INSERT INTO documents VALUES('configurations', 'eco', '{"schemaVersion":"1.0","labels":{"by":"golden"},"content":{"deviceContent":{"properties.desired.mode":{"eco":true}}},"targetCondition":"tags.site = ''Zürich''","priority":10,"metrics":[["all","SELECT deviceId FROM devices"]],"createdAt":1767225600000,"updatedAt":1767225600000,"etag":421075225}');
INSERT INTO documents VALUES('policies', 'service', '{"primary":"Hh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4=","secondary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}');
INSERT INTO documents VALUES('routing', 'settings', '{"routing":{"endpoints":{"serviceBusQueues":[{"name":"queue"}],"serviceBusTopics":[{"name":"topic","subscriptions":["all"]}],"eventHubs":[{"name":"stream"}],"storageContainers":[{"name":"files","containerName":"files","fileNameFormat":"{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}","batchFrequencyInSeconds":100,"maxChunkSizeInBytes":104857600,"encoding":"Avro"}],"webhooks":[{"name":"hook","url":"https://example.com/hook"}]},"routes":[{"name":"hot","source":"DeviceMessages","condition":"level = ''high''","endpointNames":["queue"],"isEnabled":true},{"name":"lives","source":"DeviceLifecycleEvents","condition":"true","endpointNames":["hook"],"isEnabled":false}],"fallbackRoute":{"name":"$fallback","source":"DeviceMessages","condition":"true","endpointNames":["events"],"isEnabled":true},"enrichments":[{"key":"site","value":"$twin.tags.site","endpointNames":["queue"]}]},"numbers":{"files":{"number":4,"since_ms":1767225600000},"hook":{"number":5,"since_ms":1767225600000},"queue":{"number":1,"since_ms":1767225600000},"stream":{"number":3,"since_ms":1767225600000},"topic":{"number":2,"since_ms":1767225600000}},"last_number":5,"version":1}');
INSERT INTO documents VALUES('rules', 'anomaly', '{"id":"anomaly","enabled":true,"when":{"kind":"anomaly","signal":null,"scoreMin":null},"severity":"warning","actions":[]}');
INSERT INTO documents VALUES('rules', 'refused-access', '{"id":"refused-access","enabled":true,"when":{"kind":"security","countMin":5},"severity":"warning","actions":[]}');
INSERT INTO documents VALUES('rules', 'urgent', '{"id":"urgent","enabled":true,"when":{"kind":"urgency","urgencyMin":0.6},"severity":"critical","actions":[]}');
INSERT INTO documents VALUES('security', 'events', '[{"at":"2026-01-01T00:00:00.0000000Z","claimed":"intruder","peer":"127.0.0.1","operation":"mqtt connect","reason":"signature does not match","count":6}]');
INSERT INTO documents VALUES('settings', 'rules-made', 'true');
INSERT INTO documents VALUES('webhooks', 'https://example.com/hook', '{}');

CREATE TABLE enrollments(
  kind INTEGER NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
INSERT INTO enrollments VALUES(0, 'leaf-1', '{"id":"leaf-1","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"x509":{"kind":"client","primary":"MIIBkzCCATmgAwIBAgIUDZnWdm1XTMpS/IxPmkd2ALYyXhcwCgYIKoZIzj0EAwIwFjEUMBIGA1UEAwwLR29sZGVuIFJvb3QwIBcNMjYxMTI5MTIwNDA0WhgPMjEyNjExMDUxMjA0MDRaMBYxFDASBgNVBAMMC0dvbGRlbiBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJUM6zNJeHVMLVigKON1ctlVALrIiG3xtod2f0XlJi6bnjSU3ZHAwK1m0Q3uq5WLFqVRJTasZb0maxNtIZJH3P6NjMGEwHQYDVR0OBBYEFKemr8SeUk/0FXmwkaaarpU7aaZIMB8GA1UdIwQYMBaAFKemr8SeUk/0FXmwkaaarpU7aaZIMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49BAMCA0gAMEUCIQDA6PCUtUQiPPnKXR5yR6SGjsNSWZfa2bH3CwSIijPY2gIgOl7lQ+uAWp1yDuO0l3G1phkYz1rsmOaF79eGUMVX48c=","secondary":null},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":false,"reprovision":null,"allocation":null,"custom":null}');
INSERT INTO enrollments VALUES(0, 'motor-1', '{"id":"Motor-1","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="},"device_id":"motor","iot_hub_host_name":"localhost","iot_hubs":["localhost","other"],"initial_twin":{"tags":{"a":1},"desired":{"b":{"c":2}}},"optional_device_information":{"color":"red"},"iot_edge":true,"disabled":true,"reprovision":[true,false],"allocation":"custom","custom":["https://example.com/?key=1","2021-10-01"]}');
INSERT INTO enrollments VALUES(0, 'tpm-1', '{"id":"tpm-1","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"tpm":{"endorsement":"AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAobdc+cwPl40IEwgBlLCPFpX2yPWC+hilwWz6QRo9P8riz9ES2qnznbcU65oX/1lkz3RWuxX6ZerJY7+pTljfNEkEykQzbIbct5nJYKl5k38/Vjsd304i4OVkj0JtoMbL6oyhGmR+CMmrbxOF1v5cXC03f52Mrx+DhXjdRONqGq/ZqTxJO4JmPfjocUbCFMQdeuDASXsw9ftVl+ue2cePck1D34m7LDxxcX3TJrwR+o11VOLGnIGYSlpKFQhLJjgNfAGKlCvoppy+IFZ5W5kQTTyQbhS+ysDhpyuyw//FQhLenssaj5BrCXvYOQtknNzZm8Scfz24Pux06whjF54BJQ==","storageRoot":"AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAobdc+cwPl40IEwgBlLCPFpX2yPWC+hilwWz6QRo9P8riz9ES2qnznbcU65oX/1lkz3RWuxX6ZerJY7+pTljfNEkEykQzbIbct5nJYKl5k38/Vjsd304i4OVkj0JtoMbL6oyhGmR+CMmrbxOF1v5cXC03f52Mrx+DhXjdRONqGq/ZqTxJO4JmPfjocUbCFMQdeuDASXsw9ftVl+ue2cePck1D34m7LDxxcX3TJrwR+o11VOLGnIGYSlpKFQhLJjgNfAGKlCvoppy+IFZ5W5kQTTyQbhS+ysDhpyuyw//FQhLenssaj5BrCXvYOQtknNzZm8Scfz24Pux06whjF54BJQ==","key":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":false,"reprovision":null,"allocation":null,"custom":null}');
INSERT INTO enrollments VALUES(1, 'keys', '{"id":"keys","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":false,"reprovision":null,"allocation":null,"custom":null}');
INSERT INTO enrollments VALUES(1, 'roots', '{"id":"roots","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"x509":{"kind":"references","primary":"root","secondary":"next"},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":false,"reprovision":null,"allocation":null,"custom":null}');
INSERT INTO enrollments VALUES(1, 'signers', '{"id":"signers","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"x509":{"kind":"signing","primary":"MIIBkzCCATmgAwIBAgIUDZnWdm1XTMpS/IxPmkd2ALYyXhcwCgYIKoZIzj0EAwIwFjEUMBIGA1UEAwwLR29sZGVuIFJvb3QwIBcNMjYxMTI5MTIwNDA0WhgPMjEyNjExMDUxMjA0MDRaMBYxFDASBgNVBAMMC0dvbGRlbiBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJUM6zNJeHVMLVigKON1ctlVALrIiG3xtod2f0XlJi6bnjSU3ZHAwK1m0Q3uq5WLFqVRJTasZb0maxNtIZJH3P6NjMGEwHQYDVR0OBBYEFKemr8SeUk/0FXmwkaaarpU7aaZIMB8GA1UdIwQYMBaAFKemr8SeUk/0FXmwkaaarpU7aaZIMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49BAMCA0gAMEUCIQDA6PCUtUQiPPnKXR5yR6SGjsNSWZfa2bH3CwSIijPY2gIgOl7lQ+uAWp1yDuO0l3G1phkYz1rsmOaF79eGUMVX48c=","secondary":null},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":false,"reprovision":null,"allocation":null,"custom":null}');

CREATE TABLE feedback(sequence INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, document TEXT NOT NULL);

CREATE TABLE file_uploads(
  device_id TEXT NOT NULL, correlation_id TEXT NOT NULL, blob_name TEXT NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY(device_id, correlation_id)) WITHOUT ROWID;
INSERT INTO file_uploads VALUES('motor', '0011', 'motor/a.txt', 1767225660000);

CREATE TABLE hub_links(host_name TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO hub_links VALUES('other', '{"connection_string":"HostName=other;SharedAccessKeyName=x;SharedAccessKey=AAEC","authority":"-----BEGIN CERTIFICATE-----\nMIIBkzCCATmgAwIBAgIUDZnWdm1XTMpS/IxPmkd2ALYyXhcwCgYIKoZIzj0EAwIw\nFjEUMBIGA1UEAwwLR29sZGVuIFJvb3QwIBcNMjYxMTI5MTIwNDA0WhgPMjEyNjEx\nMDUxMjA0MDRaMBYxFDASBgNVBAMMC0dvbGRlbiBSb290MFkwEwYHKoZIzj0CAQYI\nKoZIzj0DAQcDQgAEJUM6zNJeHVMLVigKON1ctlVALrIiG3xtod2f0XlJi6bnjSU3\nZHAwK1m0Q3uq5WLFqVRJTasZb0maxNtIZJH3P6NjMGEwHQYDVR0OBBYEFKemr8Se\nUk/0FXmwkaaarpU7aaZIMB8GA1UdIwQYMBaAFKemr8SeUk/0FXmwkaaarpU7aaZI\nMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgIEMAoGCCqGSM49BAMCA0gA\nMEUCIQDA6PCUtUQiPPnKXR5yR6SGjsNSWZfa2bH3CwSIijPY2gIgOl7lQ+uAWp1y\nDuO0l3G1phkYz1rsmOaF79eGUMVX48c=\n-----END CERTIFICATE-----\n","weight":3,"takes_part":true}');

CREATE TABLE identities(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, revision INTEGER NOT NULL, enabled INTEGER NOT NULL,
  identity TEXT NOT NULL, twin TEXT NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
INSERT INTO identities VALUES('authority', '', 1, 0, '{"generation_id":"217020518514230019","etag":117901064,"status_reason":"stolen; it''s gone","status_updated_at":-62135596800000,"authentication":{"type":"certificateAuthority"},"iot_edge":false}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('edge', '', 1, 1, '{"generation_id":"361700864190383365","etag":185273100,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}},"iot_edge":true,"device_scope":"ms-azure-iot-edge://edge-1767225600000"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('edge', '$edgeAgent', 1, 1, '{"generation_id":"434041037028460038","etag":218959118,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"Dg4ODg4ODg4ODg4ODg4ODg4ODg4ODg4ODg4ODg4ODg4=","secondary":"Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8="}},"iot_edge":false,"managed_by":"IotEdge"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('edge', '$edgeHub', 1, 1, '{"generation_id":"578721382704613384","etag":286331154,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"EhISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhI=","secondary":"ExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTExM="}},"iot_edge":false,"managed_by":"IotEdge"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('edge', 'filter', 1, 1, '{"generation_id":"723401728380766730","etag":353703190,"status_updated_at":-62135596800000,"authentication":{"type":"none"},"iot_edge":false,"managed_by":"IotEdge"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('leaf', '', 1, 1, '{"generation_id":"795741901218843403","etag":387389208,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}},"iot_edge":false,"device_scope":"ms-azure-iot-edge://edge-1767225600000","parent_scopes":["ms-azure-iot-edge://edge-1767225600000"]}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('motor', '', 5, 1, '{"generation_id":"144680345676153346","etag":84215046,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}},"iot_edge":false}', '{"tags":{"site":"Zürich"},"desired":{"values":{"interval":5,"limits":{"high":80.5,"on":true},"list":[1,"two"],"mode":{"eco":true}},"metadata":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"interval":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2},"limits":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2,"high":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2},"on":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2}},"list":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2},"mode":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"eco":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3}}},"version":3},"reported":{"values":{"firmware":{"version":"1.2"}},"metadata":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","firmware":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z","version":{"$lastUpdated":"2026-01-01T00:00:00.0000000Z"}}},"version":2},"version":4,"etag":3,"model_id":"dtmi:com:example:Motor;1","managed":{"configurations":{"eco":true},"places":["mode"]}}');
INSERT INTO identities VALUES('signed', '', 1, 1, '{"generation_id":"289360691352306692","etag":151587082,"status_updated_at":-62135596800000,"authentication":{"type":"selfSigned","primary":"ABABABABABABABABABABABABABABABABABABABAB","secondary":null},"iot_edge":false}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');

CREATE TABLE job_devices(
  job_id TEXT NOT NULL, device_id TEXT NOT NULL, module_id TEXT NOT NULL, outcome INTEGER NOT NULL,
  created_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, details TEXT,
  PRIMARY KEY(job_id, device_id, module_id)) WITHOUT ROWID;
INSERT INTO job_devices VALUES('methods', 'authority', '', 3, 1767225600000, NULL, 1767225600000, NULL);
INSERT INTO job_devices VALUES('methods', 'edge', '', 1, 1767225600000, 1767225600000, 1767225600000, NULL);
INSERT INTO job_devices VALUES('methods', 'leaf', '', 2, 1767225600000, 1767225600000, 1767225600000, '{"code":"DeviceNotOnline","description":"it''s away"}');
INSERT INTO job_devices VALUES('methods', 'motor', '', 1, 1767225600000, 1767225600000, 1767225600000, '{"status":200,"payload":"Im9rIg=="}');
INSERT INTO job_devices VALUES('methods', 'signed', '', 3, 1767225600000, NULL, 1767225600000, NULL);

CREATE TABLE jobs(
  id TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, kind TEXT NOT NULL, created_at INTEGER NOT NULL,
  start_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, listed INTEGER NOT NULL DEFAULT 0,
  devices INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  document TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO jobs VALUES('methods', 'cancelled', 'scheduleDeviceMethod', 1767225600000, 1767225600000, 1767225600000, 1767225600000, 1, 5, 2, 1, '{"condition":"*","work":{"method":"reboot","payload":"eyJpbiI6NX0=","responseMs":30000,"connectMs":5000},"failure":"cancelled by hand","executionMaxMs":3600000}');
INSERT INTO jobs VALUES('twins', 'scheduled', 'scheduleUpdateTwin', 1767225600000, 1767225600000, NULL, NULL, 0, 0, 0, 0, '{"condition":"*","work":{"tags":{"site":null},"desired":false,"shown":{"etag":"*","tags":{"site":null},"properties":{"desired":null}}},"failure":null,"executionMaxMs":3600000}');

CREATE TABLE managed_by(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, configuration TEXT NOT NULL, applied INTEGER NOT NULL,
  PRIMARY KEY(device_id, module_id, configuration)) WITHOUT ROWID;
INSERT INTO managed_by VALUES('motor', '', 'eco', 1);

CREATE TABLE outbox(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, at INTEGER NOT NULL, record BLOB NOT NULL);
INSERT INTO outbox VALUES(1, 'gone', 1767225600000, X'020200000400676F6E650000010030000000001E00100031383138313831383138313831383138030068756210006170706C69636174696F6E2F6A736F6E05007574662D38050007006875624E616D65030000006875620800646576696365496404000000676F6E6512006F7065726174696F6E54696D657374616D701C000000323032362D30312D30315430303A30303A30302E303030303030305A06006F70547970651400000064656C6574654465766963654964656E746974791500696F746875622D6D6573736167652D736368656D611B0000006465766963654C6966656379636C654E6F74696669636174696F6E007B226465766963654964223A22676F6E65222C2265746167223A2241414141414141414141453D222C2276657273696F6E223A322C2274616773223A7B7D2C2270726F70657274696573223A7B2264657369726564223A7B22246D65746164617461223A7B22246C61737455706461746564223A22303030312D30312D30315430303A30303A30305A227D2C222476657273696F6E223A317D2C227265706F72746564223A7B22246D65746164617461223A7B22246C61737455706461746564223A22303030312D30312D30315430303A30303A30305A227D2C222476657273696F6E223A317D7D7D');

CREATE TABLE presence(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, updated_at INTEGER NOT NULL, last_activity_at INTEGER NOT NULL,
  subscriptions INTEGER NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
INSERT INTO presence VALUES('motor', '', 1767225600000, 1767225600000, 7);

CREATE TABLE registrations(id TEXT NOT NULL PRIMARY KEY, group_id TEXT, document TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO registrations VALUES('leaf-1', 'keys', '{"id":"leaf-1","group":"keys","status":"assigned","substatus":"initialAssignment","assigned_hub":"localhost","device_id":"motor","error":null,"x509":{"leaf":{"subject":"CN=Golden Root","issuer":"CN=Golden Root","sha1":"B11BC83D3287C6F1530DBC520D7F6F5F3F9DF745","sha256":"66FF853D16E637A771375BA0196FC0621AF7CEC4B9E489C086EBB9198C5ABE76","not_before":1795953844000,"not_after":4949553844000,"serial":"0D99D6766D574CCA52FC8C4F9A477600B6325E17","version":3},"signer":{"subject":"CN=Golden Root","issuer":"CN=Golden Root","sha1":"B11BC83D3287C6F1530DBC520D7F6F5F3F9DF745","sha256":"66FF853D16E637A771375BA0196FC0621AF7CEC4B9E489C086EBB9198C5ABE76","not_before":1795953844000,"not_after":4949553844000,"serial":"0D99D6766D574CCA52FC8C4F9A477600B6325E17","version":3}},"payload":{"hello":"device"},"created_at":1767225600000,"updated_at":1767225600000,"etag":3}');
INSERT INTO registrations VALUES('motor-1', 'keys', '{"id":"Motor-1","group":"keys","status":"assigned","substatus":"initialAssignment","assigned_hub":"localhost","device_id":"motor","error":null,"payload":{"hello":"device"},"created_at":1767225600000,"updated_at":1767225600000,"etag":3}');
INSERT INTO registrations VALUES('tpm-1', 'keys', '{"id":"Tpm-1","group":"keys","status":"failed","substatus":null,"assigned_hub":null,"device_id":null,"error":[400207,"custom allocation failed"],"tpm":"AAEC","created_at":1767225600000,"updated_at":1767225600000,"etag":3}');

CREATE TABLE service_messages(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, enqueued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, body BLOB NOT NULL);
INSERT INTO service_messages VALUES(1, 0, 1767225620000, 1767229220000, 0, X'5B7B226F726967696E616C4D6573736167654964223A226669727374222C226465736372697074696F6E223A2253756363657373222C2264657669636547656E65726174696F6E4964223A22313434363830333435363736313533333436222C226465766963654964223A226D6F746F72222C22656E71756575656454696D65557463223A22323032362D30312D30315430303A30303A30302E303030303030305A222C22737461747573436F6465223A2253756363657373227D5D');
INSERT INTO service_messages VALUES(2, 1, 1767225600000, 1767229200000, 0, X'7B226465766963654964223A226D6F746F72222C22626C6F62557269223A2268747470733A2F2F6C6F63616C686F73742F66696C65732F6D6F746F722F612E747874222C22626C6F624E616D65223A226D6F746F722F612E747874222C226C6173745570646174656454696D65223A22323032362D30312D30315430303A30303A30302E303030303030305A222C22626C6F6253697A65496E4279746573223A352C22656E71756575656454696D65557463223A22323032362D30312D30315430303A30303A30302E303030303030305A227D');
INSERT INTO service_messages VALUES(3, 17, 1767225600000, 1768435200000, 0, X'7B226465766963654964223A226D6F746F72222C226D6F64756C654964223A6E756C6C2C2267656E65726174696F6E4964223A2231222C22617574684D6574686F64223A227B5C2273636F70655C223A5C226465766963655C227D222C226D6F64656C4964223A2264746D693A6578616D706C653A4D6F746F723B31222C22736F75726365223A2254656C656D65747279222C22656E7175657565644174223A313736373232353630303030302C226D6573736167654964223A226D2D31222C22636F7272656C6174696F6E4964223A6E756C6C2C22757365724964223A6E756C6C2C22636F6E74656E7454797065223A6E756C6C2C22636F6E74656E74456E636F64696E67223A6E756C6C2C227375626A656374223A6E756C6C2C2270726F70657274696573223A5B5B2273697465222C226C796F6E225D2C5B226E6F6E65222C22225D5D2C226E756C6C73223A5B315D2C22626F6479223A226533303D227D');
INSERT INTO service_messages VALUES(4, 82230101010, 1767225600000, 1768435200000, 0, X'7B226465766963654964223A226D6F746F72222C226D6F64756C654964223A6E756C6C2C2267656E65726174696F6E4964223A2231222C22617574684D6574686F64223A227B5C2273636F70655C223A5C226465766963655C227D222C226D6F64656C4964223A2264746D693A6578616D706C653A4D6F746F723B31222C22736F75726365223A2254656C656D65747279222C22656E7175657565644174223A313736373232353630303030302C226D6573736167654964223A226D2D31222C22636F7272656C6174696F6E4964223A6E756C6C2C22757365724964223A6E756C6C2C22636F6E74656E7454797065223A6E756C6C2C22636F6E74656E74456E636F64696E67223A6E756C6C2C227375626A656374223A6E756C6C2C2270726F70657274696573223A5B5B2273697465222C226C796F6E225D2C5B226E6F6E65222C22225D5D2C226E756C6C73223A5B315D2C22626F6479223A226533303D227D');
INSERT INTO sqlite_sequence VALUES('blob_containers', 1);
INSERT INTO sqlite_sequence VALUES('c2d', 3);
INSERT INTO sqlite_sequence VALUES('feedback', 1);
INSERT INTO sqlite_sequence VALUES('outbox', 1);
INSERT INTO sqlite_sequence VALUES('service_messages', 4);

CREATE TABLE totals(enabled INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO totals VALUES(0, 1);
INSERT INTO totals VALUES(1, 4);

CREATE TRIGGER auto_devices_twin242e746167732e227369746522_gone AFTER DELETE ON identities
               WHEN old.module_id = '' AND json_extract(old.twin, '$.tags."site"') IS NOT NULL BEGIN
               DELETE FROM auto_devices_twin242e746167732e227369746522 WHERE value = json_extract(old.twin, '$.tags."site"') AND device_id = old.device_id AND module_id = old.module_id; END;
CREATE TRIGGER auto_devices_twin242e746167732e227369746522_made AFTER INSERT ON identities
               WHEN new.module_id = '' AND json_extract(new.twin, '$.tags."site"') IS NOT NULL BEGIN
               INSERT INTO auto_devices_twin242e746167732e227369746522 VALUES (json_extract(new.twin, '$.tags."site"'), new.device_id, new.module_id); END;
CREATE TRIGGER auto_devices_twin242e746167732e227369746522_turned AFTER UPDATE OF twin ON identities
               WHEN new.module_id = '' AND json_extract(old.twin, '$.tags."site"') IS NOT json_extract(new.twin, '$.tags."site"') BEGIN
               DELETE FROM auto_devices_twin242e746167732e227369746522 WHERE value = json_extract(old.twin, '$.tags."site"') AND device_id = old.device_id AND module_id = old.module_id;
               INSERT INTO auto_devices_twin242e746167732e227369746522 SELECT json_extract(new.twin, '$.tags."site"'), new.device_id, new.module_id WHERE json_extract(new.twin, '$.tags."site"') IS NOT NULL; END;
CREATE INDEX blob_garbage_by_age ON blob_garbage(since);
CREATE INDEX blob_parts_by_age ON blob_parts(put_at) WHERE committed = 0;
CREATE INDEX blob_parts_by_block ON blob_parts(container, name, committed, block_id);
CREATE INDEX blob_parts_by_object ON blob_parts(object);
CREATE INDEX c2d_by_device ON c2d(device_id, module_id, sequence);
CREATE INDEX c2d_by_expiry ON c2d(expires_at, sequence);
CREATE INDEX identities_by_status ON identities(module_id, enabled);
CREATE TRIGGER identities_gone AFTER DELETE ON identities WHEN old.module_id = '' BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled; END;
CREATE TRIGGER identities_made AFTER INSERT ON identities WHEN new.module_id = '' BEGIN
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;
CREATE INDEX identities_modules ON identities(device_id, module_id) WHERE module_id <> '';
CREATE TRIGGER identities_turned AFTER UPDATE OF enabled ON identities
  WHEN new.module_id = '' AND old.enabled <> new.enabled BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled;
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;
CREATE INDEX job_devices_by_device ON job_devices(device_id, job_id, module_id);
CREATE INDEX job_devices_pending ON job_devices(job_id, device_id, module_id) WHERE outcome = 0;
CREATE INDEX jobs_by_age ON jobs(created_at, id);
CREATE INDEX jobs_ended ON jobs(ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_unfinished ON jobs(start_at) WHERE ended_at IS NULL;
CREATE INDEX managed_by_configuration ON managed_by(configuration, device_id, module_id, applied);
CREATE INDEX registrations_by_group ON registrations(group_id, id);
CREATE INDEX service_messages_by_expiry ON service_messages(expires_at);
CREATE INDEX service_messages_by_queue ON service_messages(queue, sequence);
