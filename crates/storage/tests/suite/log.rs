//! The event log behind the hub's ports: what is true of files. What every log promises is in `storage-suite`.

use gantry_hub::ports::{CheckpointError, Checkpoints};
use gantry_storage::{Events, LogConfig};

#[tokio::test]
async fn a_damaged_checkpoint_is_told_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let log = Events::open(LogConfig::new(folder.path(), 1)).unwrap();
    let epoch = log.take("place").await.unwrap();
    log.put("place", epoch, b"1".to_vec()).await.unwrap();
    std::fs::write(folder.path().join("checkpoints/place.0"), b"GCHK").unwrap();
    assert_eq!(log.get("place").await, Err(CheckpointError::Damaged));
    // It can be taken and written all the same.
    let epoch = log.take("place").await.unwrap();
    log.put("place", epoch, b"2".to_vec()).await.unwrap();
    assert_eq!(log.get("place").await, Ok(Some(b"2".to_vec())));
}
