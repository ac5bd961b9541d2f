//! File uploads under way: table `file_uploads`, one row an upload that was not completed. Expired ones
//! stay for [`EXPIRED_LIFE`], so that a late device hears that it is late.

use std::time::Duration;

use gantry_hub::file_uploads::{FileUpload, UploadStore};
use gantry_hub::ports::{PortFuture, StoreError};
use gantry_identity::{DeviceId, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use crate::database::{Database, fail};

/// Table of the uploads.
pub(crate) const TABLES: &str = "
CREATE TABLE file_uploads(
  device_id TEXT NOT NULL, correlation_id TEXT NOT NULL, blob_name TEXT NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY(device_id, correlation_id)) WITHOUT ROWID;
";

/// How long an expired upload is told from an unknown one.
const EXPIRED_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Uploads of one device that are kept, expired ones included.
const KEPT_MAX: i64 = 100;

impl UploadStore for Database {
    fn begin(&self, upload: FileUpload, now: Timestamp, pending_max: usize) -> PortFuture<'_, (), StoreError> {
        Box::pin(async move {
            self.write(move |connection| {
                let device = upload.device.as_str();
                let sql = "SELECT COUNT(*) FROM file_uploads WHERE device_id = ?1 AND expires_at > ?2";
                let pending: i64 =
                    connection.query_row(sql, params![device, now.as_millis()], |row| row.get(0)).map_err(fail)?;
                if pending >= pending_max as i64 {
                    return Err(StoreError::Full);
                }
                let old = now.as_millis() - EXPIRED_LIFE.as_millis() as i64;
                let sql = "DELETE FROM file_uploads WHERE device_id = ?1 AND (expires_at <= ?2 OR correlation_id IN
                             (SELECT correlation_id FROM file_uploads WHERE device_id = ?1
                              ORDER BY expires_at DESC LIMIT -1 OFFSET ?3))";
                connection.execute(sql, params![device, old, KEPT_MAX - 1]).map_err(fail)?;
                let sql = "INSERT INTO file_uploads(device_id, correlation_id, blob_name, expires_at)
                           VALUES (?1, ?2, ?3, ?4)";
                let values = params![device, upload.correlation_id, upload.blob_name, upload.expires_at.as_millis()];
                connection.execute(sql, values).map_err(fail).map(drop)
            })
            .await
        })
    }

    fn take<'a>(
        &'a self,
        device: &'a DeviceId,
        correlation_id: &'a str,
    ) -> PortFuture<'a, Option<FileUpload>, StoreError> {
        let (device, correlation_id) = (device.clone(), correlation_id.to_owned());
        Box::pin(async move {
            self.write(move |connection| {
                let sql = "DELETE FROM file_uploads WHERE device_id = ?1 AND correlation_id = ?2
                           RETURNING blob_name, expires_at";
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, String>(0)?, Timestamp::from_millis(row.get::<_, i64>(1)?)))
                };
                let found = connection.query_row(sql, params![device.as_str(), correlation_id], read);
                let found = found.optional().map_err(fail)?;
                Ok(found.map(|(blob_name, expires_at)| FileUpload { device, correlation_id, blob_name, expires_at }))
            })
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use gantry_hub::file_uploads::{FileUploadError, FileUploads};
    use gantry_hub::ports::Entropy;
    use gantry_identity::Identity;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counter(AtomicU8);

    impl Entropy for Counter {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn open(folder: &std::path::Path) -> FileUploads {
        let database = Arc::new(Database::open(folder).unwrap());
        FileUploads::new(database, Arc::new(Counter(AtomicU8::new(1))))
    }

    #[tokio::test]
    async fn ten_uploads_wait_ids_are_used_once_and_all_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        let device = Identity::device(DeviceId::parse("d1").unwrap());
        let other = Identity::device(DeviceId::parse("d2").unwrap());
        let mut begun = Vec::new();
        const LIFE: Duration = Duration::from_secs(60);
        {
            let uploads = open(folder.path());
            for n in 0..10 {
                begun.push(uploads.begin(at(n), LIFE, &device, "a/b.txt").await.unwrap());
            }
            assert_eq!(begun[0].blob_name, "d1/a/b.txt");
            let refused = uploads.begin(at(10), LIFE, &device, "x").await;
            assert!(matches!(refused, Err(FileUploadError::TooMany(_))));
            uploads.begin(at(10), LIFE, &other, "x").await.unwrap();
            for name in ["", &"x".repeat(1022)] {
                assert!(matches!(uploads.begin(at(10), LIFE, &other, name).await, Err(FileUploadError::Name)));
            }
            uploads.begin(at(10), LIFE, &other, &"x".repeat(1021)).await.unwrap();
        }
        let uploads = open(folder.path());
        let first = &begun[0].correlation_id;
        assert!(matches!(uploads.complete(at(11), &other, first).await, Err(FileUploadError::Unknown)));
        assert_eq!(uploads.complete(at(11), &device, first).await.unwrap(), begun[0]);
        assert!(matches!(uploads.complete(at(11), &device, first).await, Err(FileUploadError::Unknown)));
        uploads.begin(at(11), LIFE, &device, "x").await.expect("a completed upload makes room");
        // The second one, begun at second 1 for 60 seconds.
        let second = &begun[1].correlation_id;
        assert!(matches!(uploads.complete(at(61), &device, second).await, Err(FileUploadError::Expired(_))));
        let third = &begun[2].correlation_id;
        assert!(uploads.complete(at(61), &device, third).await.is_ok());
        uploads.begin(at(4000), LIFE, &device, "x").await.expect("expired uploads make room");
    }
}
