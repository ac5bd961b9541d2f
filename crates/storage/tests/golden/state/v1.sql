PRAGMA user_version = 1;

CREATE TABLE identities(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, revision INTEGER NOT NULL, enabled INTEGER NOT NULL,
  identity TEXT NOT NULL, twin TEXT NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
CREATE INDEX identities_by_status ON identities(module_id, enabled);
CREATE TABLE presence(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, updated_at INTEGER NOT NULL, last_activity_at INTEGER NOT NULL,
  subscriptions INTEGER NOT NULL, PRIMARY KEY(device_id, module_id)) WITHOUT ROWID;
CREATE TABLE c2d(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, module_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, message TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX c2d_by_device ON c2d(device_id, module_id, sequence);
CREATE TABLE enrollments(
  kind INTEGER NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE registrations(id TEXT NOT NULL PRIMARY KEY, group_id TEXT, document TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX registrations_by_group ON registrations(group_id, id);
CREATE TABLE documents(
  collection TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY(collection, id)) WITHOUT ROWID;

INSERT INTO identities VALUES('motor', '', 3, 1, '{"generation_id":"638412345678901234","etag":1,"status_updated_at":-62135596800000,"authentication":{"type":"sas","keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}},"iot_edge":false}', '{"tags":{"site":"north"},"desired":{"values":{"interval":5,"list":[1,null]},"metadata":{"$lastUpdated":"2026-01-01T00:00:00Z","$lastUpdatedVersion":2,"interval":{"$lastUpdated":"2026-01-01T00:00:00Z","$lastUpdatedVersion":2},"list":{"$lastUpdated":"2026-01-01T00:00:00Z","$lastUpdatedVersion":2}},"version":2},"reported":{"values":{"firmware":{"version":"1.2"}},"metadata":{"$lastUpdated":"2026-01-01T00:00:00Z","firmware":{"$lastUpdated":"2026-01-01T00:00:00Z","version":{"$lastUpdated":"2026-01-01T00:00:00Z"}}},"version":2},"version":3,"etag":2,"model_id":"dtmi:com:example:Motor;1"}');
INSERT INTO identities VALUES('motor', 'gearbox', 1, 1, '{"generation_id":"638412345678901234","etag":1,"status_updated_at":-62135596800000,"authentication":{"type":"none"},"managed_by":"IotEdge"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('signed', '', 1, 0, '{"generation_id":"638412345678901234","etag":1,"status_updated_at":-62135596800000,"authentication":{"type":"selfSigned","primary":"ABABABABABABABABABABABABABABABABABABABAB","secondary":null},"status_reason":"stolen","iot_edge":true,"device_scope":"ms-azure-iot-edge://signed-638412345678901234"}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO identities VALUES('authority', '', 1, 1, '{"generation_id":"638412345678901234","etag":1,"status_updated_at":-62135596800000,"authentication":{"type":"certificateAuthority"}}', '{"tags":{},"desired":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"reported":{"values":{},"metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"version":1},"version":2,"etag":1}');
INSERT INTO presence VALUES('motor', '', 1767225600000, 1767225600000, 3);
INSERT INTO c2d VALUES(1, 'motor', '', 1767229200000, 0, '{"message_id":"first","correlation_id":null,"user_id":null,"content_type":"application/json","content_encoding":null,"ack":"full","properties":[["a","b"],["empty",""]]}', X'7B7D');
INSERT INTO c2d VALUES(2, 'motor', '', 1767229200000, 2, '{"message_id":"second","correlation_id":null,"user_id":null,"content_type":"application/json","content_encoding":null,"ack":"","properties":[["a","b"],["empty",""]]}', X'00FF');
INSERT INTO enrollments VALUES(0, 'motor-1', '{"id":"Motor-1","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="},"device_id":"motor","iot_hub_host_name":null,"iot_hubs":[],"initial_twin":{"tags":{"a":1},"desired":{"b":2}},"iot_edge":false,"disabled":false,"reprovision":[true,false],"allocation":"hashed"}');
INSERT INTO enrollments VALUES(1, 'keys', '{"id":"keys","etag":7,"created_at":1767225600000,"updated_at":1767225600000,"keys":{"primary":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","secondary":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="},"device_id":null,"iot_hub_host_name":null,"iot_hubs":[],"initial_twin":null,"iot_edge":false,"disabled":true,"reprovision":null,"allocation":null}');
INSERT INTO registrations VALUES('motor-1', 'keys', '{"id":"Motor-1","group":"keys","status":"assigned","substatus":"initialAssignment","assigned_hub":"localhost","device_id":"motor","error":null,"created_at":1767225600000,"updated_at":1767225600000,"etag":3}');
INSERT INTO documents VALUES('rules', 'anomaly', '{"id":"anomaly","enabled":true,"when":{"kind":"anomaly","signal":null,"score_min":null},"severity":"warning","actions":[{"kind":"method","name":"stop","payload":null},{"kind":"desired","patch":{"mode":"safe"}}]}');
