-- 1
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

-- 2
ALTER TABLE c2d ADD COLUMN enqueued_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX c2d_by_expiry ON c2d(expires_at, sequence);
CREATE TABLE feedback(sequence INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE service_messages(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, enqueued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, delivery_count INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX service_messages_by_queue ON service_messages(queue, sequence);
CREATE INDEX service_messages_by_expiry ON service_messages(expires_at);

-- 3
CREATE TABLE blob_containers(
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, etag INTEGER NOT NULL, modified_at INTEGER NOT NULL,
  metadata TEXT NOT NULL);
CREATE TABLE blobs(
  container INTEGER NOT NULL, name TEXT NOT NULL, etag INTEGER NOT NULL, length INTEGER NOT NULL,
  created_at INTEGER NOT NULL, modified_at INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY(container, name)) WITHOUT ROWID;
CREATE TABLE blob_parts(
  container INTEGER NOT NULL, name TEXT NOT NULL, committed INTEGER NOT NULL, position INTEGER NOT NULL,
  block_id TEXT NOT NULL, object TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  put_at INTEGER NOT NULL, PRIMARY KEY(container, name, committed, position)) WITHOUT ROWID;
CREATE INDEX blob_parts_by_block ON blob_parts(container, name, committed, block_id);
CREATE INDEX blob_parts_by_object ON blob_parts(object);
CREATE INDEX blob_parts_by_age ON blob_parts(put_at) WHERE committed = 0;
CREATE TABLE blob_garbage(object TEXT NOT NULL PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX blob_garbage_by_age ON blob_garbage(since);
CREATE TABLE blob_sequence(last INTEGER NOT NULL);
INSERT INTO blob_sequence(last) VALUES (0);

-- 4
CREATE TABLE file_uploads(
  device_id TEXT NOT NULL, correlation_id TEXT NOT NULL, blob_name TEXT NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY(device_id, correlation_id)) WITHOUT ROWID;

-- 5
CREATE TABLE outbox(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, at INTEGER NOT NULL, record BLOB NOT NULL);

-- 6
CREATE TABLE managed_by(
  device_id TEXT NOT NULL, module_id TEXT NOT NULL, configuration TEXT NOT NULL, applied INTEGER NOT NULL,
  PRIMARY KEY(device_id, module_id, configuration)) WITHOUT ROWID;
CREATE INDEX managed_by_configuration ON managed_by(configuration, device_id, module_id, applied);

-- 7
CREATE TABLE jobs(
  id TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL, kind TEXT NOT NULL, created_at INTEGER NOT NULL,
  start_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, listed INTEGER NOT NULL DEFAULT 0,
  devices INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  document TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_age ON jobs(created_at, id);
CREATE INDEX jobs_unfinished ON jobs(start_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs(ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE job_devices(
  job_id TEXT NOT NULL, device_id TEXT NOT NULL, module_id TEXT NOT NULL, outcome INTEGER NOT NULL,
  created_at INTEGER NOT NULL, began_at INTEGER, ended_at INTEGER, details TEXT,
  PRIMARY KEY(job_id, device_id, module_id)) WITHOUT ROWID;
CREATE INDEX job_devices_pending ON job_devices(job_id, device_id, module_id) WHERE outcome = 0;
CREATE INDEX job_devices_by_device ON job_devices(device_id, job_id, module_id);

-- 8
CREATE TABLE auto_indexes(name TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX identities_modules ON identities(device_id, module_id) WHERE module_id <> '';
CREATE TABLE totals(enabled INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO totals SELECT 0, COUNT(*) FROM identities WHERE module_id = '' AND enabled = 0;
INSERT INTO totals SELECT 1, COUNT(*) FROM identities WHERE module_id = '' AND enabled = 1;
CREATE TRIGGER identities_made AFTER INSERT ON identities WHEN new.module_id = '' BEGIN
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;
CREATE TRIGGER identities_gone AFTER DELETE ON identities WHEN old.module_id = '' BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled; END;
CREATE TRIGGER identities_turned AFTER UPDATE OF enabled ON identities
  WHEN new.module_id = '' AND old.enabled <> new.enabled BEGIN
  UPDATE totals SET count = count - 1 WHERE enabled = old.enabled;
  UPDATE totals SET count = count + 1 WHERE enabled = new.enabled; END;

-- 9
CREATE TABLE departures(
  id TEXT NOT NULL, hub TEXT NOT NULL, device_id TEXT NOT NULL, PRIMARY KEY(id, hub, device_id)) WITHOUT ROWID;
CREATE TABLE hub_links(host_name TEXT NOT NULL PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;

-- 10
CREATE TABLE collections(name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;

